"""A filmstrip is made beside a training, and the training does not notice."""

from __future__ import annotations

import random
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from captum_proto import PrototypeGeneration, Prototypes
from captum_proto.training import PrototypeFilmstrip, lightning_callback

SHAPE = (3, 12, 12)
QUICK: dict[str, Any] = {"steps": 3, "warmup_steps": 1, "evaluation_draws": 0, "transform": None}


def film(folder: Path, **options: Any) -> PrototypeFilmstrip:
    return PrototypeFilmstrip([1, [0, 2]], SHAPE, folder, **{"every": 2, **QUICK, **options})


class NoisyTransform:
    """As careless as transforms are: it draws from every global generator."""

    def __call__(self, image: Tensor) -> Tensor:
        return image + 0.1 * float(torch.rand(())) * random.random() * np.random.rand()  # noqa: NPY002


def train(model: nn.Module, filmstrip: PrototypeFilmstrip | None, steps: int = 7, begin: int = 0) -> list[Tensor]:
    """With everything that a frame could disturb: dropout, batch statistics, momentum, accumulated gradients, random data."""
    torch.manual_seed(begin)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(begin, begin + steps):
        images = torch.rand(4, *SHAPE) + 0.1 * random.random() + 0.1 * np.random.rand()  # noqa: NPY002
        loss = nn.functional.cross_entropy(model(images), torch.randint(5, (4,)))
        loss.backward()
        if filmstrip is not None:
            filmstrip(model, step)  # before the optimizer, while gradients are there
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
    return [tensor.clone() for tensor in model.state_dict().values()]


@pytest.mark.parametrize("transform", [None, NoisyTransform()], ids=["plain", "with a careless transform"])
def test_a_training_does_not_notice(make_cnn, tmp_path, transform):
    with_film = train(make_cnn(), film(tmp_path, transform=transform))
    without = train(make_cnn(), None)
    assert all(torch.equal(a, b) for a, b in zip(with_film, without, strict=True))
    assert not torch.equal(without[0], make_cnn().state_dict()["stem.0.weight"])


def test_the_model_comes_back_as_it_was(make_cnn, lived_in, untouched, tmp_path):
    model = lived_in(make_cnn())
    with untouched(model):
        assert film(tmp_path).step(model, 4) is not None
    with untouched(model), pytest.raises(ValueError, match="steps is -1"):
        film(tmp_path, steps=-1).step(model, 6)


def test_frames_are_what_generate_makes_of_the_network_at_that_step(make_cnn, tmp_path):
    model = make_cnn()
    filmstrip = film(tmp_path, seed=5, preprocess=nn.Identity())
    expected = {}
    for step in range(5):
        if step % 2 == 0:
            expected[step] = PrototypeGeneration(model).generate([[1], [0, 2]], SHAPE, seed=5, **QUICK).images
        made = filmstrip.step(model, step)
        assert (made is not None) == (step % 2 == 0)
        with torch.no_grad():
            model.head.weight.add_(0.3 * torch.randn_like(model.head.weight))
    assert list(filmstrip.frames) == list(expected) == [0, 2, 4]
    for step, path in filmstrip.frames.items():
        frame = Prototypes.load(path)
        assert torch.equal(frame.images, expected[step])
        assert (frame.settings["training_step"], frame.seeds) == (step, [5, 5])
    assert not torch.equal(expected[0], expected[4])
    assert filmstrip.step(model, 4) is None  # it is there already


def test_frames_may_start_from_the_one_before(make_cnn, tmp_path):
    model = make_cnn()
    filmstrip = film(tmp_path, start_from="previous")
    first, second = filmstrip.step(model, 0), filmstrip.step(model, 2)
    options = {**QUICK, "warmup_steps": 0}
    expected = PrototypeGeneration(model).generate([[1], [0, 2]], start=first.images, **options)
    assert torch.equal(second.images, expected.images)
    assert second.settings["start"] == "given images"
    assert torch.equal(film(tmp_path / "seed").step(model, 2).images, first.images)  # from the seed, each is made anew
    again = film(tmp_path, start_from="previous")
    assert again.step(model, 3) is None
    third = again.step(model, 4)
    assert torch.equal(
        again.make_frame(model, 3).images, third.images
    )  # from the second too, for that is the one before
    assert torch.equal(
        third.images, PrototypeGeneration(model).generate([[1], [0, 2]], start=second.images, **options).images
    )


def test_every_frame_is_in_its_place_on_the_filmstrip(make_cnn, tmp_path):
    filmstrip = film(tmp_path, scale=3)
    frames = [filmstrip.step(make_cnn(seed=step), step) for step in (0, 2, 4)]
    strip = np.asarray(Image.open(tmp_path / "filmstrip.png").convert("RGB"))
    assert strip.shape == (2 * 36 + 2, 3 * 36 + 2 * 2, 3)
    for column, frame in enumerate(frames):
        for row in range(2):
            expected = (frame.images[row] * 255).round().byte().permute(1, 2, 0).numpy()
            top, left = row * 38, column * 38
            part = strip[top : top + 36, left : left + 36]
            assert (part[::3, ::3] == expected).all()
            assert (part[2::3, 1::3] == expected).all()
            name = f"step{(0, 2, 4)[column]:08d}_{row:03d}.png"
            assert (np.asarray(Image.open(tmp_path / name)) == expected).all()
    assert (strip[36:38] == 255).all()
    assert (strip[:, 36:38] == 255).all()
    gray = PrototypeFilmstrip(1, (1, 8, 8), tmp_path / "gray", every=1, **QUICK)
    gray.step(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), 0)
    assert Image.open(tmp_path / "gray" / "filmstrip.png").size == (64, 64)  # small images are enlarged


