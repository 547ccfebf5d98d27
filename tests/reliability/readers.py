"""Hostile files: a list made by hand, then every reader fuzzed from a seed. ``python tests/reliability/readers.py SCRATCH TABLE``"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from faults import Fault, write

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / part) for part in ("hostile", "fuzz", "runs", "")]

import test_bombs as bombs  # noqa: E402
import test_folders as folders  # noqa: E402
import torch  # noqa: E402
from catalog import readers  # noqa: E402
from loop import mutated  # noqa: E402
from protocols import prototypes_file  # noqa: E402
from target import Outcome, attempt, watched_read  # noqa: E402

from captum_proto._utils.files import sha256  # noqa: E402
from captum_proto.cli.sweep import read_toml  # noqa: E402
from captum_proto.data import ImageCollection, load_image  # noqa: E402
from captum_proto.data.class_tables import read_table  # noqa: E402

#: Of the fuzzer's choices; of each reader, so many seconds.
SEED, SECONDS = 16, 3.0


def readers_family(scratch: Path) -> Iterator[Fault]:
    torch.set_num_threads(1)
    finished = prototypes_file(scratch / "finished")  # a result of an earlier run, which no hostile file may touch
    digest = sha256(finished)

    def fault(name: str, outcomes: list[Outcome], more: str = "") -> Fault:
        kinds = Counter(outcome.kind for outcome in outcomes)
        broken = [outcome.said for outcome in outcomes if outcome.kind == "broken"]
        sentence = next((outcome.said for outcome in outcomes if outcome.kind == "refused"), "")
        lost = len(broken) + (sha256(finished) != digest)
        shown = sentence.replace(str(scratch), "…")[:160]
        seen = (
            f"{kinds['refused']} refused in a sentence, {kinds['read']} read: {shown}"
            if not broken
            else f"BROKEN: {broken[0]}"
        )
        return Fault(name, len(outcomes), lost, seen + more)

    def tried(name: str, contents: list[bytes], reads: list[Callable[[Path], object]], file: str) -> Fault:
        own = scratch / "hostile"
        own.mkdir(exist_ok=True)
        found = []
        for content in contents:
            (own / file).write_bytes(content)
            found += [watched_read(lambda read=read: read(own / file), own) for read in reads]  # type: ignore[misc]
        return fault(name, found)

    pictures = list(bombs.PICTURES.values())
    yield tried(
        "a picture says that it has billions of pixels", pictures, [lambda path: load_image(path, (3, 8, 8))], "a.png"
    )
    deep = [bombs.DEEP, '{"a":' * 100_000, bombs.DIGITS, "\0", "1e999"]
    for name in ("page.json", "settings.json", "blind_key.json", "concepts.json", "coco.json", "masks.json"):
        reads: list[Callable[[Path], object]] = [lambda path, name=name: bombs.readers_of_json(path.parent)[name]()]  # type: ignore[misc]
        yield tried(f"brackets and numbers without end in {name}", [each.encode() for each in deep], reads, name)
    toml = [f"a = {bombs.DEEP}", f"a = {bombs.DIGITS}", "x" * 2**21, "a" + ".a" * 100_000 + " = 1"]
    yield tried(
        "brackets, numbers and keys without end in a sweep file",
        [each.encode() for each in toml],
        [read_toml],
        "sweep.toml",
    )
    tables = [each.encode() for each in bombs.TABLES.values()]
    yield tried(
        "cells and numbers without end in a table of classes",
        tables,
        [lambda path: read_table(str(path))],
        "classes.csv",
    )

    outcomes = []
    for place, name in enumerate(folders.NAMES):
        run = _outside(scratch / f"names{place}")
        (run / "tasks" / "a.json").write_text(json.dumps({**folders.RECORD, "files": {name: {"bytes": 1}}}))
        (run / ".unfinished").write_text(json.dumps(name) + "\n")
        folders.described(run, parts=[name], summary_files=[name])
        outcomes.append(_kept(run, watched_read(lambda run=run: folders.begun_anew(run), run)))  # type: ignore[misc]
    yield fault("a run recorded files outside of its folder, and is begun anew with --overwrite", outcomes)

    outcomes = []
    for place, link in enumerate(("out", "prototypes/deep", "a.png", ".lock", ".unfinished")):
        run = _outside(scratch / f"links{place}")
        folders.described(run)
        (run / link).parent.mkdir(exist_ok=True)
        (run / link).symlink_to(run.parent / ("elsewhere" if "." not in link else "outside.txt"))
        outcomes.append(_kept(run, watched_read(lambda run=run: folders.begun_anew(run), run)))  # type: ignore[misc]
    yield fault("a link in a run's folder leads out of it, and the run is begun anew with --overwrite", outcomes)

    images = scratch / "images"
    (scratch / "private").mkdir()
    load = scratch / "private" / "secret.png"
    load.write_bytes(b"nobody's business")
    images.mkdir()
    os.symlink(load, images / "0_a.png")
    outcome = watched_read(lambda: [path.read_bytes() for path in ImageCollection.discover(images).paths], images)
    yield fault("a link in a folder of images leads out of it", [outcome])

    for group in ("images", "tables", "tensors", "descriptions", "runs"):
        executions, found, begun = 0, [], time.monotonic()
        for reader in readers(group):
            generator, own = random.Random(SEED), scratch / "fuzz" / group / str(len(found))
            own.mkdir(parents=True)
            (own.parent / "secret.png").write_bytes(b"nobody's business")
            seeds = reader.seeds(scratch)
            last = [attempt(reader, own, data) for data in seeds]
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                last.append(attempt(reader, own, mutated(generator.choice(seeds), reader.words, generator)))
                executions += 1
            broken = [outcome for outcome in last if outcome.kind == "broken"]
            refused = [outcome for outcome in last if outcome.kind == "refused"]
            found.append((broken or refused or last)[0])
        took = time.monotonic() - begun
        more = f" ({executions:,} files changed at random, {len(found)} readers, seed {SEED}, {took:.0f} s)"
        yield fault(f"files changed at random: {group}", found, more)


def _outside(place: Path) -> Path:
    """A folder of a run, and beside it what must stay."""
    (place / "elsewhere").mkdir(parents=True)
    (place / "elsewhere" / "inner.txt").write_text("kept")
    (place / "outside.txt").write_text("kept")
    (place / "run" / "tasks").mkdir(parents=True)
    return place / "run"


def _kept(run: Path, outcome: Outcome) -> Outcome:
    return outcome if folders.is_kept(run) else Outcome("broken", "a file outside of the folder is gone or changed")


if __name__ == "__main__":
    write(readers_family)
