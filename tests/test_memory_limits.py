"""Whatever runs a model goes on in halves where memory runs out: with the same results, and the model as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from entry_points import ENTRIES, LAYER, SHAPE, differences
from networks import SmallCNN, seeded
from torch import Tensor, nn

from captum_proto import PathSimilarity, PrototypeGeneration
from captum_proto._utils.errors import MemoryLimitError
from captum_proto.cli import main
from captum_proto.concept.tally import Tally
from captum_proto.optim import GramDiversity
from captum_proto.stats.moments import Moments
from captum_proto.stats.quantiles import Quantiles
from captum_proto.stats.random_sample import RandomSample
from captum_proto.stats.top_k import TopK

SAID = "CUDA out of memory. Tried to allocate 2.00 GiB."


class Limited(nn.Module):
    """In the place of the last layer but one: has memory for so many images at a time, or none in its n-th pass of several images."""

    def __init__(self, most: int | None = None, failing: int | None = None) -> None:
        super().__init__()
        self.most, self.failing, self.passes, self.failed = most, failing, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += len(x) > 3
        if (self.most is not None and len(x) > self.most) or (len(x) > 3 and self.passes == self.failing):
            self.failed += 1
            raise torch.OutOfMemoryError(SAID)
        return x


def limited(most: int | None = None, failing: int | None = None) -> SmallCNN:
    model: SmallCNN = seeded(SmallCNN).double()
    model.dropout = Limited(most, failing)  # type: ignore[assignment]
    return model.eval()


#: What ends in optimizations, in which rounding grows.
_GROWS = 1e-9


#: Passes of the user's own, or of Captum, which has an ``internal_batch_size`` for what it repeats.
OTHERS = ("parameter_randomization", "LayerActivationPath", "ablate_units", "project_out")


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry not in OTHERS])
def test_results_are_the_same_in_halves(
    entry: str, make_images: Callable[..., Tensor], lived_in: Any, untouched: Any
) -> None:
    images = make_images(8, SHAPE).double()
    expected = ENTRIES[entry](lived_in(limited()), images)
    model = lived_in(limited(most=3))
    with untouched(model), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = ENTRIES[entry](model, images)
    assert differences(found, expected, _GROWS) == ""
    said = [str(warning.message) for warning in caught if "there was no memory for" in str(warning.message)]
    assert bool(said) == bool(model.dropout.failed)


#: What has more than three images at a time by itself; the rest of the table is of one, two or three, or is the user's own pass.
HALVED = (
    "capture",
    "PathSimilarity.fit",
    "PathSimilarity.evaluate",
    "PathSimilarity.compare",
    "SortedSimilarity",
    "nearest_class",
    "TopExamples",
    "ActivationAtlas",
    "NetworkDissection",
    "CompositionalExplainer",
    "TuningCurve",
    "verifier_logits",
    "PooledFeatures",
    "NaturalStatistics",
    "NaturalActivations",
)


@pytest.mark.parametrize("entry", HALVED)
@pytest.mark.parametrize("failing", [1, 2])
def test_a_failure_at_any_pass_changes_nothing(
    entry: str, failing: int, make_images: Callable[..., Tensor], lived_in: Any, untouched: Any
) -> None:
    images = make_images(8, SHAPE).double()
    plain, model = lived_in(limited()), lived_in(limited(failing=failing))
    expected = ENTRIES[entry](plain, images)
    with untouched(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "there was no memory")
        found = ENTRIES[entry](model, images)
    assert model.dropout.failed == (plain.dropout.passes >= failing)
    assert differences(found, expected, _GROWS) == ""


class PixelByPixel(nn.Module):
    """Layers whose kernels give an image the same to the last bit in any batch; a container returns what its last child does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.ReLU(), nn.Hardtanh(0.1, 0.8))
        self.block = nn.Sequential(nn.AvgPool2d(2), nn.Sigmoid())
        self.dropout = Limited()

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.block(self.first(x)) * 2).flatten(1)


#: What takes what layers return, by the name under which it is called, and who calls it.
STEPS: dict[str, tuple[type, str, tuple[str, ...]]] = {
    "sums": (Moments, "update", ("PathSimilarity.fit", "SortedSimilarity", "NaturalActivations")),
    "sums of containers": (Moments, "copy", ("PathSimilarity.fit",)),
    "the best": (TopK, "update", ("TopExamples",)),
    "a sample": (RandomSample, "_take", ("TopExamples",)),
    "quantiles": (Quantiles, "update", ("TopExamples", "NetworkDissection")),
    "counts": (Tally, "_count", ("NetworkDissection",)),
}


