"""
Claim: units are dissected fifty times as fast as by a loop, and explained by formulas over as many images as ADE20K has in minutes.

Three things, each checked in the same run:

- the tally of network dissection against the loop of NetDissect-Lite (resize a unit's map, threshold it, count the labels where it fires),
  which here is written anew with torch and NumPy; counts are equal integers;
- the search for formulas of three concepts with a beam of five, against the package compositional-explanations on the same masks, at equal
  intersection over union; per unit, since the package takes them one by one;
- the same search for 512 units over masks of the size of ADE20K's (22,210 images, 1,000 concepts, 112 x 112), drawn at random, in a process
  of its own, whose memory is told: all of it, and without the pages of the files.

``python benchmarks/concepts.py [--quick]``
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from harness import Case, Contender, Goal, Report, parser, peer, threads
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from captum_proto import ops
from captum_proto.concept import CompositionalExplainer, Concept, PackedMasks, parse_formula
from captum_proto.concept.packed import packed

OURS, ONE, LOOP, PACKAGE = "ours", "ours, one thread", "loop over units and images", "compositional-explanations"
SIDE = 112


def loop(counts: NDArray[np.int64], maps: Tensor, thresholds: Tensor, labels: NDArray[np.int16]) -> None:
    """As NetDissect-Lite goes: units that stay below their threshold on an image are passed over."""
    for image in range(len(maps)):
        highest = maps[image].flatten(1).amax(1)
        for unit in range(maps.shape[1]):
            if highest[unit] > thresholds[unit]:
                enlarged = interpolate(maps[image, unit][None, None], size=(SIDE, SIDE), mode="bilinear")[0, 0]
                fires = (enlarged > thresholds[unit]).numpy()
                for each in labels[image]:
                    counts[unit] += np.bincount(each[fires], minlength=counts.shape[1])


def drawn_labels(random: np.random.Generator, images: int, maps: int, concepts: int) -> NDArray[np.int16]:
    """Label maps of rectangles, each map with labels of its own."""
    labels = np.zeros((images, maps, SIDE, SIDE), dtype=np.int16)
    for image in range(images):
        for place in range(maps):
            for _ in range(5):
                (top, left), (height, width) = random.integers(0, 80, 2), random.integers(10, 60, 2)
                label = 1 + place + maps * int(random.integers(concepts // maps))
                labels[image, place, top : top + height, left : left + width] = label
    return labels


def tally(units: int, side: int, rounds: int, images: int = 16, concepts: int = 1000) -> Case:
    random, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    maps = torch.randn(images, units, side, side, generator=generator).clamp(min=0)
    maps = interpolate(
        interpolate(maps, scale_factor=0.5, mode="area"), size=(side, side), mode="bilinear"
    )  # smooth, as maps are
    thresholds = torch.quantile(maps.transpose(0, 1).flatten(1), 0.995, dim=1).double()
    labels = drawn_labels(random, images, 4, concepts)
    given, exact = torch.from_numpy(labels), maps.double()

    def ours() -> Tensor:
        counts = torch.zeros(units, concepts + 1, dtype=torch.int64)
        ops.unit_concept_counts(counts, maps, thresholds, given)
        return counts

    def one_thread() -> Tensor:
        with threads(1):
            return ours()

    def theirs() -> NDArray[np.int64]:
        counts = np.zeros((units, concepts + 1), dtype=np.int64)
        loop(counts, exact, thresholds, labels)
        return counts

    if not np.array_equal(ours().numpy(), theirs()):
        raise SystemExit("wrong: counts differ from those of the loop")
    return Case(
        f"tally of {images} images, {units} units of {side} x {side} at 0.005, four label maps at {SIDE} x {SIDE}",
        [Contender(OURS, ours), Contender(ONE, one_thread), Contender(LOOP, theirs, every=2)],
        [Goal(LOOP, OURS, least=50)],
        images * units * SIDE * SIDE,
        rounds=rounds,
    )


def patterns(random: np.random.Generator, count: int = 4096) -> NDArray[np.uint64]:
    """Masks of rectangles, as bits."""
    dense = np.zeros((count, SIDE, SIDE), dtype=bool)
    for mask in dense:
        (top, left), (height, width) = random.integers(0, 90, 2), random.integers(4, 50, 2)
        mask[top : top + height, left : left + width] = True
    return packed(dense)


def drawn_masks(
    random: np.random.Generator, images: int, concepts: int, mean: float, folder: Path, frequent: bool
) -> PackedMasks:
    """Masks of which an image has some; with ``frequent`` the first concepts are on many images, and the last on few."""
    shapes = patterns(random)
    weights = 1 / np.arange(1, concepts + 1) if frequent else np.ones(concepts)
    chances = np.minimum(1.0, mean * weights / weights.sum())

    def each() -> Iterator[tuple[NDArray[np.int16], NDArray[np.uint64]]]:
        for _ in range(images):
            there = np.flatnonzero(random.random(concepts) < chances)
            yield (there + 1).astype(np.int16), shapes[random.integers(len(shapes), size=len(there))]

    names = [Concept(str(place), "object") for place in range(concepts)]
    return PackedMasks.write(each(), images, names, "drawn", folder, (SIDE, SIDE))


def formulas(folder: Path, images: int, concepts: int, units: int, rounds: int) -> Case | None:
    """One unit by the package; ours all of them, and a share of their time."""
    if (beam := peer("compositional_explanations.beam")) is None:
        return None
    random = np.random.default_rng(1)
    masks = drawn_masks(random, images, concepts, 12, folder / "masks", True)
    fires = drawn_masks(random, images, units, units / 5, folder / "units", False)

    def dense(of: PackedMasks, label: int) -> Tensor:
        return torch.from_numpy(np.stack([of.mask(image, label) for image in range(images)]).reshape(images, -1))

    given = [dense(masks, label) for label in range(1, concepts + 1)]
    apart = torch.tensor([[a is b or not bool((a & b).any()) for b in given] for a in given])
    unit = dense(fires, 1)
    explainer = CompositionalExplainer(masks)

    def theirs() -> str:
        options = {
            "bitmaps": unit,
            "masks": given,
            "disjoint_info": apart,
            "length": 3,
            "device": "cpu",
            "beam_size": 5,
        }
        with contextlib.redirect_stdout(io.StringIO()):
            return str(beam.compute_beam_explanations(**options))

    formula = parse_formula(theirs().replace("(NOT ", "NOT ("), masks.concepts)
    true = formula.evaluate(lambda label: given[label - 1].numpy())
    expected = (true & unit.numpy()).sum() / (true | unit.numpy()).sum()
    found = explainer.interpret(fires)[0].iou
    if abs(found - expected) > 1e-9:
        raise SystemExit(f"wrong: IoU {found}, and {expected} by the package")
    return Case(
        f"formulas of three, per unit: {images} images, {concepts} concepts, {SIDE} x {SIDE}",
        [Contender(OURS, lambda: explainer.interpret(fires), share=units), Contender(PACKAGE, theirs, every=2)],
        [Goal(PACKAGE, OURS, least=50)],
        rounds=rounds,
        note=f"of {units} units at once, the time for one",
    )


def memory(name: str) -> int:
    """Bytes of this process: "RssAnon" now, without pages of files; "VmHWM" at most so far. What getrusage says is the parent's, too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return 0


