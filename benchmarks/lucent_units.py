"""
Claim: units are visualized at least 2 x as fast as by Lucent per image and step, and 15 x as soon as active as Lucent's after 512 steps.

EfficientNet-Lite0 with its ImageNet weights, 224 pixels, the same standard transforms. (a) 64 channels of a layer in one batch, and
in batches of 16, which is what ``visualize`` does unless told otherwise, beside Lucent, which makes one after the other, and beside the
bare network, forward and backward.
(b) Some units of an early, a middle and a late layer: Lucent's picture after its 512 steps, with its own defaults; ours, all units of a
layer in one batch, until each of them is at least as active. Both are looked at in the same way: the picture as it is, without
transforms, at 224 pixels, with the network's own preprocessing. Settings of ours were chosen on other units: ``TUNED_ON``.

``python benchmarks/lucent_units.py [--quick] [--channels 64] [--steps 512] [--units 4]`` writes ``results/lucent_units.json`` and, beside
it, a sheet of both.
"""

from __future__ import annotations

import copy
import itertools
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from harness import Case, Contender, Goal, Report, parser, peer
from torch import Tensor

from captum_proto.models import NamedModel, load_model
from captum_proto.optim import ChannelActivation, InputOptimization, visualization_settings
from captum_proto.report.figures import picture_sheet, save_figure, to_display

OURS, PARTED, LUCENT, FLOOR = "one batch", "batches of 16", "Lucent 0.1.8, one by one", "the bare network"
OURS_UNTIL, LUCENT_AFTER = "until as active", "Lucent 0.1.8, its steps"
#: An early, a middle and a late layer, before their activation functions, which would cap what is measured; and units of each.
UNITS = {"_blocks.2._bn0": [7, 20, 55, 90], "_blocks.8._bn0": [5, 60, 210, 333], "_blocks.14._bn0": [30, 145, 402, 600]}
#: The units on which the settings were chosen.
TUNED_ON = {"_blocks.2._bn0": [3, 40], "_blocks.8._bn0": [10, 100]}
#: What differs from feature visualization's defaults: little momentum, since each step draws another transform.
FAST: dict[str, Any] = {"lr": 0.1, "betas": (0.3, 0.7)}
#: After so many steps it is looked whether a picture is active enough; the last is the most that is tried.
LOOKED_AT = (4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256)
SHAPE = (3, 224, 224)


def activations(named: NamedModel, images: Tensor, layer: str, channels: list[int]) -> Tensor:
    """(N,): the mean over positions of a channel for each image as it is."""
    found: list[Tensor] = []
    module = named.model.get_submodule(layer)
    with module.register_forward_hook(lambda _, __, output: found.append(output)), torch.no_grad():
        named.logits(images)
    return found[-1][torch.arange(len(images)), channels].mean((1, 2))


def with_lucent(named: NamedModel, layer: str, channel: int, steps: int) -> tuple[float, Tensor]:
    """
    Lucent's own loop, objective, image and transforms; the network's preprocessing goes last, as its user puts it there.

    On a copy of the network: Lucent leaves its hooks on every layer, which would hold what the next of us computes.
    """
    from lucent.optvis import objectives, param, render, transform

    torch.manual_seed(0)
    network = copy.deepcopy(named.model)
    image: list[Callable[[], Tensor]] = []

    def remembered() -> tuple[Any, Callable[[], Tensor]]:
        parameters, made = param.image(SHAPE[-1])
        image.append(made)
        return parameters, made

    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        render.render_vis(
            network,
            objectives.channel(layer.replace(".", "_"), channel),
            remembered,
            transforms=[*transform.standard_transforms, named.preprocess],
            thresholds=(steps,),
            preprocess=False,
            progress=False,
            show_image=False,
        )
    return time.perf_counter() - begin, image[0]().detach()


def ours(
    named: NamedModel,
    layer: str,
    channels: list[int],
    steps: int,
    looked_at: tuple[int, ...] = (),
    callback: Callable[[Any], None] | None = None,
) -> Any:
    """The result of one batch."""
    settings = visualization_settings(SHAPE, steps=steps, **FAST)
    optimization = InputOptimization(named.model, ChannelActivation(layer, channels), named.preprocess, settings)
    return optimization.optimize(SHAPE, snapshot_steps=looked_at, callback=callback)


def bare(named: NamedModel, layer: str, images: Tensor, channels: list[int], steps: int) -> None:
    """The network forward, and the gradient of the layer's channels with respect to its input: nothing else."""
    module = named.model.get_submodule(layer)
    found: list[Tensor] = []
    with module.register_forward_hook(lambda _, __, output: found.append(output)):
        for _ in range(steps):
            named.model(images)
            chosen = found.pop()[torch.arange(len(images)), channels]
            torch.autograd.grad(chosen.mean((1, 2)).sum(), images)


