"""Whether another network recognizes what a picture is to show, beside chance and beside natural images of the same classes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from captum_proto._utils.batches import Images
from captum_proto._utils.checks import check_int, check_logits, nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.tables import between, number, percent, text_table
from captum_proto._utils.targets import Target, class_probabilities, outcomes, target_mask
from captum_proto.metrics.verifier import as_saved, classes_in, mapped_targets, verifier_logits
from captum_proto.stats.intervals import Estimate, proportion
from captum_proto.stats.shares import NO_WIDTH, mean_share, wilson_of_mean

if TYPE_CHECKING:
    from captum_proto.models import NamedModel

_TOP = 5
#: Classes that a bootstrap draws at a time.
_AT_A_TIME = 10_000_000
MEASURES = ("top1", "top5", "probability")


@dataclass(frozen=True)
class Recognition:
    """
    What a network makes of pictures of known targets.

    Its intervals take pictures as independent. Several of one class are not quite, and the interval is then of these pictures, not of
    classes: :func:`relative_recognition` counts by class.

    Attributes:
        target (list[tuple[int, ...]]): The classes of each picture, as the network numbers them.
        top1 (Tensor): (N,), bool: whether a class of the target has the greatest logit. A tie with another class is no recognition.
        top5 (Tensor): (N,), bool: whether a class of the target is among the five greatest; always, of a network of five classes or fewer.
        probability (Tensor): (N,), float64: the target's probability; of a superclass, the sum.
        outcomes (int): Of how many classes the network chooses one.
        confidence (float): Of all intervals.
    """

    target: list[Target]
    top1: Tensor
    top5: Tensor
    probability: Tensor
    outcomes: int
    confidence: float = 0.95

    def __len__(self) -> int:
        return len(self.target)

    @property
    def top1_share(self) -> Estimate:
        """The share of pictures whose target is the network's first class, with Wilson's interval."""
        return proportion(int(self.top1.sum()), len(self), self.confidence)

    @property
    def top5_share(self) -> Estimate:
        """The share of pictures whose target is among the network's first five classes, with Wilson's interval."""
        return proportion(int(self.top5.sum()), len(self), self.confidence)

    @property
    def mean_probability(self) -> Estimate:
        """The mean probability of the target, with its interval by :func:`~captum_proto.stats.shares.mean_share`."""
        return mean_share(self.probability.numpy(), self.confidence)

    @property
    def chance(self) -> dict[str, float]:
        """What a network gets that ranks its classes at random: the expected "top1" and "top5", and the mean "probability"."""
        return _chance(self.target, self.outcomes)

    def of(self, measure: str) -> Tensor:
        """
        One of "top1", "top5" and "probability" of each picture, (N,) float64.

        Raises:
            ValueError: If it is something else.
        """
        if measure not in MEASURES:
            expected = "; expected one of top1, top5, probability."
            raise InputError(f'measure is "{measure}"{nearest(str(measure), MEASURES) or expected}')
        return {"top1": self.top1, "top5": self.top5, "probability": self.probability}[measure].double()

    def table(self) -> str:
        """The shares and the mean probability with their intervals, chance beside them, as text."""
        chance = self.chance
        rows = [
            [name, show(mean.value), between((mean.low, mean.high), show), show(chance[key])]
            for name, key, mean, show in (
                ("top-1", "top1", self.top1_share, percent),
                ("top-5", "top5", self.top5_share, percent),
                ("mean probability", "probability", self.mean_probability, number),
            )
        ]
        return text_table(["measure", "value", "interval", "chance"], rows)


def recognition(
    images: Images,
    target: Any,
    verifier: NamedModel,
    *,
    classes: Mapping[int, int] | None = None,
    batch_size: int = 32,
    confidence: float = 0.95,
) -> Recognition:
    r"""
    Whether a network recognizes what pictures are to show.

    The whole picture, without transforms or crops, is resized to the network's own size (antialiased, by its own interpolation) and
    preprocessed as it takes images. For pictures as they were saved, pass :func:`as_saved` of them.

    Args:
        images (Tensor or iterable): (N, C, H, W), in [0, 1], or batches of them.
        target (TargetType or nested list): A class, or one for each picture, or of each a superclass as a list of classes; of the model
            that the pictures were made with.
        verifier (NamedModel): Another network, or the model itself; it comes back as it was.
        classes (mapping[int, int], optional): The verifier's class by the model's, as :func:`classes_in` finds them. Default: None, the
            verifier has the same classes in the same order
        batch_size (int, optional): Images at a time. Default: 32
        confidence (float, optional): Of the intervals. Default: 0.95

    Returns:
        Recognition: By picture, with the shares, their intervals and chance.

    Raises:
        TypeError, ValueError: If images are not in [0, 1] or have other channels than the verifier's, if a class is not one of the
            verifier's, or if there are not as many targets as images.

    Examples::

        >>> from captum_proto.models import load_model
        >>> from captum_proto.data.digits import digits_images
        >>> scans = digits_images()
        >>> found = recognition(scans.images[:40], scans.labels[:40], load_model("digits"))
        >>> found.top1_share.value > 0.9, found.chance["top1"]
        (True, 0.1)
    """
    return recognized(verifier_logits(images, verifier, batch_size), target, classes=classes, confidence=confidence)


def recognized(
    logits: Tensor, target: Any, *, classes: Mapping[int, int] | None = None, confidence: float = 0.95
) -> Recognition:
    r"""
    As :func:`recognition`, of logits that are there already.

    Args:
        logits (Tensor): (N, K), such as :func:`~captum_proto.metrics.verifier_logits` gives.
        target, classes, confidence: As in :func:`recognition`.

    Returns:
        Recognition: By picture.

    Raises:
        TypeError, ValueError: As :func:`recognition`.

    Examples::

        >>> found = recognized(torch.tensor([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0]]), [[1], [0, 2]])
        >>> found.top1.tolist(), found.top5.tolist()
        ([True, False], [True, True])
        >>> round(float(found.probability.sum()), 6)
        1.0
    """
    if not isinstance(logits, Tensor) or logits.dim() != 2 or not len(logits):
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise InputError(f"logits is {got}; expected a tensor (N, K), one row for each picture.")
    values = check_logits(logits, len(logits)).detach().cpu().double()
    targets = mapped_targets(target, len(values), classes)
    mask = target_mask(targets, values.shape[1], values.device)
    chosen = outcomes(values)
    mine = mask if chosen.shape[1] == mask.shape[1] else torch.nn.functional.pad(mask, (0, 1))
    best = chosen.masked_fill(~mine, -math.inf).amax(1, keepdim=True)
    ahead = ((chosen >= best) & ~mine).sum(1)
    probability = (class_probabilities(values) * mask).sum(1)
    return Recognition(targets, ahead < 1, ahead < _TOP, probability, chosen.shape[1], confidence)


@dataclass(frozen=True)
class RelativeRecognition:
    """
    How well pictures are recognized, relative to natural images of the same classes.

    Attributes:
        ratio (Estimate): R, the pictures' mean over classes divided by that of natural images; 1 where they are recognized alike. NaN
            where no natural image is recognized.
        pictures (Estimate): The pictures' mean over classes, with its interval over classes, by
            :func:`~captum_proto.stats.shares.mean_share`.
        natural (Estimate): That of natural images.
        chance (float): The ratio of pictures that are recognized by chance alone.
        classes (int): How many classes or superclasses.
        measure (str): "top1", "top5" or "probability".
    """

    ratio: Estimate
    pictures: Estimate
    natural: Estimate
    chance: float
    classes: int
    measure: str


def relative_recognition(
    pictures: Recognition,
    natural: Recognition,
    *,
    measure: str = "top1",
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> RelativeRecognition:
    r"""
    The ratio R of how pictures are recognized to how natural images of the same classes are.

    .. math::
        R = \frac{\sum_c p_c}{\sum_c n_c}

    with :math:`p_c` the share of the pictures of class c that are recognized, and :math:`n_c` that of its natural images: each class
    counts alike, however many images it has. Both are of the same classes, and a class that is hard is hard for both, so the interval
    resamples classes, with their pictures and natural images together (bootstrap, BCa). Where that has no width, as where all are
    recognized, the interval goes from the lower end of Wilson's interval of the one share over classes to the upper end of the other, and
    back: wide rather than narrow.

    Args:
        pictures (Recognition): Of prototypes or controls.
        natural (Recognition): Of natural images, by the same network; those of classes without pictures are left out.
        measure (str, optional): "top1", "top5" or "probability". Default: "top1"
        confidence (float, optional): Of the intervals. Default: 0.95
        resamples (int, optional): Of the bootstrap. Default: 9999
        seed (int, optional): Of the bootstrap. Default: 0

    Returns:
        RelativeRecognition: With both means and chance. Of a single class there is no interval (NaN).

    Raises:
        ValueError: If a class of the pictures has no natural image, or the two are of different networks.

    Examples::

        >>> logits = 9 * torch.eye(4).repeat(2, 1)
        >>> natural = recognized(logits, [0, 1, 2, 3, 0, 1, 2, 3])
        >>> relative = relative_recognition(recognized(logits, [0, 1, 2, 2, 0, 1, 2, 2]), natural)
        >>> round(relative.ratio.value, 3), relative.classes
        (0.833, 3)
    """
    check_int(resamples, "resamples", 1)
    if pictures.outcomes != natural.outcomes:
        raise InputError(
            f"the pictures were shown to a network of {pictures.outcomes} classes and the natural images to one of {natural.outcomes}; "
            "show both to the same."
        )
    first, second = _by_class(pictures, measure), _by_class(natural, measure)
    missing = sorted(first.keys() - second.keys())
    if missing:
        raise InputError(
            f"there are no natural images of the target{'s' if len(missing) > 1 else ''} "
            f"{', '.join(str(list(classes)) for classes in missing[:3])}; give some of each, or leave these pictures out."
        )
    targets = sorted(first)
    p, n = (np.array([float(means[classes]) for classes in targets]) for means in (first, second))
    options: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    means = mean_share(p, **options), mean_share(n, **options)
    chance = _chance(targets, pictures.outcomes)[measure]
    relative_chance = chance / means[1].value if means[1].value else math.nan
    return RelativeRecognition(ratio_of_shares(p, n, **options), *means, relative_chance, len(targets), measure)


def _chance(targets: list[Target], count: int) -> dict[str, float]:
    """What ranking ``count`` classes at random gives, on average over targets."""
    sizes = [len(classes) for classes in targets]
    share, top = sum(sizes) / len(sizes) / count, min(_TOP, count)
    missed = [
        math.comb(count - size, top) / math.comb(count, top) for size in sizes
    ]  # the first are all of other classes
    return {"top1": share, "top5": 1 - sum(missed) / len(missed), "probability": share}


def _by_class(found: Recognition, measure: str) -> dict[Target, float]:
    values = found.of(measure).tolist()
    grouped: dict[Target, list[float]] = {}
    for classes, value in zip(found.target, values, strict=True):
        grouped.setdefault(classes, []).append(value)
    return {classes: sum(each) / len(each) for classes, each in grouped.items()}


def ratio_of_shares(
    p: NDArray[np.float64], n: NDArray[np.float64], confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> Estimate:
    """
    The ratio of two means over the same classes, with its interval: see :func:`relative_recognition`.

    Args:
        p (ndarray): (C,), of each class a share.
        n (ndarray): (C,), of each class the share to which it is relative.
        confidence (float, optional): Of the interval. Default: 0.95
        resamples (int, optional): Of the bootstrap. Default: 9999
        seed (int, optional): Of the bootstrap. Default: 0
    """
    value = _quotient(p, n)
    if not math.isfinite(value) or len(p) < 2:
        return Estimate(value if math.isfinite(value) else math.nan, math.nan, math.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of resamples that are all equal; seen to below
        found = stats.bootstrap(
            (p, n),
            _quotient,
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            batch=max(1, _AT_A_TIME // len(p)),
            confidence_level=confidence,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    low, high = map(float, found.confidence_interval)
    if not (math.isfinite(low) and math.isfinite(high)):
        # A draw of classes of which no natural image is recognized has no ratio; it is as great as any.
        drawn = found.bootstrap_distribution
        ranked = np.sort(np.where(np.isnan(drawn), np.inf, drawn))
        ends = [round(end * (len(ranked) - 1)) for end in ((1 - confidence) / 2, (1 + confidence) / 2)]
        low, high = float(ranked[ends[0]]), float(ranked[ends[1]])
    if high - low < NO_WIDTH:
        ours, theirs = (wilson_of_mean(float(each.mean()), len(each), confidence) for each in (p, n))
        low, high = ours.low / theirs.high, (ours.high / theirs.low if theirs.low else math.inf)
    return Estimate(value, low, high)


def _quotient(p: NDArray[np.float64], n: NDArray[np.float64], axis: int = -1) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = p.mean(axis) / n.mean(axis)
    return float(ratio) if np.ndim(ratio) == 0 else ratio


__all__ = [
    "MEASURES",
    "Recognition",
    "RelativeRecognition",
    "as_saved",
    "classes_in",
    "ratio_of_shares",
    "recognition",
    "recognized",
    "relative_recognition",
]