def large(folder: Path, images: int, concepts: int, units: int) -> None:
    """The part in a process of its own: what it took, as JSON."""
    masks, fires = PackedMasks(folder / "masks"), PackedMasks(folder / "units")
    most, done = [memory("RssAnon")], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], memory("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    found = CompositionalExplainer(masks, length=3, beam=5).interpret(fires)
    took = time.perf_counter() - begin
    done.set()
    watcher.join()
    if len(found) != units or masks.images != images or len(masks.concepts) != concepts:
        raise SystemExit("wrong: not every unit has a formula")
    print(
        json.dumps(
            {
                "took": took,
                "peak_bytes": memory("VmHWM"),
                "peak_bytes_without_files": most[0],
                "bytes_of_files": sum(path.stat().st_size for path in folder.rglob("masks.bits")),
                "mean_iou": float(np.mean([each.iou for each in found])),
            }
        )
    )


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--large", nargs=4, metavar=("FOLDER", "IMAGES", "CONCEPTS", "UNITS"), help=argparse.SUPPRESS)
    args = made.parse_args()
    if args.large:
        large(Path(args.large[0]), *map(int, args.large[1:]))
        return
    quick = args.quick
    report = Report(
        "concepts",
        "Units are dissected fifty times as fast as by a loop, and explained by formulas over as many images as ADE20K has in minutes.",
        "python benchmarks/concepts.py" + (" --quick" if quick else ""),
        args.out,
    )
    rounds = 3 if quick else 7
    report.run([tally(64 if quick else 512, 14, rounds), tally(64 if quick else 512, 7, rounds)])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if case := formulas(folder / "few", 60 if quick else 200, 40 if quick else 100, 64, rounds):
            report.run([case])
        images, concepts, units = (500, 200, 64) if quick else (22_210, 1000, 512)
        random = np.random.default_rng(2)
        drawn_masks(random, images, concepts, 20, folder / "large" / "masks", True)
        drawn_masks(random, images, units, units / 5, folder / "large" / "units", False)
        command = [sys.executable, __file__, "--large", str(folder / "large"), str(images), str(concepts), str(units)]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    gib = {key: told[key] / 2**30 for key in ("peak_bytes", "peak_bytes_without_files", "bytes_of_files")}
    in_memory = (
        f"memory at most {gib['peak_bytes']:.2f} GiB, {gib['peak_bytes_without_files']:.2f} GiB without the pages of files of "
        f"{gib['bytes_of_files']:.1f} GiB"
    )
    name = f"formulas of three, beam 5: {units} units, {images:,} images, {concepts:,} concepts, {SIDE} x {SIDE}"
    case = Case(name, [Contender(OURS, lambda: None)], note=in_memory)
    report.add(case, {OURS: [told["took"]]}, goal="under four minutes and 2 GiB", **told)


if __name__ == "__main__":
    main()
