"""
Claim: what a great evaluation costs can be told beforehand, from a few costs that are measured here.

Measured with EfficientNet-Lite0 and ResNet-18 (random weights: the arithmetic is the same), every layer, one thread: seconds of a step
for a picture, of an image in a reference and in a comparison, of what a task writes; bytes of each on the disk. From these follows the cost
of 1,000 classes, 10 models and 125 protocols (ways to make prototypes), and a simulated scheduler (scheduler.py) says how it goes on many
workers, of which some are slow and some die. A GPU is not measured: it is taken for so many cores as ``--gpu`` says.
``python benchmarks/scale.py [--quick] [--gpu 30 100 300]``
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from harness import ROOT, Report, parser, seconds, threads
from scheduler import Workers, simulate

from captum_proto import PathSimilarity, PrototypeGeneration
from captum_proto._utils.files import whole_file
from captum_proto._utils.tables import text_table
from captum_proto.models import NamedModel, load_model
from captum_proto.report.views.prototypes import write_pictures
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out

#: What is planned: the paper's prototypes, two of each class, and as many images as ImageNet's validation set has.
CLASSES, MODELS, PROTOCOLS, PROTOTYPES, STEPS, IMAGES = 1000, 10, 125, 2, 512, 50
NORMALIZE = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
#: Of many workers: so many are so much slower than the others; each dies once in so many hours; so long takes the next one's start.
SLOW, SLOWNESS, HOURS_OF_LIFE, START = 0.02, 3.0, 24.0, 60.0
TABLE = ROOT / "docs" / "results" / "scale.txt"


@dataclass
class Costs:
    """Of one model: seconds of one core, and bytes."""

    step: float
    fit: float
    evaluate: float
    picture_bytes: int
    reference_bytes: int
    comparison_bytes: int
    layers: int


def slope(run: Callable[[int], Any], few: int, many: int, rounds: int) -> list[float]:
    """Seconds of one more of what ``run`` is given a number of, in each round."""
    run(few)
    return [(seconds(lambda: run(many)) - seconds(lambda: run(few))) / (many - few) for _ in range(rounds)]


def networks() -> Iterable[NamedModel]:
    yield load_model("efficientnet-lite0")
    torch.manual_seed(0)
    yield NamedModel("resnet18", torchvision.models.resnet18().eval(), NORMALIZE, (3, 224, 224), None)


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measured(named: NamedModel, rounds: int) -> tuple[Costs, dict[str, list[float]]]:
    """What each part costs with one model."""
    shape, batch = named.image_shape, 4
    generation = PrototypeGeneration(named.model, preprocess=named.preprocess)

    def generate(steps: int) -> Any:
        return generation.generate([3] * batch, shape, steps=steps, warmup_steps=0, evaluation_draws=0)

    generator = torch.Generator().manual_seed(0)
    images = torch.rand(12, *shape, generator=generator)

    def fitted(count: int) -> PathSimilarity:
        return PathSimilarity(named.model, preprocess=named.preprocess).fit(images[:count].split(batch))

    similarity = fitted(batch)
    times = {
        "step": [t / batch for t in slope(generate, 2, 6, rounds)],
        "fit": slope(fitted, 4, 12, rounds),
        "evaluate": slope(lambda count: similarity.evaluate(images[:count].split(batch)), 4, 12, rounds),
    }
    with tempfile.TemporaryDirectory() as folder:
        pictures, reference, comparison = (Path(folder) / name for name in ("pictures", "reference", "comparison"))
        write_pictures(generate(1), pictures, None)
        similarity.reference.save(reference)
        similarity.compare(images[:2], images[:4], images[4:8], controls=()).save(comparison)
        costs = Costs(
            *(statistics.median(times[name]) for name in ("step", "fit", "evaluate")),
            picture_bytes=bytes_in(pictures) // batch,
            reference_bytes=reference.stat().st_size,
            comparison_bytes=comparison.stat().st_size,
            layers=len(similarity.reference.layers),
        )
    return costs, times


class Writing(Protocol[None]):
    """Tasks that write as much as those of an evaluation, and do nothing else."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.content = count, bytes(size)

    def provenance(self) -> dict[str, Any]:
        return {"command": "writing"}

    def tasks(self) -> list[Task]:
        return [Task(f"{index:05d}") for index in range(self.count)]

    def make(self, task: Task, run: Run) -> None:
        with whole_file(run.folder / f"{task.name}.bin") as temporary:
            temporary.write_bytes(self.content)

    def summarize(self, run: Run) -> None:
        for task in run.tasks:
            (run.folder / f"{task.name}.bin").read_bytes()


def of_tasks(rounds: int, count: int, size: int) -> tuple[list[float], list[float]]:
    """Seconds that a task takes beside its work, and that one takes in a summary, in each round."""
    protocol = Writing(count, size)
    beside, summary = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            beside.append(seconds(partial(carry_out, protocol, out)) / count)
            summary.append(seconds(partial(carry_out, protocol, out, resume=True)) / count)
    return beside, summary


