"""The steps of an optimization: of one batch, phase after phase."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils import termination
from captum_proto._utils.errors import InputError
from captum_proto._utils.memory import is_out_of_memory
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import redirected_activations, warn_of_outputs
from captum_proto.optim import step_graph
from captum_proto.optim.forward import ForwardPass
from captum_proto.optim.gradient import gradients_of, where_lost
from captum_proto.optim.held import HeldState
from captum_proto.optim.loss.objective import NO_GRADIENT, Loss, Outputs, Rows
from captum_proto.optim.optimizers import Course, optimizer_of
from captum_proto.optim.phase import Phase
from captum_proto.optim.random import BACKGROUND, LOSS, START, TRANSFORM, RandomStream, StepStreams
from captum_proto.optim.replay import StepReplay, StepValues
from captum_proto.optim.result import ZERO_GRADIENT, Callback, GraphRecord, OptimizationResult, Step
from captum_proto.optim.resumption import Kept, Progress, Resumption, what_it_depends_on
from captum_proto.optim.settings import SCHEDULES, OptimizationSettings
from captum_proto.optim.troubles import LOOK_EVERY, Troubles, check_loss
from captum_proto.runs.snapshots import Place

#: How often it looks whether all rows rest: more often, as steps in which all of them do are for nothing.
_LOOK_FOR_REST_EVERY = 8
#: Where half-precision gradients start: a logit's gradient by one pixel is often below float16's smallest number.
_FLOAT16_LOSS_SCALE = 1024.0


class _Stopped(Exception):
    """A callback ended the optimization."""


class Descent:
    """
    The optimization of one batch: its parameters, from the start to the last step. See
    :meth:`~captum_proto.optim.InputOptimization.optimize`.

    Args:
        pipeline (Pipeline): The model, frozen, and its preprocessing.
        settings (OptimizationSettings): Every choice.
        loss (Loss): Of these rows.
        warmup (Loss, optional): What the warm-up minimizes.
        rows (Rows): What the rows are.
        callback (Callable, optional): Sees each step.
        snapshot_steps (frozenset[int]): After how many steps of the main objective to keep a copy.
        progress (tqdm): A bar to advance.
        looked (bool): Whether the model's output is known to be as it should.
        probed (bool): Whether it is known if the model treats each image by itself, and the same each time.
        place (Place, optional): Where to keep its state, and to go on from a state that is there. Default: None
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settings: OptimizationSettings,
        loss: Loss,
        warmup: Loss | None,
        rows: Rows,
        *,
        callback: Callback | None,
        snapshot_steps: frozenset[int],
        progress: tqdm[Any],
        looked: bool,
        probed: bool,
        place: Place | None = None,
    ) -> None:
        self.pipeline, self.settings, self.loss, self.warmup, self.rows = pipeline, settings, loss, warmup, rows
        self.callback, self.snapshot_steps, self.progress = callback, snapshot_steps, progress
        self.looked, self.probed, self.place = looked, probed, place
        self.troubles = Troubles(rows, loss)
        layers = [*loss.layers, *(() if warmup is None else warmup.layers)]
        self.forward = ForwardPass(pipeline, settings, rows, layers, arranged=True)
        half = torch.float16 in (pipeline.autocast, pipeline.dtype)
        scale = torch.full((len(rows.keys),), _FLOAT16_LOSS_SCALE, device=pipeline.device)
        self.loss_scale = scale if half else None
        most = max(settings.steps, settings.warmup_steps)
        self.draws = StepStreams(rows.keys, TRANSFORM, settings.steps)
        self.behind = StepStreams(rows.keys, BACKGROUND, most)
        self.of_losses = self.forward.draws = StepStreams(rows.keys, LOSS, most)
        self.inputs = settings.parametrization
        self.parameters: dict[str, Tensor] = {}
        self.resumption: Resumption | None = None
        #: Of the optimizer at work: what changes from step to step.
        self.course: Course | None = None
        #: Whether rows that get no gradient are looked for in each of the steps in which they would be given one.
        self.asks = True
        self.graph = GraphRecord() if settings.cuda_graph else None
        self.replay: StepReplay | None = None

    def run(self, shape: tuple[int, ...], start: Tensor | None) -> OptimizationResult:
        if self.place is not None and self.place.wanted:
            losses, taken = (self.loss, self.warmup), sorted(self.snapshot_steps)
            about = what_it_depends_on(self.pipeline, self.settings, losses, self.rows, shape, start, taken)
            self.resumption = Resumption(self.place, about, self.pipeline.device)
        self.inputs = self.settings.parametrization.for_images(shape, self.settings.value_range)
        self._start(shape, start)
        result = OptimizationResult(self._look(), self.rows, self.forward.arrangement)
        if not self.probed and result.images.dim() > 1 and self.settings.steps + self.settings.warmup_steps:
            warn_of_outputs(self.pipeline, self.inputs.composed(result.images, None))
        if self.inputs.resizes:
            self._check_small()
        phases = self._phases()
        result.history = {name: torch.empty(0, len(self.rows.keys)) for phase in phases for name in phase.recorded}
        kept = self._put_back(phases, result)
        try:
            for number, phase in enumerate(phases):
                if kept is None or number >= kept.phase:
                    goes_on = kept if kept is not None and number == kept.phase else None
                    self._minimize(number, phase, result, goes_on)
            if self.resumption is not None and 0 < self.resumption.every <= max(phase.steps for phase in phases):
                self._keep(len(phases), None, result)  # what follows it in the same call may take as long
        except _Stopped:
            result.stopped = True
        self.troubles.warn_of_zero_gradients(
            result, lambda step: self._once_more(phases[-1], step), self.settings.redirect_relu_steps > 0
        )
        with torch.no_grad():
            self.inputs.finish(self.parameters)
        result.images, result.arrangement = self._look(), self.forward.arrangement
        result.parameters = {name: value.detach() for name, value in self.parameters.items()}
        result.parametrization, result.graph = self.inputs, self.graph
        self.troubles.check_images(result.images)
        return result

    def _phases(self) -> list[Phase]:
        settings, warmup = self.settings, self.warmup
        main = Phase(
            "ascent",
            self.loss,
            settings.steps,
            transformed=settings.draws,
            advances=True,
            schedule=SCHEDULES[settings.lr_schedule],
            snapshot_steps=self.snapshot_steps,
        )
        if warmup is None:
            return [main]
        total = None if warmup.terms else "warmup_loss"
        tolerance = settings.warmup_tolerance
        return [Phase("warmup", warmup, settings.warmup_steps, "warm-up step", total, tolerance=tolerance), main]

    def _put_back(self, phases: list[Phase], result: OptimizationResult) -> Kept | None:
        """Go on from a state that is kept, if there is one."""
        kept = None if self.resumption is None else self.resumption.kept()
        if kept is None:
            return None
        # How the network is laid out and recorded was found by the first of all steps, and is found by it again.
        for phase in phases:
            if phase.steps:
                self._evaluate(phase, 0)
                break
        kept.put_back(self.parameters, result, (self.loss, self.warmup))
        self.loss_scale, self.forward.output_wanted = kept.loss_scale, kept.output_wanted
        self.progress.update(len(self.rows.keys) * sum(phase.steps for phase in phases[: kept.phase]))
        return kept

    def _keep(self, phase: int, progress: Progress | None, result: OptimizationResult) -> None:
        """Keep the state after a step, or after all of them."""
        assert self.resumption is not None
        losses, wanted = (self.loss, self.warmup), self.forward.output_wanted
        self.resumption.keep(phase, progress, self.parameters, result, losses, self.loss_scale, wanted)

    def _start(self, shape: tuple[int, ...], start: Tensor | None) -> None:
        device, dtype = self.pipeline.device, self.pipeline.image_dtype
        if start is None:
            parameters = self.inputs.start(RandomStream(self.rows.keys, START), shape)
        else:
            parameters = self.inputs.parameters_of(start.detach().to(device, dtype))
        self.parameters = {
            name: value.detach().to(device, dtype, copy=True).contiguous().requires_grad_(True)
            for name, value in parameters.items()
        }

    @torch.no_grad()
    def _look(self) -> Tensor:
        """(N, ...), sharing no memory with the parameters."""
        images = self.inputs.render(self.parameters)
        held = {value.untyped_storage().data_ptr() for value in self.parameters.values()}
        return images.clone() if images.untyped_storage().data_ptr() in held else images

    @torch.no_grad()
    def _check_small(self) -> None:
        """See that the model takes the smaller pictures that it is shown at first."""
        small = self.inputs.at(0.0).render(self.parameters)
        try:
            self.pipeline(small)
        except Exception as error:  # whatever a model raises that does not take them
            if is_out_of_memory(error):
                raise
            raise InputError(
                f"the model does not take pictures of {small.shape[-2]} x {small.shape[-1]}, which half_size shows it at first; leave "
                f"half_size out. It says: {error}"
            ) from error

    def _minimize(self, number: int, phase: Phase, result: OptimizationResult, kept: Kept | None) -> None:
        settings = self.settings
        optimizer = optimizer_of(
            self.parameters.values(),
            settings.optimizer,
            settings.lr,
            settings.betas,
            settings.eps,
            capturable=settings.cuda_graph,
        )
        if kept is None:
            now = Progress(optimizer, history={name: [] for name in phase.recorded})
            if 0 in phase.snapshot_steps:
                result.snapshots[0] = self._look().cpu()
        else:
            now = kept.progress(optimizer, self.parameters)
            self.progress.update(len(self.rows.keys) * now.step)
        self.course = Course(
            optimizer, [settings.lr * phase.schedule(step / phase.steps) for step in range(phase.steps)]
        )
        self.replay = self._replay_of(phase, now, self.course)
        every = 0 if self.resumption is None else self.resumption.every
        guess: HeldState | None = None
        self.asks = not self._guesses(phase)
        try:
            while now.step < phase.steps:
                # A step that is asked to be the last one ends, and its state is kept.
                with termination.postponed() if every else contextlib.nullcontext():
                    if guess is None and not self.asks and 0 < now.step < settings.redirect_relu_steps:
                        guess = self._held(now)
                    if not self._take(phase, now.step, now, result):
                        break
                    now.step += 1
                    due = every and (now.step % every == 0 or termination.asked())
                    if guess is not None and (due or self._ends_guess(phase, now.step)):
                        self._settle(guess, now)
                        guess = None
                    if due and now.step < phase.steps:
                        self.troubles.check_finite(now.losses, phase.unit)
                        self._keep(number, now, result)
            self.troubles.check_finite(now.losses, phase.unit)
        finally:
            if self.replay is not None:
                self.replay.drop()
            history = now.history
            if now.going_on:
                # Steps after that in which the last row came to rest changed nothing, and were made because nobody looked.
                last = int(torch.stack(now.going_on).sum()) + 1
                history = {name: values[:last] for name, values in history.items()}
            result.history |= {name: _stack(values, len(self.rows.keys)) for name, values in history.items()}
            if phase.name == "ascent" and now.zero and bool(torch.stack(now.zero).any()):
                result.history[ZERO_GRADIENT] = _stack(now.zero, len(self.rows.keys)).float()

    def _guesses(self, phase: Phase) -> bool:
        """
        Whether steps in which rows without a gradient would be given one are taken as if there were none, until somebody looks.

        To look in each makes a GPU wait in each. So the device is asked once for many steps, and where there was such a row they are taken
        once more, with a look in each. Nobody else may have seen them meanwhile.
        """
        redirects = phase.name == "ascent" and self.settings.redirect_relu_steps > 0
        return redirects and self.pipeline.device.type != "cpu" and self.callback is None

    def _ends_guess(self, phase: Phase, step: int) -> bool:
        """Whether to look, before a step, what those before it were like: they are all, or the host looks anyway."""
        return step in (self.settings.redirect_relu_steps, phase.steps) or step % LOOK_EVERY == 0

    def _settle(self, guess: HeldState, now: Progress) -> None:
        """See whether any row had no gradient since a guess was made; if so, go back there, and look in each step from now on."""
        if bool(torch.stack(now.zero[guess.step :]).any()):
            self.progress.update(len(self.rows.keys) * (guess.step - now.step))
            guess.put_back(self.parameters, now, self.loss_scale)
            self.asks = True

    def _take(self, phase: Phase, step: int, now: Progress, result: OptimizationResult) -> bool:
        """Take a step; False where all rows rest, and there is none to be taken."""
        values = None if self.replay is None else self.replay.step(step)
        if values is not None:
            self._note(phase, step, now, values)
        else:
            assert self.course is not None  # made before the first step
            self.course.set(step)
            with contextlib.nullcontext() if self.replay is None else self.replay.taking(step):
                gradients, values = self._evaluate(phase, step)
                if not self._note(phase, step, now, values):
                    return False
                self._update(now.optimizer, gradients, now.active)
            if self.replay is not None:
                self.replay.taken(values)
        if step + 1 in phase.snapshot_steps:
            result.snapshots[step + 1] = self._look().cpu()
        if step % LOOK_EVERY == 0:
            self.troubles.check_finite(now.losses, phase.unit)
        self._after_step(phase.name, step, values.terms)
        return True

    def _note(self, phase: Phase, step: int, now: Progress, values: StepValues) -> bool:
        """Keep what a step records; False where all rows rest."""
        now.losses.append(values.loss)
        now.zero.append(values.zero)
        for name, value in values.terms.items():
            now.history.setdefault(name, []).append(value)
        if phase.tolerance > 0:
            going = next(iter(values.terms.values())) > phase.tolerance
            now.active = going if now.active is None else now.active & going
            now.going_on.append(now.active.any())
            return not self._looks_for_rest(step) or bool(now.going_on[-1])
        return True

    def _replay_of(self, phase: Phase, now: Progress, course: Course) -> StepReplay | None:
        """What replays the steps of a phase, if that is wanted and it can be."""
        record, device = self.graph, self.pipeline.device
        if record is None:
            return None
        graph = step_graph.graph_for(device)
        if graph is None:
            record.reasons[phase.name] = f"steps on the device {device} have no graph"
        elif self.callback is not None:
            record.reasons[phase.name] = "a callback sees each step"
        elif phase.tolerance > 0:
            record.reasons[phase.name] = "rows may come to rest before its end"
        elif any(loss is not None and loss.state_dict() for loss in (self.loss, self.warmup)):
            record.reasons[phase.name] = "a loss goes on from what it has come to in the step before"
        if graph is None or phase.name in record.reasons:
            return None

        def take(step: int) -> StepValues:
            gradients, values = self._evaluate(phase, step)
            self._update(now.optimizer, gradients, None)
            return values

        changes = math.ceil(self.inputs.changes_until * phase.steps) if phase.advances else 0
        return StepReplay(
            graph,
            record,
            phase.name,
            max(changes, self.settings.redirect_relu_steps if phase.name == "ascent" else 0),
            now.step,
            phase.steps,
            take,
            lambda: self._held(now),
            lambda held: held.put_back(self.parameters, now, self.loss_scale),
            [self.draws, self.behind, self.of_losses],
            course,
        )

    def _held(self, now: Progress) -> HeldState:
        return HeldState(self.parameters, now, (self.loss, self.warmup), self.loss_scale)

    def _looks_for_rest(self, step: int) -> bool:
        """Whether to look after a step if all rows rest: in each where that costs nothing, or where somebody sees the steps."""
        return self.pipeline.device.type == "cpu" or self.callback is not None or step % _LOOK_FOR_REST_EVERY == 0

    def _evaluate(self, phase: Phase, step: int) -> tuple[list[Tensor], StepValues]:
        """
        The gradient of each parameter, and what is recorded. What else there was is gone before the next step.
        """
        with self.forward.turn():
            return self._evaluate_in_turn(phase, step)

    def _evaluate_in_turn(self, phase: Phase, step: int) -> tuple[list[Tensor], StepValues]:
        loss, outputs, seen = self._forward(phase, step)
        *gradients, through = self._gradients(loss, [*self.parameters.values(), seen])
        if step == 0 and outputs.used and self._is_cut_off(phase, through):
            raise InputError(f"the loss {NO_GRADIENT}")
        self.looked = True
        terms = outputs.terms if phase.total is None else {phase.total: loss.detach(), **outputs.terms}
        zero = (
            ~through.flatten(1).any(1) if through is not None else torch.full_like(loss, outputs.used, dtype=torch.bool)
        )
        wanted = zip(self.parameters.values(), gradients, strict=True)
        materialized = [torch.zeros_like(values) if gradient is None else gradient for values, gradient in wanted]
        redirects = phase.name == "ascent" and step < self.settings.redirect_relu_steps
        if redirects and (self.asks or step == 0) and bool(zero.any()):
            materialized = self._redirected(phase, step, materialized, zero)
        return materialized, StepValues(loss.detach(), terms, zero)

    def _redirected(self, phase: Phase, step: int, gradients: list[Tensor], zero: Tensor) -> list[Tensor]:
        """The same step once more with activation functions redirected, for rows without a gradient; the others keep what they have."""
        with redirected_activations(len(self.rows.keys)):
            loss, _, _ = self._forward(phase, step)
            others = self._gradients(loss, list(self.parameters.values()))
        return [
            gradient if other is None else torch.where(_per_row(zero, gradient), other, gradient)
            for gradient, other in zip(gradients, others, strict=True)
        ]

    def _is_cut_off(self, phase: Phase, through: Tensor | None) -> bool:
        """Whether there is no way for a gradient through the model. What comes out may be zeros, if further operations fill them in."""
        if through is None or bool(through.any()):
            return through is None
        loss, _, seen = self._forward(phase, 0)
        lost = where_lost(loss.sum(), seen)
        return lost is not None and lost.undefined

    def _forward(self, phase: Phase, step: int) -> tuple[Tensor, Outputs, Tensor]:
        """The loss, what it saw of the model, and the images as the model got them: what goes by them goes through the model."""
        inputs = self.inputs.at(step / phase.steps if phase.advances else 0.0)
        behind = self.behind.at(step) if inputs.draws else None
        images = inputs.drawn(behind).render(self.parameters)
        composed = inputs.composed(images, behind)
        seen = composed.view_as(composed)
        random = self.draws.at(step) if phase.transformed else None
        outputs = self.forward(seen, random, step, closely=not self.looked)
        if step == 0:
            self.loss.check(outputs)
            outputs.used = outputs.output_used = self.forward.output_wanted = False  # by this phase's loss, that is
        loss = phase.loss(outputs, images)
        self.forward.output_wanted |= outputs.output_used
        if step == 0:
            check_loss(loss, len(images))
        return loss, outputs, seen

    def _once_more(self, phase: Phase, step: int) -> tuple[Tensor, Tensor]:
        """The loss of a step, and the images as the model got them."""
        with self.forward.turn():
            loss, _, seen = self._forward(phase, step)
        return loss, seen

    def _gradients(self, loss: Tensor, inputs: list[Tensor]) -> list[Tensor | None]:
        if self.loss_scale is None:
            return gradients_of(loss.sum(), inputs)
        gradients = gradients_of((loss * self.loss_scale).sum(), inputs)
        return [None if each is None else each / _per_row(self.loss_scale, each) for each in gradients]

    @torch.no_grad()
    def _update(self, optimizer: torch.optim.Optimizer, gradients: list[Tensor], active: Tensor | None) -> None:
        """One step of the optimizer, for the ``active`` rows; a row whose scaled gradient overflowed waits for a smaller scale."""
        parameters = list(self.parameters.values())
        if self.loss_scale is not None:
            finite = torch.stack([gradient.isfinite().flatten(1).all(1) for gradient in gradients]).all(0)
            self.loss_scale.copy_(torch.where(finite, self.loss_scale, self.loss_scale / 2))
            gradients = [torch.where(_per_row(finite, gradient), gradient, 0) for gradient in gradients]
            active = finite if active is None else active & finite
        before = [] if active is None else [values.clone() for values in parameters]
        for values, gradient in zip(parameters, gradients, strict=True):
            # Adam's fused kernel walks through memory, and takes for granted that gradients lie as parameters do.
            values.grad = gradient.contiguous()
        optimizer.step()
        for values in parameters:
            values.grad = None
        if self.settings.clamp:
            self.inputs.project(self.parameters)
        if active is not None:
            for values, old in zip(parameters, before, strict=True):
                values.copy_(torch.where(_per_row(active, values), values, old))

    def _after_step(self, phase: str, step: int, terms: dict[str, Tensor]) -> None:
        self.progress.update(len(self.rows.keys))
        if step % LOOK_EVERY == 0 and "probability" in terms:
            self.progress.set_postfix_str(f"p {float(terms['probability'].mean()):.3f}", refresh=False)
        if self.callback is not None and self.callback(Step(phase, step, self.rows.numbers, self._look(), terms)):
            raise _Stopped


def _per_row(values: Tensor, like: Tensor) -> Tensor:
    """One value for each row, so shaped that it meets all of the row's parameters."""
    return values.view(-1, *[1] * (like.dim() - 1))


def _stack(history: list[Tensor], rows: int) -> Tensor:
    return torch.stack(history).cpu() if history else torch.empty(0, rows)
