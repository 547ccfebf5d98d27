"""Bad input gets one sentence: what was given, what is expected, what to do. And nothing is lost or half-written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from networks import seeded
from torch import Tensor, nn

from captum_proto import PathComparison, PathReference, PathSimilarity, PrototypeGeneration, Prototypes, capture
from captum_proto._utils.checks import check_device, check_images, check_logits
from captum_proto.metrics import summarize

SHAPE = (3, 8, 8)
QUICK: dict[str, Any] = {"steps": 2, "warmup_steps": 1, "evaluation_draws": 1}


@pytest.fixture(scope="module")
def model(make_cnn) -> nn.Module:
    return make_cnn()


def fails(error: type[Exception], fragment: str):
    """Exactly this error, not one of its subclasses from deeper down, in one sentence that holds ``fragment``."""

    class Check:
        def __enter__(self) -> None:
            self.context = pytest.raises(error)
            self.info = self.context.__enter__()

        def __exit__(self, *exception) -> bool:
            caught = self.context.__exit__(*exception)
            message = str(self.info.value)
            assert fragment in message, message
            assert "\n" not in message, message
            assert message[-1] in ".?", message
            assert len(message) < 400, message
            return caught

    return Check()


# --- targets -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "error", "fragment"),
    [
        (5, ValueError, "target 5 is out of range: the model has 5 classes, 0 to 4"),
        (-1, ValueError, "target -1 is out of range"),
        ([0, [1, 99]], ValueError, "target 99 is out of range"),
        (1.0, TypeError, "target 1.0 is a float; expected an int, a list or 1-D tensor"),
        ("tabby", TypeError, "target 'tabby' is a str"),
        (True, TypeError, "target True is a bool"),
        (None, TypeError, "target is None; expected an int"),
        ([], ValueError, "target is empty; name at least one class"),
        (torch.tensor([], dtype=torch.int64), ValueError, "target is empty"),
        ([[]], ValueError, "target holds an empty superclass"),
        ([1, None], TypeError, "target None is a NoneType"),
        ([1, "x"], TypeError, "target 'x' is a str"),
        ([[1, 2.0]], TypeError, "target 2.0 is a float"),
        ((1, 2), TypeError, "for a superclass give a nested list, [[1, 2]]"),
        ([(1, 2)], TypeError, "Captum's index into an output of more than two dimensions"),
        (torch.tensor([0.0, 1.0]), TypeError, "target is a torch.float32 tensor of shape (2,)"),
        (torch.tensor([[0, 1]]), TypeError, "target is a torch.int64 tensor of shape (1, 2)"),
        (torch.tensor([True]), TypeError, "target is a torch.bool tensor"),
        ({"class": 3}, TypeError, "target {'class': 3} is a dict"),
    ],
)
def test_targets(model, target, error, fragment):
    with fails(error, fragment):
        PrototypeGeneration(model).generate(target, SHAPE, **QUICK)


# --- what the model returns --------------------------------------------------------------------------------------------------------------


class Returning(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.linear, self.function = seeded(lambda: nn.Linear(192, 5)), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.linear(x.flatten(1)))


@pytest.mark.parametrize(
    ("function", "error", "fragment"),
    [
        (
            lambda y: {"logits": y, "loss": y.sum()},
            TypeError,
            "returned a dict with keys ['logits', 'loss']; wrap it, e.g.",
        ),
        (lambda y: {}, TypeError, "the model returned a dict with keys []"),
        (lambda y: (y, y), TypeError, "the model returned a tuple; expected a tensor of logits"),
        (lambda y: None, TypeError, "the model returned a NoneType"),
        (
            lambda y: y.softmax(1),
            ValueError,
            "returned probabilities (rows between 0 and 1 that sum to 1); expected logits",
        ),
        (lambda y: y * float("nan"), ValueError, "the model returned NaN for image 0 of the batch; check its weights"),
        (lambda y: y[0], ValueError, "the model returned shape (5,) for 2 images; expected logits of shape (2, K)"),
        (lambda y: y[:, :, None, None], ValueError, "the model returned shape (2, 5, 1, 1)"),
        (lambda y: y[:1], ValueError, "the model returned shape (1, 5) for 2 images"),
        (lambda y: y.sum(), ValueError, "the model returned shape ()"),
        (lambda y: y.round().long(), TypeError, "the model returned torch.int64; expected floating-point logits"),
        (lambda y: y.detach(), ValueError, "the model's output has no gradient with respect to the images"),
    ],
)
@pytest.mark.parametrize("warmup_steps", [0, 1])
def test_models_whose_output_is_no_logits(function, error, fragment, warmup_steps):
    with fails(error, fragment):
        PrototypeGeneration(Returning(function)).generate([0, 1], SHAPE, steps=2, warmup_steps=warmup_steps)


def test_the_output_is_looked_at_even_where_there_is_nothing_to_optimize():
    with fails(ValueError, "probabilities"):
        PrototypeGeneration(Returning(lambda y: y.softmax(1))).generate([0], SHAPE, steps=0, warmup_steps=0)


def test_the_ascent_of_a_comparison_looks_at_the_output_too(make_images):
    similarity = PathSimilarity(Returning(lambda y: y.softmax(1))).fit(make_images(3, SHAPE))
    with fails(ValueError, "the model returned probabilities"):
        similarity.compare(make_images(1, SHAPE), make_images(3, SHAPE), make_images(3, SHAPE))
    report = similarity.compare(make_images(1, SHAPE), make_images(3, SHAPE), make_images(3, SHAPE), controls=("gray",))
    assert report.conditions[-1] == "gray"  # path similarity itself needs no logits


def test_logits_that_only_look_like_probabilities_pass():
    for logits in (
        torch.zeros(2, 5),
        torch.tensor([[0.5, 0.5], [0.1, 0.2]]),
        torch.tensor([[2.0, -1.0]]),
        torch.ones(3, 1),
    ):
        assert check_logits(logits, len(logits)) is logits


def test_one_nan_among_many_logits_is_found():
    logits = torch.zeros(3, 5)
    logits[1, 4] = float("nan")
    with fails(ValueError, "the model returned NaN for image 1 of the batch"):
        check_logits(logits, 3)


def test_what_is_no_model(make_images):
    with fails(TypeError, "forward_func is a str; expected a module or a function that returns logits"):
        PrototypeGeneration("resnet18")
    with fails(TypeError, "forward_func is a function; expected a torch.nn.Module, whose layers can be watched"):
        PathSimilarity(lambda x: x)
    with fails(TypeError, "preprocess is a float; expected a module, a function or None"):
        PrototypeGeneration(nn.Flatten(), preprocess=0.5)


# --- preprocessing -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preprocess", "fragment"),
    [
        (lambda x: x[:1], "preprocess turned a batch of shape (2, 3, 8, 8) into shape (1, 3, 8, 8); it must return"),
        (lambda x: torch.cat([x, x]), "into shape (4, 3, 8, 8)"),
        (lambda x: [x], "into a list"),
        (lambda x: x.mean(), "into shape ()"),
        (lambda x: None, "into a NoneType"),
    ],
)
def test_preprocessing_that_changes_the_batch(model, make_images, preprocess, fragment):
    with fails(ValueError, fragment):
        PrototypeGeneration(model, preprocess=preprocess).generate([0, 1], SHAPE, **QUICK)
    with fails(ValueError, "preprocess turned a batch of shape ("):
        PathSimilarity(model, preprocess=preprocess).fit(make_images(4, SHAPE))


# --- images --------------------------------------------------------------------------------------------------------------------------

GOOD = torch.full((2, *SHAPE), 0.5)


def spoiled(value: float) -> Tensor:
    images = GOOD.clone()
    images[1, 0, 0, 0] = value
    return images


BAD_IMAGES = {
    "above the range": (spoiled(1.2), ValueError, "ranges over [0.5, 1.2]; expected [0, 1]: give images before"),
    "below the range": (spoiled(-0.5), ValueError, "ranges over [-0.5, 0.5]"),
    "bytes as floats": (GOOD * 255, ValueError, "ranges over [127.5, 127.5]"),
    "no batch axis": (
        GOOD[0],
        ValueError,
        "has shape (3, 8, 8); expected (N, C, H, W). Add the batch axis with .unsqueeze(0)",
    ),
    "two axes": (GOOD[0, 0], ValueError, "has shape (8, 8); expected (N, C, H, W)"),
    "none": (GOOD[:0], ValueError, "has shape (0, 3, 8, 8), which holds no image; give at least one"),
    "bytes": (
        (GOOD * 255).byte(),
        TypeError,
        "has dtype torch.uint8; expected floating point: for bytes, .float() / 255",
    ),
    "integers": (GOOD.long(), TypeError, "has dtype torch.int64"),
    "NaN": (spoiled(float("nan")), ValueError, "holds NaN or infinity in image 1; expected finite values"),
    "infinity": (spoiled(float("inf")), ValueError, "holds NaN or infinity in image 1"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_images(model, case):
    images, error, fragment = BAD_IMAGES[case]
    with fails(error, fragment):
        PrototypeGeneration(model).generate(0, start=images, **QUICK)
    with fails(error, fragment):
        PrototypeGeneration(model).attribute(images, 0, **QUICK)
    similarity = PathSimilarity(model)
    with fails(error, fragment):
        similarity.fit(images)
    with fails(error, fragment):
        similarity.fit([GOOD, images])
    with pytest.raises(RuntimeError, match="no reference yet"):
        similarity.evaluate(GOOD)
    similarity.fit(GOOD)
    with fails(error, fragment):
        similarity.evaluate(images)
    for arguments in ((images, GOOD, GOOD), (GOOD, images, GOOD), (GOOD, GOOD, images)):
        with fails(error, fragment):
            similarity.compare(*arguments, ascent_steps=1)
    assert similarity.evaluate(GOOD).spearman.shape[0] == 2


def test_a_rounding_beyond_the_range_passes_and_another_range_is_named(model):
    check_images(GOOD * 2 + 0.0005)
    PathSimilarity(model, value_range=None).fit(GOOD * 9)
    with fails(ValueError, "expected [-1, 3]"):
        PathSimilarity(model, value_range=(-1.0, 3.0)).fit(GOOD * 9)


@pytest.mark.parametrize(
    ("images", "kind"),
    [(None, "NoneType"), ([GOOD.numpy()], "ndarray"), (3, "int"), ("photos/", "str"), ([None], "NoneType")],
)
def test_what_is_no_images_at_all(model, images, kind):
    with fails(TypeError, f"images is a {kind}; expected a"):
        PathSimilarity(model).fit(images)


def test_fewer_than_two_images(model):
    for images in (GOOD[:1], [GOOD[:1]], iter([(GOOD[:1], torch.tensor([3]))])):
        with fails(ValueError, "1 image was given to fit; a mean needs at least two"):
            PathSimilarity(model).fit(images)
    with fails(ValueError, "images is empty; give at least one batch"):
        PathSimilarity(model).fit([])
    with fails(ValueError, "1 image was given to fit"):
        PathSimilarity(model).compare(GOOD, GOOD[:1], GOOD)


def test_images_of_several_sizes(model):
    with fails(ValueError, "the images have shape (3, 9, 9), the reference was made from (3, 8, 8); resize them first"):
        PathSimilarity(model).fit([GOOD, torch.rand(2, 3, 9, 9)])
    with fails(ValueError, "the images have shape (3, 9, 9), the reference was made from (3, 8, 8)"):
        PathSimilarity(model).fit(GOOD).evaluate(torch.rand(2, 3, 9, 9))


def test_a_comparison_fails_before_its_work_begins(make_cnn, make_images):
    """A mistake that shows at once must not cost the ascent of the controls, nor a fit."""
    model = make_cnn()
    similarity, passes = PathSimilarity(model).fit(GOOD), []
    handle = model.register_forward_hook(lambda *_: passes.append(1))
    for prototypes in (GOOD.numpy(), GOOD[0], GOOD * 3, torch.rand(1, 3, 9, 9)):
        with pytest.raises((TypeError, ValueError)):
            similarity.compare(prototypes, GOOD, GOOD)
    with fails(ValueError, "there is no control"):
        PathSimilarity(model).compare(GOOD, GOOD, GOOD, controls=("grye",))
    assert passes == []
    handle.remove()


@pytest.mark.parametrize(
    ("inputs", "error", "fragment"),
    [
        ((GOOD, GOOD), TypeError, "inputs is a tuple of 2 tensors; expected one tensor of images"),
        ((), TypeError, "inputs is a tuple of 0 tensors"),
        ([GOOD], TypeError, "is a list; expected a float tensor"),
        (None, TypeError, "is a NoneType; expected a float tensor"),
        (5, TypeError, "is a int; expected a float tensor"),
    ],
)
def test_inputs_of_attribute(model, inputs, error, fragment):
    with fails(error, fragment):
        PrototypeGeneration(model).attribute(inputs, 0, **QUICK)


@pytest.mark.parametrize(
    ("arguments", "error", "fragment"),
    [
        ({}, TypeError, "image_shape is missing; give (C, H, W)"),
        ({"image_shape": (3, 8)}, ValueError, "image_shape is (3, 8); expected three positive numbers (C, H, W)"),
        ({"image_shape": (1, 3, 8, 8)}, ValueError, "expected three positive numbers"),
        ({"image_shape": (3, 0, 8)}, ValueError, "image_shape is (3, 0, 8)"),
        ({"image_shape": (3, 8.5, 8)}, ValueError, "image_shape is (3, 8.5, 8)"),
        ({"image_shape": 224}, ValueError, "image_shape is 224"),
        ({"image_shape": (3, 9, 9), "start": GOOD}, ValueError, "but start holds images of shape (3, 8, 8); leave one"),
        (
            {"start": GOOD, "target": [0, 1, 2]},
            ValueError,
            "3 targets were given for 2 images; give one, or one for each",
        ),
    ],
)
def test_shapes_of_prototypes(model, arguments, error, fragment):
    with fails(error, fragment):
        PrototypeGeneration(model).generate(**{"target": 0, **arguments}, **QUICK)


# --- options -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "fragment"),
    [
        (
            {"autocast": torch.float32},
            ValueError,
            "autocast is torch.float32; expected torch.bfloat16, torch.float16 or None",
        ),
        ({"autocast": "bfloat16"}, ValueError, "autocast is 'bfloat16'"),
        ({"autocast": True}, ValueError, "autocast is True"),
        ({"lr_schedule": "linear"}, ValueError, 'lr_schedule is "linear"; expected one of constant, cosine'),
        ({"parametrization": "wavelet"}, ValueError, 'parametrization is "wavelet"; expected one of pixels, fourier'),
        ({"batch_size": 0}, ValueError, "batch_size is 0; expected at least 1, or None"),
        ({"steps": -1}, ValueError, "steps is -1; expected a whole number of at least 0"),
        ({"lr": float("nan")}, ValueError, "lr is nan; expected a finite number"),
        ({"high_frequency_power": 3}, ValueError, "high_frequency_power is 3; expected 1 or 2"),
        ({"value_range": (1, 0)}, ValueError, "expected (least, most)"),
        ({"value_range": (0, 1, 2)}, ValueError, "expected (least, most)"),
        ({"evaluation_draws": -1}, ValueError, "evaluation_draws is -1; expected at least 0"),
        ({"snapshot_steps": (1, 3)}, ValueError, "snapshot_steps is [1, 3]; expected numbers of steps from 0 to 2"),
        ({"transform": 5}, TypeError, "transform is a int; expected a Transform, a callable, a list of them, or None"),
        ({"seed": 1.5}, TypeError, "seed is 1.5; expected an int, or one int for each prototype"),
        ({"seed": [1, 2, 3]}, ValueError, "3 seeds were given for 2 prototypes"),
    ],
)
def test_options_of_the_generation(model, options, error, fragment):
    with fails(error, fragment):
        PrototypeGeneration(model).generate([0, 1], SHAPE, **{**QUICK, **options})


@pytest.mark.parametrize(
    ("options", "error", "fragment"),
    [
        ({"layers": "haed"}, ValueError, 'there is no layer "haed" in SmallCNN; did you mean "head"?'),
        ({"layers": ["head", "stem.7"]}, ValueError, 'there is no layer "stem.7" in SmallCNN; did you mean "stem'),
        ({"layers": nn.ReLU()}, ValueError, "the ReLU given as a layer is not part of the model"),
        ({"layers": 3}, TypeError, "layers is a int; expected names, patterns or modules"),
        ({"repeat": "never"}, ValueError, 'repeat is "never"'),
        ({"alias": "copy"}, ValueError, 'alias is "copy"'),
    ],
)
def test_options_of_path_similarity(model, options, error, fragment):
    with fails(error, fragment):
        PathSimilarity(model, **options).fit(GOOD)
    with fails(error, fragment):
        capture(model, GOOD, **options)


def test_an_impossible_batch_size(model):
    with fails(ValueError, "batch_size is 0; expected at least 1"):
        PathSimilarity(model, batch_size=0)


def test_a_layer_that_does_not_run():
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Flatten(), nn.Flatten()

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    with fails(ValueError, 'layer "unused" did not run in the forward pass; choose one that does, e.g. "used"'):
        PathSimilarity(Half(), ["used", "unused"]).fit(GOOD)
    similarity = PathSimilarity(Half()).fit(GOOD)
    assert similarity.evaluate(GOOD).layers == ["used"]
    assert similarity.reference.skipped == {"unused": "did not run"}


def test_an_unknown_control(model):
    with fails(
        ValueError,
        'there is no control "noize"; did you mean "noise"?',
    ):
        PathSimilarity(model).compare(GOOD, GOOD, GOOD, controls=("gray", "noize"))


def test_nothing_to_summarize():
    with fails(ValueError, "there are no comparisons to summarize"):
        summarize([])


# --- files and devices ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def things(model) -> dict[str, Any]:
    similarity = PathSimilarity(model).fit(GOOD)
    return {
        "prototypes": PrototypeGeneration(model).generate(0, SHAPE, **QUICK),
        "path reference": similarity.reference,
        "path comparison": similarity.compare(GOOD, GOOD, GOOD, controls=("gray",)),
        "path similarity": similarity,
    }


LOADERS = {
    "prototypes": Prototypes.load,
    "path reference": PathReference.load,
    "path comparison": PathComparison.load,
}


@pytest.mark.parametrize("kind", LOADERS)
def test_damaged_files(things, kind, tmp_path):
    file, load = tmp_path / "thing.safetensors", LOADERS[kind]
    things[kind].save(file)
    whole = file.read_bytes()
    load(file)
    for damaged in (whole[: len(whole) // 2], whole[:20], b"", b"hello, world", whole[:8] + b"\x00" * 40 + whole[48:]):
        file.write_bytes(damaged)
        with fails(ValueError, "thing.safetensors"):
            load(file)
    with fails(
        FileNotFoundError, f'there is no file "{tmp_path / "nothing"}"; expected a {kind} saved by captum_proto'
    ):
        load(tmp_path / "nothing")
    with fails(FileNotFoundError, "there is no file"):
        load(tmp_path)
    for other in set(LOADERS) - {kind}:
        things[other].save(file, overwrite=True)
        with fails(ValueError, f"holds {other}; expected a {kind} saved by captum_proto"):
            load(file)


@pytest.mark.parametrize("kind", [*LOADERS, "path similarity", "csv"])
def test_a_place_that_cannot_be_written(things, kind, tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("a file, no folder")
    save = things["path comparison"].to_csv if kind == "csv" else things[kind].save
    for path in (occupied / "thing", occupied / "deeper" / "thing"):
        with pytest.raises(OSError, match=r"cannot be written \(.*\); choose a folder you may write to"):
            save(path)
    assert occupied.read_text() == "a file, no folder"
    assert list(tmp_path.iterdir()) == [occupied]
    with pytest.raises(
        FileExistsError, match="exists and would be overwritten; choose another name or pass overwrite=True"
    ):
        save(occupied)
    assert occupied.read_text() == "a file, no folder"


def test_a_folder_without_permission(things, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    try:
        probe = locked / "probe"
        probe.touch()
    except PermissionError:
        with fails(PermissionError, "cannot be written"):
            things["prototypes"].save(locked / "thing")
        assert list(locked.iterdir()) == []
    else:
        pytest.skip("this user may write anywhere")


def test_a_reference_of_another_model_or_size(make_cnn, things, tmp_path):
    file: Path = tmp_path / "reference.safetensors"
    things["path reference"].save(file)
    with fails(ValueError, "was fitted on another model or other weights; fit it again on this one"):
        PathSimilarity(make_cnn(seed=1)).load(file)
    loaded = PathSimilarity(make_cnn()).load(file)
    with fails(ValueError, "the images have shape (3, 9, 9), the reference was made from (3, 8, 8); resize them first"):
        loaded.evaluate(torch.rand(2, 3, 9, 9))


def test_devices(monkeypatch):
    assert check_device("cpu") == torch.device("cpu")
    with fails(ValueError, 'device "gpu" is unknown; expected e.g. "cpu", "cuda" or "cuda:1"'):
        check_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:1"):
        with fails(
            ValueError, f'device "{name}" was asked for, but PyTorch {torch.__version__} sees no CUDA device here'
        ):
            check_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert check_device("cuda:1") == torch.device("cuda:1")
    with fails(ValueError, 'device "cuda:2" was asked for, but there are only 2 CUDA devices'):
        check_device("cuda:2")
