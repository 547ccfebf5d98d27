"""Table 4 and Figure 7: protocols of affine transforms, ranked."""

from __future__ import annotations

from functools import partial
from typing import Any

from captum_proto._utils.tables import number
from captum_proto.experiments.reproduce import paper
from captum_proto.experiments.reproduce.items.registry import Item, beside_paper, item, lacks_images
from captum_proto.experiments.reproduce.stages import COMPARISON, OpenStage, StageResults, natural_images
from captum_proto.experiments.sweep import RunSweep, Sweep, SweepResult
from captum_proto.report.blocks import Table
from captum_proto.report.figures import picture_grid, points_figure
from captum_proto.runs.tasks import Protocol

#: So many protocols are shown, from the first; of the pictures half from each end.
_MOST_SHOWN = 10
#: The folder of the sweep.
_SWEEP = "table4/sweep"


def _runs(stage: OpenStage) -> dict[str, Protocol[Any]]:
    """A sweep over the protocols, for one class and several seeds."""
    if stage.natural is None:
        return {}
    wanted, settings, named = stage.stage, stage.settings, stage.named
    sweep = Sweep(
        models=[stage.model],
        targets=[wanted.protocol_target],
        seeds=wanted.protocol_seeds,
        # The protocol gives the transform.
        fixed={"preset": "paper", **{name: value for name, value in wanted.options.items() if name != "transform"}},
        grid=wanted.protocols,
    )
    run = RunSweep(
        sweep,
        open_model=lambda name: named,
        natural=partial(natural_images, wanted, settings),
        similarity={"batch_size": settings.image_batch},
        comparison={**COMPARISON, "seed": settings.seed},
        batch_size=settings.batch_size,
    )
    return {_SWEEP: run}


def _swept(results: StageResults) -> tuple[RunSweep, SweepResult]:
    """The sweep, and what came of it."""
    run = results.stage.runs[_SWEEP]
    assert isinstance(run, RunSweep)
    return run, run.read(results.folder / _SWEEP)


@item("table4", runs=_runs, lacks=lacks_images)
def table_4(results: StageResults) -> Item:
    """All protocols, ranked, and whether first and second differ by more than chance."""
    _, swept = _swept(results)
    ranks = swept.ranking()
    best, few = ranks[0], len(ranks) <= _MOST_SHOWN
    header, rows = swept.ranking_rows()
    made = Item(
        f"{len(ranks)} affine protocols, ranked",
        header=header,
        rows=rows,
        figure=points_figure(
            {rank.combination.name: [cell.spearman for cell in rank.cells] for rank in ranks[:_MOST_SHOWN]},
            f"mean Spearman over layers, a point for each seed{'' if few else '; the first ten'}",
        ),
        text=[swept.verdict()],
        table=Table(header, rows[:_MOST_SHOWN], "All protocols." if few else "The first ten protocols."),
    )
    figures = {
        "best protocol": (
            best.score,
            f"{number(best.score)} ± {number(best.over_seeds)} over seeds ({best.combination.name})",
        ),
    }
    if len(ranks) > 1:
        ahead = best.score - ranks[1].score
        figures["first over second"] = (ahead, number(ahead))
    made.verdicts = [
        beside_paper(name, text, value, paper.VALUES.get(("table4", name, results.stage.model)))
        for name, (value, text) in figures.items()
    ]
    return made


@item("fig7", runs=_runs, lacks=lacks_images)
def figure_7(results: StageResults) -> Item:
    """Prototypes of the protocols at both ends of the ranking."""
    run, swept = _swept(results)
    ranks = swept.ranking()
    few, half = len(ranks) <= _MOST_SHOWN, _MOST_SHOWN // 2
    shown = ranks if few else [*ranks[:half], *ranks[-half:]]
    found = run.images(run.plans[0], results.folder / _SWEEP, {rank.index for rank in shown})
    images = {(point.combination, point.seed): image for point, image in found.items()}
    return Item(
        f"prototypes of {'all' if few else 'the best and the worst'} affine protocols",
        header=["protocol", "seed", "Spearman", "probability as it is", "expected probability"],
        rows=[
            [rank.combination.name, cell.seed, cell.spearman, cell.probability, cell.transformed_probability]
            for rank in shown
            for cell in rank.cells
        ],
        figure=picture_grid(
            {
                rank.combination.name: {
                    f"seed {seed}": images[rank.index, seed] for seed in results.stage.stage.protocol_seeds[:5]
                }
                for rank in shown
            }
        ),
    )