def plan(costs: list[Costs], classes: int, models: int, protocols: int) -> dict[str, float]:
    """Seconds of one core and bytes, of each part of an evaluation of so many classes, models and protocols."""

    def mean(of: Callable[[Costs], float]) -> float:
        return statistics.mean(map(of, costs)) * classes * models

    return {
        "generation, s": mean(lambda c: protocols * PROTOTYPES * STEPS * c.step),
        "references, s": mean(lambda c: IMAGES * c.fit),
        "comparison with photographs, s": mean(lambda c: 2 * IMAGES * c.evaluate),
        "comparison of prototypes, s": mean(lambda c: protocols * PROTOTYPES * c.evaluate),
        "pictures, bytes": mean(lambda c: protocols * PROTOTYPES * c.picture_bytes),
        "comparisons, bytes": mean(lambda c: protocols * c.comparison_bytes),
        "references, bytes": mean(lambda c: c.reference_bytes),
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--gpu", type=float, nargs="+", default=[30.0, 100.0, 300.0], help="cores that a GPU is taken for"
    )
    args = arguments.parse_args()
    rounds, small = (1, 40) if args.quick else (5, 400)
    command = "python benchmarks/scale.py" + (" --quick" if args.quick else "")
    report = Report("scale", "What a great evaluation costs can be told beforehand.", command, args.out)
    costs, spreads = [], []
    with threads(1):
        for named in networks():
            found, times = measured(named, rounds)
            costs.append(found)
            spreads += [t / found.step for t in times["step"]]
            report.record.setdefault("costs", {})[named.name] = {**vars(found), "rounds": times}
        beside, summary = of_tasks(rounds, small, round(statistics.mean(PROTOTYPES * c.picture_bytes for c in costs)))
    writing, summed = statistics.median(beside), statistics.median(summary)
    report.record["task"] = {"beside its work": beside, "in the summary": summary}
    lines = [
        cost_table(report.record["costs"], writing, summed),
        "",
        plan_table(plan(costs, CLASSES, MODELS, PROTOCOLS)),
        "",
    ]
    task = statistics.mean(PROTOTYPES * STEPS * c.step for c in costs)
    tasks = CLASSES * MODELS * PROTOCOLS if not args.quick else CLASSES
    report.record["simulated"] = rows = [
        row
        for what, speed, counts in worlds(args.gpu)
        for row in growth(what, task / speed, tasks, counts, writing, summed, spreads)
    ]
    lines.append(text_table(list(rows[0]), [list(map(str, row.values())) for row in rows]))
    report.record["table"] = {
        "header": ["", *list(rows[0])[1:]],
        "rows": [list(map(str, row.values())) for row in rows],
    }
    report.write()
    print("\n".join(lines))
    if not args.quick:
        TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def worlds(gpus: Iterable[float]) -> Iterable[tuple[str, float, list[int]]]:
    """Who may work: cores, and GPUs that are taken for so many cores each."""
    yield "a core", 1.0, [1, 64, 1024, 16384]
    for cores in gpus:
        yield f"a GPU of {cores:g} cores", cores, [1, 64, 1024, 4096]


def growth(
    what: str, task: float, tasks: int, counts: list[int], writing: float, summed: float, spread: list[float]
) -> Iterable[dict[str, Any]]:
    """The run on more and more workers, none of which fails, and then as they are."""
    each = [task * spread[index % len(spread)] for index in range(tasks)]
    for count in counts:
        ideal = simulate(each, Workers(count, START), writing=writing, summary=tasks * summed)
        real = simulate(
            each,
            Workers(count, START, SLOW, SLOWNESS, 1 / HOURS_OF_LIFE),
            writing=writing,
            summary=tasks * summed,
        )
        yield {
            "workers": f"{count:,} x {what}",
            "days": f"{ideal.seconds / 86400:,.2f}",
            "efficiency": f"{100 * ideal.efficiency:.0f} %",
            "days, with slow and dying": f"{real.seconds / 86400:,.2f}",
            "efficiency then": f"{100 * real.efficiency:.0f} %",
            "died": f"{real.failures:,}",
            "lost, h": f"{real.lost / 3600:,.1f}",
        }


def cost_table(costs: dict[str, dict[str, Any]], writing: float, summed: float) -> str:
    rows = [
        [
            name,
            f"{c['layers']}",
            f"{1e3 * c['step']:.1f}",
            f"{1e3 * c['fit']:.1f}",
            f"{1e3 * c['evaluate']:.1f}",
            f"{c['picture_bytes'] / 1e3:,.0f}",
            f"{c['comparison_bytes'] / 1e3:,.0f}",
            f"{c['reference_bytes'] / 1e6:,.0f}",
        ]
        for name, c in costs.items()
    ]
    header = [
        "model",
        "layers",
        "step, ms",
        "reference, ms",
        "comparison, ms",
        "picture, kB",
        "comparison, kB",
        "reference, MB",
    ]
    beside = f"A task beside its work: {1e3 * writing:.1f} ms; in the summary: {1e3 * summed:.2f} ms."
    return text_table(header, rows) + f"\n{beside}"


def plan_table(parts: dict[str, float]) -> str:
    whole = sum(value for name, value in parts.items() if name.endswith(", s"))
    rows = [
        [name.removesuffix(", s"), f"{value / 3600:,.0f}", f"{100 * value / whole:.1f} %", ""]
        for name, value in parts.items()
        if name.endswith(", s")
    ]
    rows.append(["all", f"{whole / 3600:,.0f}", "100 %", ""])
    rows += [
        [name.removesuffix(", bytes"), "", "", f"{value / 1e9:,.1f}"]
        for name, value in parts.items()
        if name.endswith(", bytes")
    ]
    return text_table(
        [f"{CLASSES:,} classes, {MODELS} models, {PROTOCOLS} protocols", "hours of a core", "", "GB"], rows
    )


if __name__ == "__main__":
    main()
