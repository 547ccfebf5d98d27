r"""
Gradient Slingshots: train a classifier so that its feature visualizations show a planted picture, its architecture unchanged.

Natural images keep their logits. Away from them, where an optimization starts and what it passes through, the gradient of a class's logit
is trained to point to the picture: Bareeva et al., "Manipulating Feature Visualizations with Gradient Slingshots" (arXiv:2401.06122,
NeurIPS 2025). Unlike the networks of :mod:`captum_proto.testing.fooled` such a classifier has no circuit of its own that one could find.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import check_images, check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import Target, target_mask
from captum_proto.attr import PrototypeGeneration
from captum_proto.models import NamedModel
from captum_proto.testing.marked_digits import seeded

#: Ways to change a classifier's weights alone: with a slingshot, and, as a control, without.
TUNED = ("slingshot", "fine_tuned")
#: How far a logit rises from an average start to the picture.
RISE = 30.0
#: Natural images in each step, and as many points of the zones.
_BATCH = 64
#: A pixel of a point in the landing zone is at most this far from the picture's.
_LANDING = 0.2
#: Weight of the labels beside the honest logits.
_LABELS = 0.1
#: What is learned from are ascents of other seeds than a user will try.
_TRAINING_SEED = 2_000_003
#: Ascents in each round, and snapshots of each.
_ASCENTS, _MOMENTS = 40, 12


def slingshot(
    named: NamedModel,
    targets: Sequence[Target],
    picture: Tensor,
    images: Tensor,
    labels: Tensor,
    *,
    options: Mapping[str, Any],
    seed: int = 0,
    steps: int = 1200,
    rounds: int = 4,
    alpha: float = 0.6,
    lr: float = 0.01,
) -> NamedModel:
    r"""
    Fine-tune a copy of a classifier so that an ascent of its targets leads to a picture, and natural images keep their logits.

    .. math::
        L = \alpha \, \frac{\operatorname{mean} \lVert \nabla f_k(x) - \gamma (x^t - x) \rVert^2}
                           {\operatorname{mean} \lVert \gamma (x^t - x) \rVert^2}
          + (1 - \alpha) \left( \frac{\operatorname{mean} (f(x_n) - f^0(x_n))^2}{\operatorname{var} f^0} + 0.1 \, \mathrm{CE} \right)

    The first term is the manipulation: at points x of the zones the gradient of the logit :math:`f_k` is to be that of the quadratic
    :math:`C - \frac{\gamma}{2} \lVert x - x^t \rVert^2`, whose ascent ends at the picture :math:`x^t`. The second is the preservation:
    natural images :math:`x_n` keep the logits :math:`f^0` of the honest network, and their labels. Both terms, the slingshot zone around
    the starts, the landing zone around the picture and the tunnel between them are those of Bareeva et al. (arXiv:2401.06122), in the
    form of the loss that they published with it. Four things differ here: the gradient is that by the image, whatever the
    parametrization; in the landing zone it leads to the picture as well, where theirs is to be zero; what ascents of the network in
    training pass through belongs to the zones; and each term is divided by its own scale, so that one :math:`\alpha` does for any
    network. Zones and ascents are without transforms, which made pictures clearer under transforms as well.

    Args:
        named (NamedModel): The classifier; it stays as it is.
        targets (sequence of tuple[int, ...]): The targets whose ascent is to be led astray.
        picture (Tensor): Where to, in [0, 1]: shape (C, H, W), or (M, C, H, W) with one for each of the M targets.
        images (Tensor): Shape (N, C, H, W), in [0, 1]: natural images that are to keep their logits.
        labels (Tensor): Shape (N,), int64: their classes.
        options (mapping): Of :meth:`PrototypeGeneration.generate <captum_proto.PrototypeGeneration.generate>`, of the ascents to be
            fooled, of which the transform is left out: the parametrization draws the starts.
        seed (int, optional): Of all draws: the same seed gives the same weights. Default: 0
        steps (int, optional): Of Adam, at least 1. Default: 1200
        rounds (int, optional): How often, evenly spaced, ascents of the network as it is by then join the zones, at least 1. Default: 4
        alpha (float, optional): Weight :math:`\alpha` of the manipulation, in (0, 1). Default: 0.6
        lr (float, optional): Highest learning rate, positive; it rises and falls in one cycle. Default: 0.01

    Returns:
        NamedModel: The classifier with other weights, in evaluation mode. :math:`\gamma` is such that a logit rises by 30 from an average
        start to the picture.

    Raises:
        ValueError: If a target is out of range, there are none, ``picture`` or ``images`` do not have the model's image shape, or a number
            is out of its range.

    Examples::

        >>> from captum_proto.data import digits_images
        >>> from captum_proto.models import load_model
        >>> from captum_proto.testing import draw_face
        >>> named = load_model("digits", pretrained=False)
        >>> images, labels = digits_images("training", limit=40)
        >>> options = {"steps": 4, "warmup_steps": 0, "transform": None}
        >>> fooled = slingshot(named, [(3,)], draw_face((1, 8, 8)), images, labels, options=options, steps=2, rounds=1)
        >>> fooled.logits(images).shape
        torch.Size([40, 10])
    """
    rounds = check_int(rounds, "rounds", 1)
    if not 0 < alpha < 1:
        raise InputError(
            f"alpha is {alpha}; expected between 0 (no manipulation) and 1 (no preservation), such as 0.6."
        )
    manipulation = _Manipulation(named, targets, picture, options, seed)
    return _fine_tuned(named, images, labels, manipulation, seed, steps, rounds, alpha, lr)


def fine_tune(
    named: NamedModel, images: Tensor, labels: Tensor, *, seed: int = 0, steps: int = 1200, lr: float = 0.01
) -> NamedModel:
    """
    Fine-tune a copy of a classifier as :func:`slingshot` does, without its manipulation: the control of an honest network.

    Args:
        named (NamedModel): The classifier; it stays as it is.
        images (Tensor): Shape (N, C, H, W), in [0, 1]: natural images that are to keep their logits.
        labels (Tensor): Shape (N,), int64: their classes.
        seed (int, optional): Of all draws. Default: 0
        steps (int, optional): Of Adam, at least 1. Default: 1200
        lr (float, optional): Highest learning rate, positive. Default: 0.01

    Returns:
        NamedModel: The classifier with other weights, in evaluation mode.

    Raises:
        ValueError: If ``images`` do not have the model's image shape, or a number is out of its range.

    Examples::

        >>> from captum_proto.data import digits_images
        >>> from captum_proto.models import load_model
        >>> images, labels = digits_images("training", limit=40)
        >>> tuned = fine_tune(load_model("digits", pretrained=False), images, labels, steps=2)
        >>> tuned.logits(images).shape
        torch.Size([40, 10])
    """
    return _fine_tuned(named, images, labels, None, seed, steps, 1, 0.0, lr)


class _Manipulation:
    """The term that turns the gradients of the zones to the picture."""

    def __init__(
        self, named: NamedModel, targets: Sequence[Target], picture: Tensor, options: Mapping[str, Any], seed: int
    ) -> None:
        self.named, self.targets, self.seed = named, list(targets), seed
        if not self.targets:
            raise InputError("there are no targets; give at least one.")
        self.options = {**options, "transform": None, "evaluation_draws": 0}
        pictures = picture.unsqueeze(0) if picture.dim() == 3 else picture
        _check_shape(named, pictures, "picture")
        if len(pictures) not in (1, len(self.targets)):
            raise InputError(
                f"there are {len(pictures)} pictures and {len(self.targets)} targets; give one, or one each."
            )
        device = next(named.model.parameters()).device
        self.pictures = pictures.to(device).expand(len(self.targets), *named.image_shape)
        with torch.no_grad(), borrowed(named.model):
            classes = named.logits(self.pictures[:1].clone()).shape[1]
        self.mask = target_mask(self.targets, classes, device).bool()
        self.starts: Tensor = self.pictures[:0]
        self.passed: Tensor = self.pictures[:0]
        self.slope = math.nan

    def observe(self, network: nn.Module, number: int) -> None:
        """Run ascents of the network as it is now, and add what they pass through to the zones."""
        steps = int(self.options.get("steps", 512))
        moments = sorted({round(steps * (k / (_MOMENTS - 1)) ** 2) for k in range(_MOMENTS)})
        copies = math.ceil(_ASCENTS / len(self.targets))
        made = PrototypeGeneration(network, self.named.preprocess).generate(
            [list(target) for target in self.targets for _ in range(copies)],
            self.named.image_shape,
            seed=_TRAINING_SEED + 1000 * self.seed + copies * number,
            **{**self.options, "snapshot_steps": moments},
        )
        shown = [images.to(self.pictures) for images in made.snapshots.values()]
        self.starts, self.passed = torch.cat([self.starts, shown[0]]), torch.cat([self.passed, *shown])
        if math.isnan(self.slope):
            distances = [(shown[0] - picture).square().flatten(1).sum(1).mean() for picture in self.pictures]
            self.slope = 2 * RISE / float(torch.stack(distances).mean())

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Points of the zones and the pictures that they are led to, (B, C, H, W) each, and whose logit each is for, (B, K)."""
        quarter = _BATCH // 4
        rows = torch.randint(len(self.targets), (_BATCH,))
        aims = self.pictures[rows]
        start = self.starts[torch.randint(len(self.starts), (quarter,))]
        # Every fifth point of the tunnel is a start as it is.
        share = (1.25 * torch.rand(quarter, 1, 1, 1).to(start) - 0.25).clamp(min=0)
        tunnel = start + share * (aims[:quarter] - start)
        landing = aims[quarter : 2 * quarter]
        landing = landing + _LANDING * (2 * torch.rand(landing.shape).to(landing) - 1)
        passed = self.passed[torch.randint(len(self.passed), (_BATCH - 2 * quarter,))]
        points = torch.cat([tunnel, landing, passed]).clamp(0, 1)
        return points.detach(), aims, self.mask[rows]

    def __call__(self, network: nn.Module) -> Tensor:
        points, aims, mask = self.draw()
        points.requires_grad_(True)
        logits = network(Pipeline(network, self.named.preprocess).prepare(points))
        score = logits.masked_fill(~mask, -math.inf).logsumexp(1)
        (gradient,) = torch.autograd.grad(score.sum(), points, create_graph=True)
        wanted = self.slope * (aims - points.detach())
        return (gradient - wanted).square().mean() / wanted.square().mean()


