"""All that the package does with a model, with models that PyTorch has fixed: the right numbers, or a sentence that says why not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import fixed_models
import pytest
import torch
from entry_points import ENTRIES, SHAPE, differences, tensors_of
from fixed_models import Twin, Unrecognized, made, rounded, small
from torch import Tensor, nn

from captum_proto import PathSimilarity, PrototypeGeneration, capture
from captum_proto._utils.errors import CaptumProtoError, InputError
from captum_proto._utils.model import fingerprint
from captum_proto.edit import ablate_units
from captum_proto.features import UnitAttribution, receptive_field
from captum_proto.optim import InputOptimization
from captum_proto.optim.loss import ChannelActivation

#: What needs the model's output alone, and its gradient with respect to the images.
OF_OUTPUTS = ("PrototypeGeneration.generate", "PrototypeGeneration.attribute", "verifier_logits")
#: What needs gradients of the output, through the last layer.
THROUGH_OUTPUT = (
    "PrototypeGeneration.generate",
    "PrototypeGeneration.attribute",
    "PathSimilarity.compare",
    "SemanticDictionary",
    "NeuronGroups",
    "UnitAttribution",
    "LayerActivationPath",
)
#: What needs gradients up to a layer: TopExamples to tell what of an image a unit sees.
UP_TO_A_LAYER = (
    "InputOptimization",
    "visualize",
    "TopExamples",
    "ActivationGrid",
    "ActivationAtlas",
    "expanded_weights",
    "receptive_field",
)
EDITS = ("ablate_units", "project_out")
#: How far sums in another order are apart: batch normalizations of these models are not folded.
ROUNDING = 1e-6
#: What runs the model on the images just as they are given.
AS_GIVEN = ("capture", "capture by reference", "parameter_randomization", "LayerActivationPath", *EDITS)


def ran(entry: str, model: Any, images: Tensor) -> Any:
    """What an entry makes of a model, or the sentence with which it refuses it, as it has to be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ENTRIES[entry](model, images)
        except CaptumProtoError as error:
            message = str(error)
            assert "\n" not in message, message
            assert message.endswith((".", "?")), message
            assert len(message) < 400, message
            return message


def checked(wrong: dict[str, str], entry: str, found: Any, expected: Any, tolerance: float = 0.0) -> None:
    """Note where what was found is not what was expected: an error, if that is a string, which it contains."""
    if isinstance(expected, str):
        if not isinstance(found, str) or expected not in found:
            wrong[entry] = f"was to be refused ({expected}): {found if isinstance(found, str) else 'it was not'}"
    elif isinstance(found, str):
        wrong[entry] = found
    elif difference := differences(found, expected, tolerance):
        wrong[entry] = difference


def test_the_lists_are_of_entries() -> None:
    assert {*OF_OUTPUTS, *THROUGH_OUTPUT, *UP_TO_A_LAYER, *AS_GIVEN} <= set(ENTRIES)


@pytest.mark.parametrize("kind", ["scripted", "traced", "frozen"])
def test_scripted_models(kind: str, make_images: Callable[..., Tensor]) -> None:
    images, wrong = make_images(8, SHAPE), dict[str, str]()
    for entry in ENTRIES:
        model = made(getattr(fixed_models, kind), small(), images)
        before = model.code, [each.clone() for each in (*model.parameters(), *model.buffers())]
        expected = ENTRIES[entry](small(), images) if entry in OF_OUTPUTS else "made by torch.jit"
        checked(wrong, entry, ran(entry, model, images), expected, ROUNDING)
        assert model.code == before[0]
        assert all(map(torch.equal, (*model.parameters(), *model.buffers()), before[1]))
    assert not wrong


def test_exported_models(make_images: Callable[..., Tensor]) -> None:
    """None of their layers is run."""
    images, wrong = make_images(8, SHAPE), dict[str, str]()
    model = made(fixed_models.exported, small(), images)
    for entry in ENTRIES:
        expected = ENTRIES[entry](small(), images) if entry in OF_OUTPUTS else " "
        checked(wrong, entry, ran(entry, model, images), expected, ROUNDING)
    assert not wrong