def per_image_and_step(report: Report, named: NamedModel, layer: str, count: int, quick: bool) -> None:
    """Claim (a): of ours steps after the first two, which find the fastest arrangement of the network; of Lucent whole runs."""
    channels = list(range(count))
    images = torch.rand(count, *SHAPE, requires_grad=True)
    batches = {OURS: channels, PARTED: channels[:16]}
    times: dict[str, list[float]] = {name: [] for name in (*batches, LUCENT, FLOOR)}
    alone = 4 if quick else 16
    for _ in range(1 if quick else 2):
        for name, batch in batches.items():
            ends: list[float] = []
            ours(named, layer, batch, 5, callback=lambda _step, ends=ends: ends.append(time.perf_counter()))
            times[name] += [(late - early) / len(batch) for early, late in itertools.pairwise(ends[1:])]
        for _ in range(3):
            times[LUCENT].append(with_lucent(named, layer, 0, alone)[0] / alone)
            begin = time.perf_counter()
            bare(named, layer, images, channels, 1)
            times[FLOOR].append((time.perf_counter() - begin) / count)
    case = Case(
        f"{count} channels of {layer}, per image and step",
        [Contender(name, lambda: None) for name in times],
        [Goal(LUCENT, name, least=2) for name in batches],
        note="the bare network runs as it came, to its end; ours has its batch normalizations folded and ends after the layer",
    )
    report.add(case, times)


def until_as_active(
    report: Report, named: NamedModel, layer: str, channels: list[int], steps: int
) -> list[tuple[str, Tensor, Tensor]]:
    """Claim (b); of each unit what it is called, Lucent's picture and ours."""
    times, pictures = zip(*(with_lucent(named, layer, channel, steps) for channel in channels), strict=True)
    goals = activations(named, torch.cat(pictures), layer, channels)
    looked_at = tuple(step for step in LOOKED_AT if step <= max(steps, LOOKED_AT[0]))
    snapshots = ours(named, layer, channels, looked_at[-1], looked_at).snapshots
    reached = {step: activations(named, images, layer, channels) for step, images in snapshots.items()}
    needed = [
        next((step for step, values in reached.items() if values[row] >= goals[row]), None)
        for row in range(len(channels))
    ]
    most = max(step or looked_at[-1] for step in needed)
    each = []
    for _ in range(3):
        begin = time.perf_counter()
        ours(named, layer, channels, most)
        each.append((time.perf_counter() - begin) / len(channels))
    there = sum(step is not None for step in needed)
    case = Case(
        f"{len(channels)} units of {layer}, a unit",
        [Contender(OURS_UNTIL, lambda: None), Contender(LUCENT_AFTER, lambda: None)],
        [Goal(LUCENT_AFTER, OURS_UNTIL, least=15)] if there == len(channels) else [],
        note=f"Lucent's {steps} steps; as active after {needed} steps of ours, {there} of {len(channels)} within {looked_at[-1]}; "
        f"timed for all until the last is there, after {most}",
    )
    report.add(
        case,
        {OURS_UNTIL: list(each), LUCENT_AFTER: [sum(times) / len(times)] * len(each)},
        units=channels,
        lucent_activations=goals.tolist(),
        lucent_steps=steps,
        steps_needed=needed,
        activations={step: values.tolist() for step, values in reached.items()},
        settings=FAST,
        tuned_on=TUNED_ON,
    )
    rows = []
    for row, channel in enumerate(channels):
        step = needed[row] or looked_at[-1]
        label = f"{layer} {channel}: Lucent {goals[row]:.2f}, ours {reached[step][row]:.2f} after {step}"
        rows.append((label, pictures[row][0], snapshots[step][row]))
    return rows


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--channels", type=int, default=64, help="in the batch of (a) (default: %(default)s)")
    options.add_argument("--steps", type=int, default=512, help="of Lucent in (b) (default: %(default)s)")
    options.add_argument("--units", type=int, default=4, help="of each layer in (b), at most 4 (default: %(default)s)")
    args = options.parse_args()
    if peer("lucent.optvis.render") is None:
        raise SystemExit(1)
    report = Report(
        "lucent_units",
        "Units of EfficientNet-Lite0: time per image and step, and until a picture is as active as Lucent's",
        f"python benchmarks/lucent_units.py --channels {args.channels} --steps {args.steps} --units {args.units}",
        args.out,
    )
    named = load_model("efficientnet-lite0")
    middle = list(UNITS)[1]
    for layer in [middle] if args.quick else UNITS:
        per_image_and_step(report, named, layer, args.channels, args.quick)
    rows = []
    for layer in [middle] if args.quick else UNITS:
        channels = UNITS[layer][: args.units]
        rows += until_as_active(report, named, layer, channels[:2] if args.quick else channels, args.steps)
    cells = [[(label, to_display(theirs)), ("", to_display(own))] for label, theirs, own in rows]
    across = [[*cells[i], *(cells[i + 1] if i + 1 < len(cells) else [])] for i in range(0, len(cells), 2)]
    save_figure(picture_sheet(across, 224), report.out.with_suffix(".png"), overwrite=True)


if __name__ == "__main__":
    main()