def test_an_interrupted_training_goes_on_with_its_frames(make_cnn, tmp_path):
    model = make_cnn()
    train(model, film(tmp_path), steps=4)
    kept = {path.name: path.read_bytes() for path in tmp_path.glob("step*")}
    goes_on = film(tmp_path)
    assert list(goes_on.frames) == [0, 2]
    train(model, goes_on, steps=3, begin=4)
    assert list(goes_on.frames) == [0, 2, 4, 6]
    assert all((tmp_path / name).read_bytes() == content for name, content in kept.items())
    assert Image.open(tmp_path / "filmstrip.png").size[0] == 4 * 72 + 3 * 2


def test_an_interrupt_leaves_whole_frames_only(make_cnn, tmp_path):
    filmstrip = film(tmp_path)
    model = make_cnn()
    filmstrip.step(model, 0)

    def stop(*_):
        raise KeyboardInterrupt

    model.block.register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        filmstrip.step(model, 2)
    assert list(filmstrip.frames) == list(film(tmp_path).frames) == [0]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_makes_no_sense_is_refused(make_cnn, tmp_path):
    for options, message in (
        ({"every": 0}, "every is 0; expected a number of steps of at least 1"),
        ({"every": 2.5}, "every is 2.5"),
        ({"every": True}, "every is True"),
        ({"start_from": "last"}, 'start_from is "last"; expected "seed" or "previous"'),
        ({"scale": 0}, "scale is 0"),
        ({"callback": print}, "callback is set by the filmstrip"),
    ):
        with pytest.raises(ValueError, match=message):
            film(tmp_path, **options)
    with pytest.raises(RuntimeError, match="there are no frames yet"):
        film(tmp_path).save_filmstrip()
    film(tmp_path).step(make_cnn(), 0)
    for other in ({"target": [1, 3]}, {"seed": 1}, {"image_shape": (3, 8, 8)}):
        given = {"target": [1, [0, 2]], "image_shape": SHAPE, "folder": tmp_path, **other}
        with pytest.raises(ValueError, match=r"is a frame of targets .* choose another folder"):
            PrototypeFilmstrip(**given)


# --- Lightning -----------------------------------------------------------------------------------------------------------------------


class Trainer:
    """As much of Lightning's as a callback sees."""

    def __init__(self, callback, is_global_zero: bool = True) -> None:
        self.callback, self.is_global_zero, self.global_step = callback, is_global_zero, 0

    def fit(self, module: nn.Module, batches: int, accumulate: int = 1) -> None:
        self.callback.on_train_start(self, module)
        for index in range(batches):
            self.global_step += (index + 1) % accumulate == 0
            self.callback.on_train_batch_end(self, module, None, None, index)
        self.callback.on_fit_end(self, module)


@pytest.fixture
def lightning(monkeypatch):
    """A package of this name with a ``Callback`` in it."""
    package, part = types.ModuleType("lightning"), types.ModuleType("lightning.pytorch")
    part.Callback = type("Callback", (), {"state_key": "theirs", "setup": lambda self, *args: None})
    monkeypatch.setitem(sys.modules, "lightning", package)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", part)
    monkeypatch.setitem(sys.modules, "pytorch_lightning", None)
    return part


def test_a_trainer_calls_it(lightning, make_cnn, untouched, tmp_path):
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = make_cnn()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": self.network(x)}

    filmstrip = film(tmp_path)
    callback = lightning_callback(filmstrip, lambda module: module.network)
    assert isinstance(callback, lightning.Callback)
    callback.setup()  # what a hook of ours is not, is theirs
    module = Module()
    with untouched(module):
        Trainer(callback).fit(module, 10, accumulate=2)
    assert list(filmstrip.frames) == [0, 2, 4, 5]  # and the finished network
    assert callback.state_key != "theirs"
    state = callback.state_dict()
    assert state == {"frames": {step: f"step{step:08d}.safetensors" for step in (0, 2, 4, 5)}}
    # A checkpoint of step 2: what was made after it is made again.
    resumed = film(tmp_path)
    again = lightning_callback(resumed)
    again.load_state_dict({"frames": {"0": "step00000000.safetensors", "2": "step00000002.safetensors"}})
    assert list(resumed.frames) == [0, 2]
    trainer = Trainer(again)
    trainer.global_step = 2
    trainer.fit(module.network, 2)
    assert list(resumed.frames) == [0, 2, 4]
    others = film(tmp_path / "others")
    Trainer(lightning_callback(others), is_global_zero=False).fit(module.network, 3)
    assert others.frames == {}
    assert not (tmp_path / "others").exists()


def test_without_lightning_it_says_so(monkeypatch, tmp_path):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="which is not installed; run: pip install lightning"):
        lightning_callback(film(tmp_path))


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_a_real_trainer(package, make_cnn, tmp_path):
    pl = pytest.importorskip(package)

    class Classifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = make_cnn()

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x)

        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05)

    data = [(image, index % 5) for index, image in enumerate(torch.rand(12, *SHAPE))]

    def fit(callbacks, epochs, checkpoint=None):
        pl.seed_everything(0)
        module = Classifier()
        trainer = pl.Trainer(
            max_epochs=epochs, callbacks=callbacks, accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4, shuffle=True), ckpt_path=checkpoint)
        return trainer, module

    filmstrip = film(tmp_path / "film")
    trainer, module = fit([lightning_callback(filmstrip)], 1)
    assert list(filmstrip.frames) == [0, 2, 3]
    _, plain = fit([], 1)
    for name, value in plain.state_dict().items():
        assert torch.equal(module.state_dict()[name], value), name
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    goes_on = film(tmp_path / "film")
    fit([lightning_callback(goes_on)], 2, checkpoint=tmp_path / "one.ckpt")
    assert list(goes_on.frames) == [0, 2, 3, 4, 6]
