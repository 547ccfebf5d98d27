"""
The six checks of a curve detector, each with its control: Cammarata et al., "Curve Detectors" (Distill 2020) and "Curve Circuits" (2021).

What is expected of each is written here, before anything is measured; a unit that detects no curves should fail most of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto._utils.model import borrowed, device_of, dtype_of
from captum_proto._utils.tables import number, percent
from captum_proto.circuits import (
    ExpandedWeights,
    PutBack,
    Tuning,
    TuningCurve,
    correlation,
    curve,
    curve_weights,
    line_preferences,
    odd_square,
    pooled_maps,
    turned,
    weights_by_orientation,
)
from captum_proto.edit import ablate_units
from captum_proto.experiments.circuit.stimuli import APPEARANCES, StimulusResponses
from captum_proto.models import LayerActivations, NamedModel
from captum_proto.report.blocks import Verdict
from captum_proto.stats.intervals import Estimate, mean_estimate

#: As the six checks are called, in their order.
NAMES = (
    "Feature visualization",
    "Dataset examples",
    "Synthetic stimuli",
    "Weights",
    "Downstream units",
    "Weights by hand",
)
#: At most so much of its response to its own curve a curve detector gives to others.
ECHO, LINE, CORNER = 0.30, 0.60, 0.60
#: To at most this share the response to examples falls when they are turned around.
TURNED = 0.5
#: So near to the orientation of stimuli the orientation that is read from weights has to be, in degrees.
NEAR = 22.5
#: At most this is a p-value, and random orders of earlier units that give it.
LEVEL, ORDERS = 0.05, 200
#: At least so much curves of weights by hand have to agree with those of the unit's own.
AGREES = 0.5
#: Of the arc of weights by hand, widths that are tried on one half of the orientations.
_SPREADS = (0.7, 1.0, 1.5, 2.0, 3.0)


def check_picture(own: float, examples: Sequence[float], others: Sequence[float]) -> Verdict:
    """
    Whether the picture made for a unit activates it: more than any image, and than pictures made for other units.

    Args:
        own (float): The unit's activation by its picture.
        examples (sequence of float): By its top examples; none where there are no images.
        others (sequence of float): By pictures of other units, the control.
    """
    expected = "above " + ("images and " if examples else "") + "pictures of other units"
    control = max(others, default=math.nan)
    most = max(examples, default=math.nan)
    measured = f"activation {number(own)}; pictures of {len(others)} other units at most {number(control)}"
    measured += f"; images at most {number(most)}" if examples else ""
    bounds = [value for value in (control, most) if not math.isnan(value)]
    passed = None if not bounds else own > 0 and all(own > bound for bound in bounds)
    return Verdict(NAMES[0], measured, expected, "", passed)


def check_examples(
    responses: Tensor, blank: float, control: Sequence[float], angles: Sequence[float]
) -> tuple[Verdict, list[float]]:
    """
    Whether turning its top examples around turns a unit off (joint tuning).

    Args:
        responses (Tensor): (N, A), to each example at each turn, the first of them by 0 degrees.
        blank (float): To gray.
        control (sequence of float): The same share of other units, each with its own top examples.
        angles (sequence of float): In degrees.

    Returns:
        tuple[Verdict, list[float]]: And the mean response by turn, as a share of that to examples as they are.
    """
    raised = (responses - blank).double()
    upright = raised[:, 0]
    known = upright > 0
    if not bool(known.any()):
        verdict = Verdict(
            NAMES[1], "no example raises it in a disk by itself", f"at most {percent(TURNED)} at 180°", "", False
        )
        return verdict, [math.nan] * len(angles)
    shares = raised[known] / upright[known, None]
    around = list(angles).index(180.0)
    fallen = mean_estimate(shares[:, around].clamp(min=0).numpy())
    measured = f"turned by 180°, {percent(fallen.value)}{_interval(fallen)} of the response to them as they are"
    others = [value for value in control if not math.isnan(value)]
    note = (
        f"Of {len(others)} other units, with their own examples: {percent(sum(others) / len(others))} on average."
        if others
        else ""
    )
    high = fallen.value if math.isnan(fallen.high) else fallen.high
    return Verdict(NAMES[1], measured, f"at most {percent(TURNED)} at 180°", "", high <= TURNED, note), shares.mean(
        0
    ).tolist()


def check_stimuli(found: StimulusResponses, unit: int) -> tuple[Verdict, Tuning]:
    """Whether curves of one orientation raise a unit, and neither the opposite curve, nor lines, nor sharp corners, nor noise."""
    appearance, tuning = found.best(unit)
    peak = float(tuning.peak[0])
    (best, radius) = tuning.preferred[0]
    noise = float(found.noise[unit] - tuning.blank[0])
    expected = f"echo at most {percent(ECHO)}, lines {percent(LINE)}, corners {percent(CORNER)}, noise below curves"
    if not peak > 0:
        return Verdict(NAMES[2], "no curve raises it", expected, "", False), tuning
    straight, corner = (
        float(found.shapes[shape, appearance].of(unit).peak[0]) / peak for shape in ("straight", "corner")
    )
    echo = tuning.at(0, best + 180) / peak
    passed = echo <= ECHO and straight <= LINE and corner <= CORNER and noise < peak
    kind = "lines" if APPEARANCES[appearance]["style"] == "line" else "edges"
    measured = (
        f"most by {appearance.replace('lines', 'curves')} at {best:g}°, radius {radius:g} pixels; the opposite curve {percent(echo)} of "
        f"that, {kind} at most {percent(straight)}, sharp corners at most {percent(corner)}"
    )
    half = tuning.half_width(0)
    frequencies = float(found.frequencies.of(unit).peak[0]) / peak
    note = f"Noise: at most {percent(noise / peak)}; borders between fine and coarse patterns: {percent(frequencies)}."
    note += "" if math.isnan(half) else f" Half of the response at {half:.0f}° to either side."
    return Verdict(NAMES[2], measured, expected, "", passed, note), tuning


def unit_lines(found: Mapping[str, Tuning]) -> Tensor:
    """Which straight lines, or edges, each unit of a layer prefers, as :func:`line_preferences` has it, in the looks that raise it most."""
    peaks = torch.stack([found[name].peak for name in APPEARANCES])
    each = torch.stack([_lines(found[name]) for name in APPEARANCES])
    return each.gather(0, peaks.argmax(0, keepdim=True))[0]


def _lines(tuning: Tuning) -> Tensor:
    return line_preferences(Tuning(**{**vars(tuning), "stimulus": "line"}))


def check_weights(
    expanded: ExpandedWeights, unit: int, lines: Tensor, tuning: Tuning, size: int, seed: int = 0
) -> tuple[Verdict, list[float]]:
    """
    Whether a unit's weights are those of a curve detector, of the orientation that stimuli tell.

    Returns:
        tuple[Verdict, list[float]]: And by orientation, how well the weights agree with those of a curve there.
    """
    expected = f"the orientation of stimuli, within {NEAR:g}°; by chance p ≤ {LEVEL:g}"
    orientations, scale = tuning.orientations, expanded.from_shape[0] / size
    try:
        odd_square(expanded)
    except InputError as error:
        return Verdict(NAMES[3], "not known", expected, "", None, str(error)), []
    own, radii = expanded.of(unit), [max(1.0, radius * scale) for radius in tuning.values]
    agreement = _agreement(own, lines, orientations, radii)
    best = divmod(int(agreement.argmax()), len(orientations))[1]
    by_orientation = agreement.amax(0).tolist()
    generator = torch.Generator().manual_seed(seed)
    orders = torch.stack([torch.randperm(len(own), generator=generator) for _ in range(ORDERS)])
    null = _agreement(own, lines[orders], orientations, radii).amax((1, 2)).tolist()
    found = float(agreement.max())
    p = (1 + sum(value >= found for value in null)) / (1 + ORDERS)
    off = abs(turned(orientations[best] - tuning.preferred[0][0]))
    measured = f"most alike to a curve at {orientations[best]:g}°, {off:g}° from that of stimuli: cosine {number(found)}, p = {p:.3g}"
    note = f"With earlier units in a random order, the best cosine is {number(sum(null) / len(null))} on average."
    return Verdict(NAMES[3], measured, expected, "", off <= NEAR and p <= LEVEL, note), by_orientation


def _agreement(own: Tensor, lines: Tensor, orientations: Sequence[float], radii: Sequence[float]) -> Tensor:
    return torch.stack(
        [weights_by_orientation(own, lines, orientations, radii, spread=spread) for spread in (1.0, 2.0)]
    ).amax(0)


def check_downstream(
    named: NamedModel, layer: str, unit: int, outgoing: ExpandedWeights, images: Tensor, batch_size: int, seed: int = 0
) -> Verdict:
    """
    Whether later units change as the weights to them say when the unit is taken out, on the curves that raise it.

    The controls are the same weights with later units in a random order, and the weights from the other units of the layer, of which at
    most one in twenty may say it as well.
    """
    later = LayerActivations(named, outgoing.to_layer, batch_size=batch_size)
    before = later(images).mean(2)
    with ablate_units(named.model, layer, unit):
        after = later(images).mean(2)
    change = (before - after).mean(0)[outgoing.to_units]
    nets = outgoing.weights.sum((2, 3))
    agree = [correlation(change, nets[:, row]) for row in range(nets.shape[1])]
    own = agree[outgoing.from_units.index(unit)]
    others = [
        value
        for place, value in zip(outgoing.from_units, agree, strict=True)
        if place != unit and not math.isnan(value)
    ]
    expected = f"as its weights say, by chance p ≤ {LEVEL:g}, and not as those of others say"
    if math.isnan(own) or len(change) < 3:
        reason = "there are fewer than three later units" if len(change) < 3 else "nothing there changes"
        return Verdict(NAMES[4], "not known", expected, "", None, f"Taken out on its curves: {reason}.")
    generator = torch.Generator().manual_seed(seed)
    net = nets[:, outgoing.from_units.index(unit)]
    orders = [correlation(change, net[torch.randperm(len(net), generator=generator)]) for _ in range(ORDERS)]
    p = (1 + sum(value >= own for value in orders)) / (1 + ORDERS)
    measured = (
        f"taken out, later units change with correlation {number(own)} to the weights that lead to them, p = {p:.3g}"
    )
    as_well = sum(value >= own for value in others)
    note = ""
    if others:
        note = (
            f"To the weights from {len(others)} other units they change with correlation {number(sum(others) / len(others))} on average, "
            f"at most {number(max(others))}."
        )
    # Of few later units no order can be rare.
    passed = (
        None if own >= max(orders) - 1e-9 and p > LEVEL else own > 0 and p <= LEVEL and as_well <= LEVEL * len(others)
    )
    return Verdict(NAMES[4], measured, expected, "", passed, note)


def check_by_hand(
    named: NamedModel,
    expanded: ExpandedWeights,
    unit: int,
    lines: Tensor,
    tuning: Tuning,
    batch_size: int,
    seed: int = 0,
) -> tuple[Verdict, dict[str, list[float]]]:
    """
    Whether a curve detector whose weights are written down does what the unit does, put in its place.

    How wide the arc is, gain and offset are found on every other orientation, and what is reported is of the rest. The controls are curves
    of other orientations, and the same weights with earlier units in a random order.

    Returns:
        tuple[Verdict, dict[str, list[float]]]: And the tuning of what is put back, by name, for the radius that the unit prefers.
    """
    expected = f"correlation at least {AGREES:g}, above the controls"
    try:
        side = odd_square(expanded)
    except InputError as error:
        return Verdict(NAMES[5], "not known", expected, "", None, str(error)), {}
    probe = TuningCurve(named, expanded.to_layer, unit, batch_size=batch_size)
    best, radius = tuning.preferred[0]
    scale = expanded.from_shape[0] / probe.size
    style = {name: value for name, value in tuning.settings.items() if name not in ("size", "pool")}
    angles = tuning.orientations
    shown = torch.stack([curve(angle, value, probe.size, **style) for value in tuning.values for angle in angles])
    shown = shown if probe.channels == 3 else shown.mean(1, keepdim=True)
    fitted = torch.arange(len(shown)) % len(angles) % 2 == 0
    earlier, maps = PutBack(named, expanded, unit, expanded.of(unit)).maps(shown, batch_size)
    own_tuning = tuning.responses[0].flatten()

    def put(weights: Tensor) -> tuple[float, float, list[float], PutBack]:
        """How well the tuning agrees where gains were found and where not, and what it is at the preferred radius."""
        back = PutBack(named, expanded, unit, weights).fit_maps(earlier[fitted], maps[fitted])
        made = pooled_maps(back.of_maps(earlier).flatten(1).unsqueeze(1), expanded.to_shape, probe.pool)[:, 0]
        at = tuning.values.index(radius) * len(angles)
        agree = [correlation(made[part], own_tuning[part]) for part in (fitted, ~fitted)]
        return agree[0], agree[1], made[at : at + len(angles)].tolist(), back

    def by_hand(orientation: float, preferences: Tensor, spread: float) -> Tensor:
        return curve_weights(preferences, side, orientation, max(1.0, radius * scale), spread)

    try:
        tried = {spread: put(by_hand(best, lines, spread)) for spread in _SPREADS}
    except InputError as error:
        return Verdict(NAMES[5], "not known", expected, "", None, str(error)), {}
    spread = max(tried, key=lambda each: _known(tried[each][0]))
    own = put(expanded.of(unit))
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(seed))
    controls = {f"turned by {turn}°": put(by_hand(best + turn, lines, spread)) for turn in (90, 180)}
    controls["earlier units in a random order"] = put(by_hand(best, lines[order], spread))
    found = tried[spread][1]
    worst = max(_known(each[1]) for each in controls.values())
    measured = (
        f"its tuning agrees with the unit’s, correlation {number(found)} on orientations that nothing was fitted to"
    )
    named_controls = "; ".join(f"{name} {number(each[1])}" for name, each in controls.items())
    note = f"The unit’s own weights in one step, {number(own[1])}. Controls: {named_controls}."
    note += _restored(named, expanded.to_layer, unit, tried[spread][3], shown[~fitted], batch_size)
    passed = None if math.isnan(found) else found >= AGREES and found > worst
    curves = {"weights by hand": tried[spread][2], "own weights, linear": own[2]}
    curves |= {f"control: {name}": each[2] for name, each in controls.items()}
    return Verdict(NAMES[5], measured, expected, "", passed, note), curves


def _restored(named: NamedModel, layer: str, unit: int, back: PutBack, images: Tensor, batch_size: int) -> str:
    """How much of what the network loses without the unit the weights by hand give back, as a sentence; empty if it loses nothing."""

    def outputs() -> Tensor:
        device, dtype = device_of(named.model), dtype_of(named.model)
        parts = [named.logits(batch.to(device, dtype)).flatten(1).cpu() for batch in torch.split(images, batch_size)]
        return torch.cat(parts).double()

    with torch.no_grad(), borrowed(named.model):
        whole = outputs()
        with ablate_units(named.model, layer, unit):
            without = outputs()
        with back.in_place():
            again = outputs()
    lost = float((without - whole).square().sum())
    if not lost:
        return ""
    given = 1 - float((again - whole).square().sum()) / lost
    return f" Put in its place, they give back {percent(given)} of what the network’s output loses without the unit (squares)."


def _known(value: float) -> float:
    return -2.0 if math.isnan(value) else value


def _interval(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.low) else f" [{percent(max(0.0, estimate.low))}, {percent(estimate.high)}]"


__all__ = [
    "NAMES",
    "check_by_hand",
    "check_downstream",
    "check_examples",
    "check_picture",
    "check_stimuli",
    "check_weights",
    "unit_lines",
]
