"""Units of ViT, Swin and ConvNeXt: tokens, heads of attentions, units of their MLPs; and of 1-d convolutions."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from networks import seeded
from torch import Tensor, nn
from torchvision.models import ConvNeXt, SwinTransformer, VisionTransformer
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from captum_proto.capture import LayerRecorder, capture
from captum_proto.optim import (
    ChannelActivation,
    Direction,
    HeadActivation,
    InputOptimization,
    NeuronActivation,
    TensorDirection,
)
from captum_proto.optim.loss import Outputs

SHAPE = (3, 32, 32)


def vit() -> nn.Module:
    model = VisionTransformer(32, 8, 2, 4, 24, 48, num_classes=5)  # 17 tokens: one in front of 4 × 4
    nn.init.normal_(model.heads.head.weight)  # torchvision begins with zeros
    return model


def swin() -> nn.Module:
    return SwinTransformer([2, 2], 12, [2, 2], [2, 4], [4, 4], num_classes=5)


def swin_v2() -> nn.Module:
    return SwinTransformer(
        [2, 2], 12, [2, 2], [2, 4], [4, 4], num_classes=5, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2
    )  # fmt: skip


def convnext() -> nn.Module:
    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], layer_scale=1.0, num_classes=5)


class Sound(nn.Module):
    """1-d convolutions, functional and modular activation functions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.drop = nn.Conv1d(3, 6, 3), nn.ReLU(), nn.Dropout()
        self.norm, self.gelu = nn.BatchNorm1d(6), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.gelu(self.norm(self.drop(self.relu(self.conv(x.flatten(2)))))).mean(2)


#: A network, a layer, and what shape it has with its channels in front.
LAYERS = [
    (vit, "conv_proj", (24, 4, 4)),
    (vit, "encoder.dropout", (24, 17)),
    (vit, "encoder.layers.encoder_layer_1", (24, 17)),
    (vit, "encoder.layers.encoder_layer_0.self_attention[0]", (24, 17)),
    (vit, "encoder.layers.encoder_layer_0.self_attention.out_proj@input", (24, 17)),
    (vit, "encoder.layers.encoder_layer_0.mlp.0", (48, 17)),
    (vit, "encoder.layers.encoder_layer_0.mlp.1", (48, 17)),
    (vit, "encoder.layers.encoder_layer_0.mlp.3@input", (48, 17)),
    (vit, "heads.head", (5,)),
    (swin, "features.0.0", (12, 16, 16)),
    (swin, "features.0.1", (12, 16, 16)),
    (swin, "features.0", (12, 16, 16)),
    (swin, "features.1.0", (12, 16, 16)),
    (swin, "features.1.1.attn", (12, 16, 16)),
    (swin, "features.1.1.attn.proj@input", (12, 16, 16)),
    (swin, "features.1.0.mlp.1", (48, 16, 16)),
    (swin, "features.1.0.mlp.2", (48, 16, 16)),
    (swin, "features.1.0.stochastic_depth", (12, 16, 16)),
    (swin, "features.2", (24, 8, 8)),
    (swin, "features.3.0.attn.proj@input", (24, 8, 8)),
    (swin, "permute", (24, 8, 8)),
    (swin_v2, "features.1.1.attn.proj@input", (12, 16, 16)),
    (convnext, "features.0", (8, 8, 8)),
    (convnext, "features.1.0.block.0", (8, 8, 8)),
    (convnext, "features.1.0.block.1", (8, 8, 8)),
    (convnext, "features.1.0.block.3", (32, 8, 8)),
    (convnext, "features.1.0.block.4", (32, 8, 8)),
    (convnext, "features.1.0.block.5@input", (32, 8, 8)),
    (convnext, "features.1.0.block", (8, 8, 8)),
    (convnext, "features.1.0", (8, 8, 8)),
    (convnext, "features.2", (16, 4, 4)),
    (Sound, "conv", (6, 1022)),
    (Sound, "relu", (6, 1022)),
    (Sound, "drop", (6, 1022)),
    (Sound, "gelu", (6, 1022)),
]


