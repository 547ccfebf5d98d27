"""
Prototypes during training: every so many steps, put together as a filmstrip.

The training is not disturbed. The model is frozen and in evaluation mode for the duration, and comes back as it was; no global random
number is drawn. Weights after a training with a filmstrip are those after one without, to the last bit.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from captum_proto._utils.checks import as_int, check_int, plain_int
from captum_proto._utils.errors import InputError, MissingPackageError, StateError
from captum_proto._utils.files import whole_file
from captum_proto._utils.model import device_of
from captum_proto._utils.targets import Target, occurrence_seeds, parse_targets
from captum_proto.attr import PrototypeGeneration, Prototypes

_FRAME = re.compile(r"step(\d+)\.safetensors")
#: A network, or a function of a batch that returns its logits.
Model = Callable[..., Any]
#: Pixels between the pictures of a filmstrip.
_GAP = 2
#: What a caller might pass on to ``generate`` and the filmstrip decides itself.
_OWN = ("start", "seed", "show_progress", "callback", "snapshot_steps")


class PrototypeFilmstrip:
    r"""
    Prototypes of chosen classes every so many steps of a training, each frame on disk at once, all of them as one picture.

    For a plain training loop: call it after each step. For Lightning there is :func:`lightning_callback`. Frames start from the same
    noise each time, so what changes from frame to frame is the network alone; or each from the frame before it.

    The folder holds ``step00000100.safetensors`` (:class:`~captum_proto.Prototypes`, settings included), a PNG of each prototype of the
    frame, and ``filmstrip.png``: a row for each prototype, a column for each frame. A training that is interrupted and goes on with the
    same folder keeps its frames; a step that has a frame is not made again.

    Args:
        target (TargetType or nested list): As in :meth:`PrototypeGeneration.generate <captum_proto.PrototypeGeneration.generate>`.
        image_shape (tuple[int, int, int]): (C, H, W) of the prototypes.
        folder (path): Where frames go. It is made when the first one is finished.
        every (int, optional): Steps of training from one frame to the next; step 0 has one. Default: 100
        preprocess (Callable, optional): The model's own preprocessing, as in :class:`~captum_proto.PrototypeGeneration`. Default: None
        start_from (str, optional): "seed": every frame from the same noise. "previous": each from the frame before it, without warm-up,
            which needs fewer ascent steps and hides how the picture would come out anew. Default: "seed"
        seed (int, optional): Of the noise and the transforms, the same for every frame. Default: 0
        scale (int, optional): By how much the filmstrip enlarges images; None: so that they are at least 64 pixels high. Default: None
        **options: Further arguments of ``generate``: ``steps``, ``transform``, ``parametrization``, ….

    Attributes:
        frames (dict[int, Path]): The finished frames by step of training, in order.

    Raises:
        ValueError: If an argument is out of its range, or the folder holds frames of other targets or another size.

    Examples::

        >>> import tempfile
        >>> filmstrip = PrototypeFilmstrip([3, 7], (1, 8, 8), tempfile.mkdtemp(), every=2, steps=4, warmup_steps=0)
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> for step in range(5):
        ...     made = filmstrip(model, step)  # after optimizer.step()
        >>> list(filmstrip.frames)
        [0, 2, 4]
    """

    def __init__(
        self,
        target: Any,
        image_shape: tuple[int, int, int],
        folder: str | Path,
        *,
        every: int = 100,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        start_from: str = "seed",
        seed: int = 0,
        scale: int | None = None,
        **options: Any,
    ) -> None:
        if (as_int(every) or 0) < 1:
            raise InputError(f"every is {every!r}; expected a number of steps of at least 1.")
        if start_from not in ("seed", "previous"):
            raise InputError(f'start_from is "{start_from}"; expected "seed" or "previous".')
        if scale is not None:
            scale = check_int(scale, "scale", 1, ", or None")
        for name in _OWN:
            if name in options:
                raise InputError(f"{name} is set by the filmstrip; leave it out.")
        self.targets: list[Target] = parse_targets(target)
        self.seeds = occurrence_seeds(self.targets, seed)
        self.image_shape = (int(image_shape[0]), int(image_shape[1]), int(image_shape[2]))
        self.folder = Path(folder)
        self.every = int(every)
        self.preprocess = preprocess
        self.start_from = start_from
        self.scale = scale or max(1, -(-64 // self.image_shape[1]))
        self.options = options
        self.frames: dict[int, Path] = {}
        found = ((_FRAME.fullmatch(path.name), path) for path in self.folder.glob("step*.safetensors"))
        for step, path in sorted((int(match[1]), path) for match, path in found if match):
            self._check(path)
            self.frames[step] = path

    def _check(self, path: Path) -> None:
        """See that a frame in the folder is one of this film."""
        frame = Prototypes.load(path)
        if (
            frame.target != self.targets
            or frame.seeds != self.seeds
            or tuple(frame.images.shape[1:]) != self.image_shape
        ):
            raise InputError(
                f'"{path}" is a frame of targets {frame.target[:3]}, seeds {frame.seeds[:3]}, size {tuple(frame.images.shape[1:])}, not of '
                f"{self.targets[:3]}, {self.seeds[:3]}, {self.image_shape}; choose another folder."
            )

    def __call__(self, model: Model, step: int) -> Prototypes | None:
        """The same as :meth:`step`."""
        return self.step(model, step)

    def step(self, model: Model, step: int) -> Prototypes | None:
        r"""
        Make a frame, if this step is to have one and has none yet.

        Args:
            model (Callable): The network, in whatever mode, or a function of it; it comes back exactly as it was.
            step (int): Of the training, from 0.

        Returns:
            Prototypes or None: The frame, or None if there was none to make.

        Raises:
            ValueError: If the model's output is not logits, as in ``generate``.
        """
        step = plain_int(step)
        if step % self.every or step in self.frames:
            return None
        return self.make_frame(model, step)

    def make_frame(self, model: Model, step: int) -> Prototypes:
        """Make a frame at this very step, such as the last one of a training, and the filmstrip with it."""
        options, step = dict(self.options), plain_int(step)
        before = [earlier for earlier in self.frames if earlier < step]
        if self.start_from == "previous" and before:
            images = Prototypes.load(self.frames[max(before)]).images
            options |= {"start": images, "warmup_steps": 0}
        with _random_numbers_kept(model):
            frame = PrototypeGeneration(model, self.preprocess).generate(
                [list(target) for target in self.targets], self.image_shape, seed=self.seeds, **options
            )
        frame.settings |= {"training_step": int(step), "start_from": self.start_from}
        value_range = tuple(frame.settings["value_range"])
        for index, image in enumerate(frame.images):
            _save_png(_picture(image, value_range, 1), self.folder / f"step{step:08d}_{index:03d}.png")
        path = self.folder / f"step{step:08d}.safetensors"
        frame.save(path, overwrite=True)  # last: its presence says that the frame is finished
        self.frames = dict(sorted({**self.frames, int(step): path}.items()))
        self.save_filmstrip()
        return frame

    def save_filmstrip(self) -> Path:
        """
        Write the picture of all frames: a row for each prototype, a column for each frame.

        Returns:
            Path: ``filmstrip.png`` in the folder.

        Raises:
            RuntimeError: If there are no frames yet.
        """
        if not self.frames:
            raise StateError("there are no frames yet; call step(model, step) in the training loop first.")
        columns = [Prototypes.load(path) for path in self.frames.values()]
        pictures = [
            [_picture(frame.images[row], tuple(frame.settings["value_range"]), self.scale) for frame in columns]
            for row in range(len(self.targets))
        ]
        width, height = pictures[0][0].size
        strip = Image.new(
            "RGB",
            (len(columns) * (width + _GAP) - _GAP, len(self.targets) * (height + _GAP) - _GAP),
            "white",
        )
        for row, line in enumerate(pictures):
            for column, picture in enumerate(line):
                strip.paste(picture, (column * (width + _GAP), row * (height + _GAP)))
        path = self.folder / "filmstrip.png"
        _save_png(strip, path)
        return path


@contextlib.contextmanager
def _random_numbers_kept(model: Model) -> Iterator[None]:
    """The generation draws no global random numbers, but a transform or a model of the user's may: give them back in any case."""
    device = device_of(model)
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # the global one is what may be used
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _picture(image: Tensor, value_range: Iterable[float], scale: int) -> Image.Image:
    """An image (C, H, W) for Pillow, each pixel ``scale`` times ``scale``."""
    low, high = value_range
    unit = ((image.detach().float().cpu() - low) / (high - low)).clamp(0, 1).mul(255).round().to(torch.uint8)
    if len(unit) not in (1, 3):
        unit = unit.float().mean(0, keepdim=True).round().to(torch.uint8)
    array = unit[0].numpy() if len(unit) == 1 else unit.permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(array)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def _save_png(picture: Image.Image, path: Path) -> None:
    with whole_file(path, overwrite=True) as temporary:
        picture.save(temporary, format="png")