def test_scripted_parts_are_left_out_with_a_warning(make_images: Callable[..., Tensor]) -> None:
    images, model = make_images(4, SHAPE), small()
    model.stem = made(fixed_models.scripted, model.stem, images)
    with pytest.warns(UserWarning, match=r'3 of 7 layers, such as "stem", were made by torch\.jit'):
        found = capture(model, images)
    expected = capture(small(), images)
    assert list(found) == [name for name in expected if not name.startswith("stem")]
    assert all(torch.equal(found[name], expected[name]) for name in found)
    with pytest.raises(InputError, match=r"the Conv2d to look into was made by torch\.jit"):
        capture(model, images, ["block", "stem.0"])
    for entry in ("UnitAttribution", "NeuronGroups", "visualize", "TopExamples", "PooledFeatures", "ablate_units"):
        assert differences(ran(entry, model, images), ENTRIES[entry](small(), images), ROUNDING) == "", entry
    with pytest.raises(InputError, match=r'layer "stem" \(Sequential\) of the model was made by torch\.jit'):
        ENTRIES["parameter_randomization"](model, images)


def test_a_traced_layer_takes_hooks_and_never_calls_them(make_images: Callable[..., Tensor]) -> None:
    """Which is why an edit of one has to be refused: it would change nothing, and nobody would see."""
    images = make_images(2, SHAPE)
    model, heard = made(fixed_models.traced, small(), images), []
    try:
        model.block.register_forward_hook(lambda *_: heard.append(True))
    except RuntimeError as error:
        pytest.skip(f"in this PyTorch they take none: {error}")
    model(images)
    assert not heard
    with pytest.raises(InputError, match=r"made by torch\.jit"), ablate_units(model, "block", [0]):
        pass


def test_dynamically_quantized_models(make_images: Callable[..., Tensor]) -> None:
    images, wrong = make_images(8, SHAPE), dict[str, str]()
    for entry in ENTRIES:
        model, same = made(fixed_models.dynamic, small(), images), small()
        same.head = Unrecognized(model.head)  # type: ignore[assignment]
        if entry in THROUGH_OUTPUT:
            expected = 'layer "head" (Linear) of the model is quantized, and PyTorch has no gradient'
        elif entry == "parameter_randomization":
            expected = "cannot be randomized"
        else:
            expected = ENTRIES[entry](same, images)
        checked(wrong, entry, ran(entry, model, images), expected)
        assert not any(module._forward_hooks for module in model.modules())
    assert not wrong


@pytest.mark.parametrize("kind", ["static", "fx"])
def test_statically_quantized_models(kind: str, make_images: Callable[..., Tensor]) -> None:
    images, wrong = make_images(8, SHAPE), dict[str, str]()
    model = made(getattr(fixed_models, kind), small(), images)
    names = dict(model.named_modules())
    lost = {"NeuronGroups": "relu", "LayerActivationPath": "stem.1", "NaturalStatistics": "stem.1"}
    for entry in ENTRIES:
        if lost.get(entry, "head") not in names:  # it became one with the layer before
            expected = "no batch normalization" if entry == "NaturalStatistics" else "there is no layer"
        elif entry in (*THROUGH_OUTPUT, *UP_TO_A_LAYER):
            expected = "is quantized, and PyTorch has no gradient through quantized kernels; give the model as it was"
        elif entry == "parameter_randomization":
            expected = "cannot be randomized"
        elif entry in EDITS:
            expected = "the layer returns torch.quint8 numbers, which cannot be changed without rounding"
        else:
            expected = ENTRIES[entry](Twin(model), images)
        checked(wrong, entry, ran(entry, model, images), expected)
        assert not any(module._forward_hooks for module in model.modules())
    assert not wrong