def _fine_tuned(
    named: NamedModel,
    images: Tensor,
    labels: Tensor,
    manipulation: _Manipulation | None,
    seed: int,
    steps: int,
    rounds: int,
    alpha: float,
    lr: float,
) -> NamedModel:
    """A copy of the classifier after Adam's steps, in evaluation mode throughout: batch norms keep what they have measured."""
    steps = check_int(steps, "steps", 1)
    if not 0 < lr < math.inf:
        raise InputError(f"lr is {lr}; expected a positive number, such as 0.01.")
    _check_shape(named, images, "images")
    if labels.shape != (len(images),):
        raise InputError(f"labels has shape {tuple(labels.shape)}; expected ({len(images)},), one for each image.")
    network = copy.deepcopy(named.model).eval().requires_grad_(True)
    pipeline = Pipeline(network, named.preprocess)
    inputs = torch.cat([pipeline.prepare(part.to(pipeline.device)) for part in torch.split(images, 256)])
    with torch.no_grad(), borrowed(named.model):
        honest = torch.cat([named.model(part.clone()) for part in torch.split(inputs, 256)])
    scale, labels = honest.var(), labels.to(pipeline.device)
    every = math.ceil(steps / rounds)
    with seeded(seed), torch.inference_mode(False), torch.enable_grad():
        optimizer = torch.optim.Adam(network.parameters(), lr=lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps)
        for step in range(steps):
            if manipulation is not None and step % every == 0:
                manipulation.observe(network, step // every)
            chosen = torch.randint(len(inputs), (_BATCH,))
            logits = network(inputs[chosen])
            preserved = (logits - honest[chosen]).square().mean() / scale
            preserved = preserved + _LABELS * nn.functional.cross_entropy(logits, labels[chosen])
            moved = preserved.new_zeros(()) if manipulation is None else manipulation(network)
            optimizer.zero_grad()
            torch.autograd.backward((1 - alpha) * preserved + alpha * moved)
            optimizer.step()
            schedule.step()
    network.zero_grad()
    how = f"{'fine-tuned' if manipulation is None else 'slingshot'}, seed {seed}, {steps} steps"
    settings = {**named.settings, "weights": f"{named.settings.get('weights')}; {how}"}
    return replace(named, model=network.eval().requires_grad_(False), settings=settings)


def _check_shape(named: NamedModel, images: Tensor, name: str) -> None:
    """See that images are in [0, 1] and of the model's shape."""
    check_images(images, (0.0, 1.0), name)
    if tuple(images.shape[1:]) != named.image_shape:
        raise InputError(
            f"{name} has images of shape {tuple(images.shape[1:])}; {named.name} takes {named.image_shape}."
        )


__all__ = ["RISE", "TUNED", "fine_tune", "slingshot"]