class _FilmstripHooks:
    """What a Lightning trainer calls, on the process of rank 0 alone; mixed into the ``Callback`` of whichever package is there."""

    def __init__(self, filmstrip: PrototypeFilmstrip, module_of: Callable[[Any], nn.Module] | None = None) -> None:
        super().__init__()
        self.filmstrip = filmstrip
        self.module_of = module_of

    def _model(self, pl_module: Any) -> Model:
        if self.module_of is not None:
            return self.module_of(pl_module)
        # As a function: a LightningModule holds on to its trainer, and a copy of it would copy that as well.
        return lambda images: pl_module(images)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self.filmstrip.step(self._model(pl_module), int(trainer.global_step))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        # Where gradients are accumulated, several batches end at one step, and the second finds its frame made.
        if trainer.is_global_zero:
            self.filmstrip.step(self._model(pl_module), int(trainer.global_step))

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        step = int(trainer.global_step)
        if trainer.is_global_zero and step not in self.filmstrip.frames:
            self.filmstrip.make_frame(self._model(pl_module), step)

    @property
    def state_key(self) -> str:
        return f"PrototypeFilmstrip{self.filmstrip.targets}"

    def state_dict(self) -> dict[str, Any]:
        return {"frames": {step: path.name for step, path in self.filmstrip.frames.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Frames the checkpoint does not know are of steps that are about to be trained again: they are made again, too."""
        known = {int(step) for step in state_dict["frames"]}
        self.filmstrip.frames = {step: path for step, path in self.filmstrip.frames.items() if step in known}


def lightning_callback(
    filmstrip: PrototypeFilmstrip, module_of: Callable[[Any], nn.Module] | None = None
) -> _FilmstripHooks:
    r"""
    A filmstrip as a callback of Lightning's ``Trainer``, of the package ``lightning`` or ``pytorch_lightning``, whichever is there.

    It makes a frame at the start, whenever ``trainer.global_step`` is a multiple of ``every``, and one of the finished network. A
    checkpoint remembers which frames there were; a training that resumes from it makes the later ones again.

    Args:
        filmstrip (PrototypeFilmstrip): What to make, and where.
        module_of (Callable, optional): From the ``LightningModule`` to the classifier in it; needed where the module's own ``forward``
            returns no logits (N, K). Default: None, the module itself

    Returns:
        Callback: For ``Trainer(callbacks=[…])``. Where both packages are installed it is a callback of both.

    Raises:
        ImportError: If neither package is installed.

    Examples:

        .. code-block:: python

            filmstrip = PrototypeFilmstrip([3, 8], (1, 28, 28), "film", every=500, steps=64)
            trainer = Trainer(callbacks=[lightning_callback(filmstrip, lambda module: module.network)])
    """
    bases = []
    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            bases.append(importlib.import_module(name).Callback)
        except ImportError:
            continue
    if not bases:
        raise MissingPackageError(
            "a Lightning callback needs the package lightning (or pytorch_lightning), which is not installed; run: pip install lightning, "
            "or call the filmstrip in your own loop."
        )
    kind = type("PrototypeFilmstripCallback", (_FilmstripHooks, *dict.fromkeys(bases)), {})
    made: _FilmstripHooks = kind(filmstrip, module_of)
    return made


__all__ = ["PrototypeFilmstrip", "lightning_callback"]