def test_a_branch_that_is_quantized_does_not_lose_its_part_of_a_gradient() -> None:
    class Residual(nn.Module):
        """One branch with gradients, one without: PyTorch gives the first for the whole."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.inner, self.relu = nn.Linear(12, 12), nn.Linear(12, 12), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x.flatten(1))
            return x + self.relu(self.inner(x))

    model = Residual().eval()
    quantized = made(
        lambda: torch.ao.quantization.quantize_dynamic(model, {"inner": torch.ao.quantization.default_dynamic_qconfig})
    )
    images = torch.rand(2, 3, 2, 2, requires_grad=True)
    partly = torch.autograd.grad(quantized(images).sum(), images)[0]
    whole = torch.autograd.grad(model(images).sum(), images)[0]
    assert float((partly - whole).abs().max()) > 0.05 * float(whole.abs().max())
    sentence = r'layer "inner" \(Linear\) of the model is quantized, and PyTorch has no gradient'
    with pytest.raises(InputError, match=sentence):
        PrototypeGeneration(quantized).generate(1, (3, 2, 2), steps=1)
    with pytest.raises(InputError, match=sentence):
        InputOptimization(quantized, ChannelActivation("relu", 0), steps=1).optimize((3, 2, 2))
    found = InputOptimization(quantized, ChannelActivation("first", 0), steps=1).optimize((3, 2, 2)).images
    assert torch.equal(
        found, InputOptimization(model, ChannelActivation("first", 0), steps=1).optimize((3, 2, 2)).images
    )


def test_receptive_fields_of_quantized_models_are_refused_and_not_empty(make_images: Callable[..., Tensor]) -> None:
    images = make_images(8, SHAPE)
    for kind in (fixed_models.static, fixed_models.fx):
        model = made(kind, small(), images)
        with pytest.raises(InputError, match="is quantized"):
            receptive_field(model, "block", SHAPE, (2, 2))
        with pytest.raises(InputError, match="is quantized"):
            UnitAttribution(model, "block").attribute(images[:1], 1)


def test_a_scripted_quantized_model_is_both(make_images: Callable[..., Tensor]) -> None:
    images = make_images(8, SHAPE)
    model = made(fixed_models.dynamic, small(), images)
    scripted = made(torch.jit.script, model)
    assert differences(ran("verifier_logits", scripted, images), ENTRIES["verifier_logits"](model, images)) == ""
    with pytest.raises(InputError, match=r"the model \(SmallCNN\) is quantized, and PyTorch has no gradient"):
        PrototypeGeneration(scripted).generate(1, SHAPE, steps=1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 5e-3), (torch.bfloat16, 4e-2)], ids=str)
def test_models_in_half_precision(dtype: torch.dtype, tolerance: float, make_images: Callable[..., Tensor]) -> None:
    """As in float32, up to the rounding of their own; a step of an optimizer turns small gradients about, and weights are
    drawn otherwise."""
    images, wrong = make_images(8, SHAPE), dict[str, str]()
    optimized = ("generate", "attribute", "Optimization", "visualize", "Grid", "Dictionary", "Atlas", "_randomization")
    for entry in ENTRIES:
        model = small().to(dtype)
        if entry in AS_GIVEN and entry not in EDITS:  # whose passes are the caller's own
            expected = f"the model, whose weights are {dtype}, cannot be run on inputs that are float32".replace(
                "torch.", ""
            )
            checked(wrong, f"{entry} of float32", ran(entry, model, images), expected)
        found = ran(entry, model, images.to(dtype) if entry in AS_GIVEN else images)
        if entry == "expanded_weights" and isinstance(found, str):
            checked(wrong, entry, found, "give it in float32")
        elif isinstance(found, str):
            wrong[entry] = found
        else:
            apart = 0.25 if entry.endswith(optimized) else tolerance
            checked(wrong, entry, _numbers(found), _numbers(ENTRIES[entry](small(), images)), apart)
    assert not wrong


def _numbers(value: Any) -> list[Tensor]:
    """The floating-point tensors of a result in float64: which concept of two that come near fits best is a matter of rounding."""
    return [each.double() for each in tensors_of(value) if each.is_floating_point()]


def test_weights_in_float8(make_images: Callable[..., Tensor]) -> None:
    images, wrong = make_images(8, SHAPE), dict[str, str]()
    for entry in ENTRIES:
        model = made(fixed_models.float8, small(), images)
        refused = entry == "parameter_randomization"
        expected = "in which numbers are only kept" if refused else ENTRIES[entry](rounded(small()), images)
        checked(wrong, entry, ran(entry, model, images), expected, 1e-5)
    assert not wrong


def test_what_was_fitted_to_a_quantized_model_is_saved_and_known_again(
    make_images: Callable[..., Tensor], tmp_path: Any
) -> None:
    images = make_images(8, SHAPE)
    for kind in (fixed_models.dynamic, fixed_models.static, fixed_models.float8):
        model = made(kind, small(), images)
        fitted = PathSimilarity(model).fit(images)
        fitted.save(tmp_path / "reference.safetensors", overwrite=True)
        again = PathSimilarity(made(kind, small(), images)).load(tmp_path / "reference.safetensors")
        assert torch.equal(again.evaluate(images).spearman, fitted.evaluate(images).spearman)
        assert fingerprint(model) == fingerprint(made(kind, small(), images)) != fingerprint(small())