@pytest.fixture(scope="module")
def seen() -> dict[tuple[str, str], Tensor]:
    """What each layer returns for two images, channels in front; one optimization for each network."""
    found: dict[tuple[str, str], Tensor] = {}
    for make in dict.fromkeys(make for make, _, _ in LAYERS):
        names = [layer for other, layer, _ in LAYERS if other is make]

        class Seen(Direction):
            def __init__(self, names: list[str] = names, key: str = make.__name__) -> None:
                self.layers, self.targets, self.key = tuple(names), None, key

            def check(self, outputs: Outputs) -> None:
                found.update({(self.key, name): outputs.units(name).detach() for name in self.layers})

            def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
                return outputs.units(self.layers[-1]).flatten(1).mean(1)

        start = torch.rand(2, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        InputOptimization(seeded(make).double(), Seen(), steps=1).optimize(start=start)
    return found


@pytest.mark.parametrize(
    ("make", "layer", "shape"), LAYERS, ids=[f"{make.__name__} {name}" for make, name, _ in LAYERS]
)
def test_channels_are_in_front_wherever_the_layer_has_them(seen, make, layer: str, shape: tuple[int, ...]) -> None:
    assert seen[make.__name__, layer].shape == (2, *shape)


@pytest.mark.parametrize(
    ("make", "layer", "loss"),
    [
        (vit, "encoder.layers.encoder_layer_1", lambda layer: ChannelActivation(layer, [3, 9])),
        (vit, "encoder.layers.encoder_layer_1", lambda layer: NeuronActivation(layer, [3, 9], position=[(0,), (16,)])),
        (vit, "encoder.layers.encoder_layer_1", lambda layer: NeuronActivation(layer, [3, 9])),
        (
            vit,
            "encoder.layers.encoder_layer_1.self_attention.out_proj@input",
            lambda layer: HeadActivation(layer, [0, 3], 4),
        ),
        (vit, "encoder.layers.encoder_layer_1.mlp.1", lambda layer: NeuronActivation(layer, [40, 2], position=5)),
        (swin, "features.3.1.attn.proj@input", lambda layer: HeadActivation(layer, [0, 3], 4)),
        (swin, "features.3.1.mlp.1", lambda layer: NeuronActivation(layer, [40, 2], position=(7, 0))),
        (convnext, "features.3.0.block.4", lambda layer: NeuronActivation(layer, [40, 2], position=(3, 0))),
        (Sound, "gelu", lambda layer: ChannelActivation(layer, [4, 2])),
        (Sound, "relu", lambda layer: NeuronActivation(layer, [4, 2], position=[(3,), (1020,)])),
    ],
)
def test_units_are_made_active_and_each_is_what_it_is_alone(make, layer: str, loss, untouched) -> None:
    model, objective = seeded(make).double(), loss(layer)
    options = {"steps": 12, "lr": 0.1, "redirect_relu_steps": 6}
    with untouched(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of units that were off in some steps
        result = InputOptimization(model, objective, **options).optimize(SHAPE)
    history = result.history["activation"]
    assert bool((history[-1] > 1.1 * history[0].abs() + 1e-3).all())
    alone = InputOptimization(model, objective.rows(range(1, 2)), **options).optimize(SHAPE)
    torch.testing.assert_close(alone.images[0], result.images[1], rtol=0, atol=1e-9)


# --- heads -----------------------------------------------------------------------------------------------------------------------------


def heads_of(model: nn.Module, layer: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the recorder gives of an attention's heads, and its own output."""
    attention = layer.rpartition(".")[0]
    output = f"{attention}[0]" if isinstance(model, VisionTransformer) else attention
    recorder = LayerRecorder(model, [layer, output])
    with recorder.recording():
        model(images)
        taken = recorder.take(len(images))
    return taken[layer], taken[output]


def test_the_heads_of_an_attention_are_those_of_its_formula() -> None:
    """softmax(q kᵀ / √d) v for each head, from the weights and what came in."""
    model, images = seeded(vit).double().eval(), torch.rand(2, *SHAPE, dtype=torch.float64)
    block = model.encoder.layers.encoder_layer_1
    came = capture(model, images, "encoder.layers.encoder_layer_1.ln_1")["encoder.layers.encoder_layer_1.ln_1"]
    heads, output = heads_of(model, "encoder.layers.encoder_layer_1.self_attention.out_proj@input", images)
    attention = block.self_attention
    q, k, v = (
        (came @ attention.in_proj_weight.T + attention.in_proj_bias).unflatten(2, (3, 4, 6)).permute(2, 0, 3, 1, 4)
    )
    weights = (q @ k.transpose(-1, -2) / 6**0.5).softmax(-1)
    expected = (weights @ v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(heads, expected)
    torch.testing.assert_close(attention.out_proj(heads), output)


@pytest.mark.parametrize(
    ("make", "layer"), [(swin, "features.3.1.attn.proj@input"), (swin_v2, "features.1.1.attn.proj@input")]
)
def test_the_heads_of_swin_make_its_output_and_pass_gradients(make, layer: str) -> None:
    model = seeded(make).double().eval()
    images = torch.rand(2, *SHAPE, dtype=torch.float64, requires_grad=True)
    heads, output = heads_of(model, layer, images)
    projection = model.get_submodule(layer.removesuffix("@input"))
    torch.testing.assert_close(projection(heads), output)
    weights = torch.randn_like(output)
    (by_output,) = torch.autograd.grad((output * weights).sum(), images, retain_graph=True)
    (by_heads,) = torch.autograd.grad((projection(heads) * weights).sum(), images)
    torch.testing.assert_close(by_heads, by_output)


def test_a_head_that_is_taken_out_of_the_output_projection_is_the_one(untouched) -> None:
    """What the others make of an image does not change when one head's channels are cut off behind it."""
    model, images = seeded(vit).double().eval(), torch.rand(1, *SHAPE, dtype=torch.float64)
    layer = "encoder.layers.encoder_layer_1.self_attention.out_proj@input"
    with untouched(model):
        heads, output = heads_of(model, layer, images)
    without = copy.deepcopy(model)
    projection = without.encoder.layers.encoder_layer_1.self_attention.out_proj
    with torch.no_grad():
        projection.weight[:, 6:12] = 0.0  # the second of four heads
    same, other = heads_of(without, layer, images)
    assert torch.equal(same, heads)
    torch.testing.assert_close(
        output - other,
        heads[..., 6:12] @ model.encoder.layers.encoder_layer_1.self_attention.out_proj.weight[:, 6:12].T,
    )


class Scaled(nn.MultiheadAttention):
    """An attention that does something else after its projection."""

    def forward(self, *arguments, **named):
        output, weights = super().forward(*arguments, **named)
        return output + 1, weights


def test_an_attention_that_is_not_what_it_looks_like_is_refused() -> None:
    model = seeded(vit)
    model.encoder.layers.encoder_layer_0.self_attention = Scaled(24, 4, batch_first=True)
    loss = HeadActivation("encoder.layers.encoder_layer_0.self_attention.out_proj@input", 1, heads=4)
    with pytest.raises(ValueError, match="what goes into the output projection of the Scaled cannot be told"):
        InputOptimization(model, loss, steps=1).optimize(SHAPE)


def test_timms_attention_runs_its_projection_as_a_layer() -> None:
    timm = pytest.importorskip("timm")
    model = seeded(
        lambda: timm.models.vision_transformer.VisionTransformer(
            img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=4, num_classes=5
        )
    ).double()
    loss = HeadActivation("blocks.1.attn.proj@input", [0, 3], heads=4)
    result = InputOptimization(model, loss, steps=6, lr=0.1).optimize(SHAPE)
    history = result.history["activation"]
    assert bool((history[-1] > history[0] + 0.02).all())
    images = result.images.to(torch.float64)
    tokens = capture(model, images, "blocks.1.attn")["blocks.1.attn"]
    recorder = LayerRecorder(model, ["blocks.1.attn.proj@input"])
    with recorder.recording(), torch.no_grad():
        model.eval()(images)
        heads = recorder.take(2)["blocks.1.attn.proj@input"]
    torch.testing.assert_close(model.blocks[1].attn.proj(heads).detach(), tokens)


def test_a_tensor_of_tokens_is_compared_token_by_token() -> None:
    model, image = seeded(vit).double(), torch.rand(1, *SHAPE, dtype=torch.float64)
    layer = "encoder.layers.encoder_layer_1"
    tensor = capture(model, image, layer)[layer]
    loss = TensorDirection(layer, tensor, power=2)
    result = InputOptimization(model, loss, steps=25, lr=0.1).optimize(SHAPE)

    def alike(images: Tensor) -> float:
        return float(torch.cosine_similarity(capture(model, images, layer)[layer], tensor, dim=2).mean())

    start = InputOptimization(model, loss, steps=0).optimize(SHAPE).images
    assert alike(result.images) > alike(start) + 0.02