@pytest.mark.parametrize(
    ("step", "entry"), [(step, entry) for step, (_, _, entries) in STEPS.items() for entry in entries]
)
def test_no_row_is_counted_twice_where_what_takes_them_finds_no_memory(
    step: str, entry: str, make_images: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, at any call: before it changes anything, as where it has no memory for what it adds."""
    owner, name, _ = STEPS[step]
    original, images = getattr(owner, name), make_images(8, SHAPE)
    model = PixelByPixel() if entry != "NetworkDissection" else limited().float()
    expected = ENTRIES[entry](model, images)
    calls, failing = 0, 0

    def failing_at(self: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise MemoryError
        return original(self, *arguments, **named)

    monkeypatch.setattr(owner, name, failing_at)
    ENTRIES[entry](model, images)
    total = calls
    assert total
    for failing in range(1, min(total, 6) + 1):
        calls = 0
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "there was no memory")
            found = ENTRIES[entry](model, images)
        assert differences(found, expected) == "", f"call {failing} of {total}"


def test_prototypes_that_see_each_other_are_not_parted() -> None:
    model = limited(most=3)
    with pytest.raises(
        MemoryLimitError,
        match=r"a batch of 4 prototypes, which cannot be parted, does not fit .* give a smaller image_shape",
    ):
        PrototypeGeneration(model).generate([1] * 4, SHAPE, steps=1, warmup_steps=0, diversity=GramDiversity(LAYER))


@pytest.mark.filterwarnings("ignore:there was no memory")
def test_callbacks_and_the_settings_of_prototypes_in_halves() -> None:
    seen: list[tuple[range, int]] = []

    def callback(step: Any) -> None:
        seen.append((step.prototypes, step.step))

    options = {"steps": 2, "warmup_steps": 0, "evaluation_draws": 1, "batch_size": 6}
    made = PrototypeGeneration(limited(most=3)).generate(range(5), SHAPE, callback=callback, **options)
    expected = PrototypeGeneration(limited()).generate(range(5), SHAPE, **options)
    assert seen == [(range(0, 3), 0), (range(0, 3), 1), (range(3, 5), 0), (range(3, 5), 1)]
    for name in ("target", "seeds"):
        assert getattr(made, name) == getattr(expected, name)
    assert made.settings == expected.settings
    assert differences(made, expected, _GROWS) == ""


def test_a_pass_of_two_images_that_does_not_fit_is_one_sentence(
    make_images: Callable[..., Tensor], untouched: Any
) -> None:
    model = limited(most=1)
    with (
        untouched(model),
        pytest.raises(MemoryLimitError, match=r"two or three images at a time, .* do not fit into the memory of cpu"),
    ):
        PathSimilarity(model).fit(make_images(4, SHAPE).double())


class Hungry(nn.Module):
    """Takes so much memory for each image while it runs."""

    def __init__(self, each: int, network: nn.Module) -> None:
        super().__init__()
        self.each, self.network, self.sizes = each, network, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return self.network(x) + torch.ones(len(x) * self.each, dtype=torch.uint8)[-1] * 0


#: In a process of its own: of what a process of many tests holds, a part is given back at any moment.
_BUDGET = """
import sys
sys.path.insert(0, {tests!r})
import pytest, torch
torch.set_num_threads(1)
from entry_points import ENTRIES, SHAPE, differences
from networks import SmallCNN, seeded
from test_memory_limits import Hungry

from captum_proto import memory_budget
from captum_proto._utils.errors import MemoryLimitError
from captum_proto._utils.memory import Gauge

each, entry = 48 * 2**20, ENTRIES[{entry!r}]
model, images = Hungry(each, seeded(SmallCNN).double().eval()), torch.rand(8, *SHAPE, dtype=torch.float64)
expected = entry(model, images)
unlimited = max(model.sizes)
model.sizes.clear()
gauge = Gauge(torch.device("cpu"))
budget = gauge.held + 7 * each // 2
gauge.begin()
with memory_budget(budget):
    found = entry(model, images)
assert gauge.peak() <= budget, (gauge.peak(), budget)
assert max(model.sizes) <= 3 <= unlimited, (model.sizes, unlimited)
assert differences(found, expected, 1e-9) == ""
with (
    memory_budget(gauge.held + each // 2),
    pytest.raises(MemoryLimitError, match=r"by itself takes .* the memory budget is"),
):
    entry(model, images)
print("the same")
"""


def _said_by(program: str, **values: Any) -> str:
    """What a program in a process of its own says, with these values in it."""
    tests = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(tests).parent), tests])}
    command = [sys.executable, "-c", program.format(tests=tests, **values)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    return done.stdout.strip() if done.returncode == 0 else done.stderr[-2000:]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured where Linux tells it")
@pytest.mark.parametrize("entry", ["PathSimilarity.evaluate", "PrototypeGeneration.generate", "verifier_logits"])
def test_a_budget_makes_batches_small(entry: str) -> None:
    assert _said_by(_BUDGET, entry=entry) == "the same"


_TRUE_FAILURE = """
import resource, sys, warnings
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from entry_points import ENTRIES, SHAPE, differences
from networks import SmallCNN, seeded
from test_memory_limits import Hungry

model, images = Hungry(64 * 2**20, seeded(SmallCNN).double().eval()), torch.rand(16, *SHAPE, dtype=torch.float64)
expected = {{name: ENTRIES[name](model, images) for name in {entries!r}}}
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 6 * 64 * 2**20, resource.RLIM_INFINITY))
for name, wanted in expected.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = ENTRIES[name](model, images)
    assert any("there was no memory for" in str(warning.message) for warning in caught), name
    assert differences(found, wanted, 1e-9) == "", name
print("the same")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
def test_memory_that_the_system_does_not_give() -> None:
    """No stub: the allocator of the CPU is refused what it asks for."""
    assert _said_by(_TRUE_FAILURE, entries=["PathSimilarity.evaluate", "capture"]) == "the same"


def test_the_command_line_takes_a_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "generate",
        "--model",
        "digits",
        "--random-weights",
        "--target",
        "3",
        "--steps",
        "1",
        "--warmup-steps",
        "0",
        "--no-progress",
    ]
    assert main([*words, "--out", str(tmp_path / "a"), "--memory-budget", "64GiB"]) == 0
    assert main([*words, "--out", str(tmp_path / "b")]) == 0
    first, second = (next((tmp_path / name).rglob("*.safetensors")).read_bytes() for name in "ab")
    assert first[-1000:] == second[-1000:]
    capsys.readouterr()
    assert main([*words, "--out", str(tmp_path / "c"), "--memory-budget", "1MiB"]) == 1
    said = capsys.readouterr().err
    assert "one prototype by itself takes" in said
    assert "Traceback" not in said
    with pytest.raises(SystemExit) as left:
        main([*words, "--out", str(tmp_path / "d"), "--memory-budget", "lots"])
    assert left.value.code == 2
