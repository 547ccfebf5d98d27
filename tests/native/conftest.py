"""The CUDA kernels on the host, built once for all tests that run them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from cuda_harness import VARIANTS, Harness, HarnessError, build

HARNESSES = {"plain", "interleaved", "address", "thread"}


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Path]]]:
    """The harness in every variant, two compilations at a time."""
    folder = tmp_path_factory.mktemp("cuda_harness")
    with ThreadPoolExecutor(max_workers=2) as executor:
        yield {variant: executor.submit(build, variant, folder) for variant in VARIANTS}


def _harness(programs: dict[str, Future[Path]], variant: str) -> Iterator[Harness]:
    harness = Harness(programs[variant].result())
    yield harness
    harness.close()


@pytest.fixture(scope="session")
def plain(programs: dict[str, Future[Path]]) -> Iterator[Harness]:
    yield from _harness(programs, "plain")


@pytest.fixture(scope="session")
def address(programs: dict[str, Future[Path]]) -> Iterator[Harness]:
    yield from _harness(programs, "address")


@pytest.fixture(scope="session")
def interleaved(programs: dict[str, Future[Path]]) -> Iterator[Harness]:
    yield from _harness(programs, "interleaved")


@pytest.fixture(scope="session")
def thread(programs: dict[str, Future[Path]]) -> Iterator[Harness]:
    for harness in _harness(programs, "thread"):
        try:
            harness.request("broken:sound", [])
        except HarnessError as problem:
            pytest.skip(f"ThreadSanitizer does not run here: {problem}")
        yield harness


@pytest.fixture(autouse=True)
def _defaults(request: pytest.FixtureRequest) -> None:
    """Each test begins with the operators' own limits."""
    for name in HARNESSES & set(request.fixturenames):
        request.getfixturevalue(name).reset()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What failed says in which order the threads ran."""
    report = yield
    if report.failed:
        harnesses = [value for name, value in getattr(item, "funcargs", {}).items() if name in HARNESSES]
        if harnesses:
            report.sections.append(("CUDA kernels on the host", "\n".join(map(repr, harnesses))))
    return report
