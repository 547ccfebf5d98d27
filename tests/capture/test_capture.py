"""Capture against hooks written by hand, on real architectures and on layers made to confuse it."""

from __future__ import annotations

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import seeded
from torch import Tensor, nn

from captum_proto import capture
from captum_proto.capture import Capture, select_layers


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return seeded(torchvision.models.resnet18).eval()


@pytest.fixture(scope="module")
def googlenet() -> nn.Module:
    return seeded(lambda: torchvision.models.googlenet(aux_logits=False, init_weights=False)).eval()


def hook_by_hand(model: nn.Module, images: Tensor, keep) -> dict[str, list[Tensor]]:
    """What a hook of one's own sees of every module: one entry for each call."""
    seen: dict[str, list[Tensor]] = {}
    order: list[str] = []
    handles = []
    for name, module in model.named_modules():
        if name:

            def hook(_module, _inputs, output, name=name):
                seen.setdefault(name, []).append(keep(output))
                order.append(name)

            handles.append(module.register_forward_hook(hook))
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return seen


def hook_counts(model: nn.Module) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) + len(m._backward_pre_hooks)
        for m in model.modules()
    )


# --- which layers --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "every", "leaves", "values"),
    [("resnet18", 67, 52, 8_029_672), ("googlenet", 223, 130, 13_222_072)],
)
def test_counts_of_layers_and_activations_are_the_papers(network, every, leaves, values, request):
    model = request.getfixturevalue(network)
    assert len(select_layers(model)) == len(select_layers(model, "all")) == every
    assert len(select_layers(model, "leaf")) == leaves
    plan = Capture(model, model, torch.zeros(1, 3, 224, 224))
    assert set(plan.names) == {name for name, _ in model.named_modules()} - {""}
    assert len(plan.names) == every
    assert plan.skipped == {}
    assert sum(torch.Size(output.shape).numel() for output in plan.outputs) == values
    assert len(Capture(model, model, torch.zeros(1, 3, 32, 32), "leaf").names) == leaves


@pytest.mark.parametrize("network", ["resnet18", "googlenet"])
def test_a_container_comes_after_its_children(network, request, make_images):
    model = request.getfixturevalue(network)
    names = list(capture(model, make_images(2, (3, 32, 32))))
    place = {name: i for i, name in enumerate(names)}
    for name in names:
        for parent in (name.rsplit(".", k)[0] for k in range(1, name.count(".") + 1)):
            assert place[parent] > place[name]


def test_selection_by_name_pattern_module_and_mapping(resnet18):
    assert list(select_layers(resnet18, "layer1.0.relu")) == ["layer1.0.relu"]
    assert list(select_layers(resnet18, "layer?")) == ["layer1", "layer2", "layer3", "layer4"]
    assert list(select_layers(resnet18, [resnet18.fc, "conv1", "layer[12].0.bn1"])) == [
        "fc",
        "conv1",
        "layer1.0.bn1",
        "layer2.0.bn1",
    ]
    assert select_layers(resnet18, resnet18.layer3[1].conv2) == {"layer3.1.conv2": resnet18.layer3[1].conv2}
    assert select_layers(resnet18, {"mine": resnet18.layer3}) == {"mine": resnet18.layer3}
    assert len(select_layers(resnet18, ["leaf", "layer1"])) == 53
    assert select_layers(resnet18, ["fc", resnet18.fc, "f?"]) == {"fc": resnet18.fc}


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ("layer5", ValueError, 'no layer "layer5" in ResNet; did you mean "layer'),
        (["fc", "layer1.0.rleu"], ValueError, 'did you mean "layer1.0.relu"'),
        ("zzzzzzzz*", ValueError, 'no layer "zzzzzzzz\\*"'),
        (nn.ReLU(), ValueError, "the ReLU given as a layer is not part of the model"),
        ([7], TypeError, "layer 7 is a int; expected a dotted name, a pattern or a module"),
        (7, TypeError, "layers is a int; expected names, patterns or modules"),
    ],
)
def test_a_wrong_selection_is_told_apart(resnet18, layers, error, message):
    with pytest.raises(error, match=message):
        select_layers(resnet18, layers)


def test_unknown_options_are_refused(resnet18):
    with pytest.raises(ValueError, match='repeat is "lats"; did you mean "last"'):
        capture(resnet18, torch.zeros(1, 3, 32, 32), repeat="lats")
    with pytest.raises(ValueError, match='alias is "values"; did you mean "value"'):
        capture(resnet18, torch.zeros(1, 3, 32, 32), alias="values")


# --- in place ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["resnet18", "googlenet"])
def test_values_are_those_of_a_hook_that_clones(network, request, make_images):
    model, images = request.getfixturevalue(network), make_images(2, (3, 32, 32))
    oracle = hook_by_hand(model, images, keep=lambda output: output.clone())
    captured = capture(model, images)
    assert set(captured) == set(oracle)
    for name, value in captured.items():
        assert torch.equal(value, oracle[name][-1]), name


@pytest.mark.parametrize("network", ["resnet18", "googlenet"])
def test_references_are_those_of_a_hook_that_keeps_them(network, request, make_images):
    model, images = request.getfixturevalue(network), make_images(2, (3, 32, 32))
    oracle = hook_by_hand(model, images, keep=lambda output: output)
    captured = capture(model, images, alias="reference")
    for name, value in captured.items():
        assert torch.equal(value, oracle[name][-1]), name


def test_the_two_readings_differ_where_a_layer_works_in_place(resnet18, make_images):
    images = make_images(2, (3, 32, 32))
    value = capture(resnet18, images)
    reference = capture(resnet18, images, alias="reference")
    differ = {name for name in value if not torch.equal(value[name], reference[name])}
    # Each is followed by an in-place ReLU, or by the in-place residual sum and an in-place ReLU.
    assert differ == {name for name in value if name.split(".")[-1] in ("bn1", "bn2")}
    assert float(reference["layer1.0.bn2"].min()) == 0 > float(value["layer1.0.bn2"].min())


_OPERATIONS = {
    "relu": (lambda: nn.ReLU(), lambda x: x.clamp(min=0)),
    "relu in place": (lambda: nn.ReLU(inplace=True), lambda x: x.clamp(min=0)),
    "leaky in place": (lambda: nn.LeakyReLU(0.5, inplace=True), lambda x: torch.where(x > 0, x, 0.5 * x)),
    "shift in place": (lambda: InPlaceShift(), lambda x: x - 0.25),
    "identity": (lambda: nn.Identity(), lambda x: x),
    "flip": (lambda: Flip(), lambda x: x.flip(-1)),
    "transpose": (lambda: Transpose(), lambda x: x.transpose(-1, -2)),
}


class InPlaceShift(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sub_(0.25)


class Flip(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flip(-1)


class Transpose(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(-1, -2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(_OPERATIONS)), min_size=1, max_size=8), st.integers(1, 3))
def test_any_chain_of_in_place_layers_is_seen_as_if_none_were(names, batch):
    model = nn.Sequential(*(_OPERATIONS[name][0]() for name in names))
    images = torch.linspace(-1, 1, batch * 12).view(batch, 1, 3, 4)
    given_images = images.clone()
    captured = capture(model, images)
    assert torch.equal(images, given_images)
    expected = images
    for i, name in enumerate(names):
        expected = _OPERATIONS[name][1](expected)
        assert torch.equal(captured[str(i)], expected)


def test_what_is_captured_are_copies(make_cnn, make_images):
    model, images = make_cnn(), make_images(2)
    first = capture(model, images)
    for value in first.values():
        assert value.grad_fn is None
        assert not value.requires_grad
    storages = [value.untyped_storage().data_ptr() for value in first.values()]
    assert len(set(storages)) == len(storages)


# --- calls ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("repeat", "names"), [("last", 1), ("first", 1), ("all", 2)])
def test_repeated_calls(resnet18, make_images, repeat, names):
    images = make_images(2, (3, 32, 32))
    calls = hook_by_hand(resnet18, images, keep=lambda output: output.clone())["layer1.0.relu"]
    assert len(calls) == 2
    assert not torch.equal(calls[0], calls[1])
    captured = capture(resnet18, images, "layer1.0.relu", repeat=repeat)
    expected = {
        "last": {"layer1.0.relu": calls[1]},
        "first": {"layer1.0.relu": calls[0]},
        "all": {"layer1.0.relu": calls[0], "layer1.0.relu#1": calls[1]},
    }[repeat]
    assert list(captured) == list(expected)
    assert len(captured) == names
    for name, value in expected.items():
        assert torch.equal(captured[name], value)


def test_all_calls_come_in_the_order_in_which_they_return(resnet18, make_images):
    names = list(capture(resnet18, make_images(1, (3, 32, 32)), repeat="all"))
    assert len(names) == 67 + 8  # each of the eight blocks calls its ReLU twice
    block = [name for name in names if name.startswith("layer1.0")]
    assert block == [
        "layer1.0.conv1",
        "layer1.0.bn1",
        "layer1.0.relu",
        "layer1.0.conv2",
        "layer1.0.bn2",
        "layer1.0.relu#1",
        "layer1.0",
    ]


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Tanh()
        self.second = self.first  # one module, two names
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        return self.second(self.linear(self.second(2 * x)))


def test_a_shared_module_is_one_layer_under_either_name():
    model, images = seeded(Shared), torch.rand(3, 1, 2, 2)
    first = images.flatten(1).tanh()
    second = (2 * first).tanh()
    third = model.linear(second).tanh().detach()
    everything = capture(model, images, repeat="all")
    assert list(everything) == ["first", "first#1", "linear", "first#2"]
    for name, value in zip(["first", "first#1", "first#2"], [first, second, third], strict=True):
        torch.testing.assert_close(everything[name], value)
    torch.testing.assert_close(capture(model, images, "second")["second"], third)
    assert list(capture(model, images, [model.second])) == ["first"]


# --- outputs that are no plain tensor --------------------------------------------------------------------------------------------------


class Odd(nn.Module):
    """Returns whatever it was given a function for."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor):
        return self.function(x)


class Behind(nn.Module):
    """A network that calls its layer and goes on without its output."""

    def __init__(self, function) -> None:
        super().__init__()
        self.odd = Odd(function)
        self.linear = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.odd(x)
        return self.linear(x.flatten(1))


def test_tuples_and_dicts_have_a_name_for_each_tensor():
    def nested(x):
        return {"a": x + 1, "b": (x.flatten(1), [x * 2, None]), "c": {"d": x.mean((2, 3))}}

    model, images = seeded(lambda: Behind(nested)), torch.rand(3, 3, 2, 2)
    captured = capture(model, images)
    assert list(captured) == ["odd[a]", "odd[b][0]", "odd[b][1][0]", "odd[c][d]", "linear"]
    assert torch.equal(captured["odd[a]"], images + 1)
    assert torch.equal(captured["odd[b][0]"], images.flatten(1))
    assert torch.equal(captured["odd[b][1][0]"], images * 2)
    assert torch.equal(captured["odd[c][d]"], images.mean((2, 3)))


def test_what_is_no_activation_of_an_image_is_skipped_and_the_reason_kept():
    def odd(x):
        return {
            "integers": x.long(),
            "mask": x > 0.5,
            "complex": x.to(torch.complex64),
            "no batch": x.sum(0),
            "scalar": x.sum(),
            "text": "hello",
            "none": None,
            "same": torch.ones(5, 5),
        }

    model, images = seeded(lambda: Behind(odd)), torch.rand(3, 3, 2, 2)
    plan = Capture(model, model, images)
    assert plan.names == ["linear"]
    reasons = {name.removeprefix("odd"): why for name, why in plan.skipped.items()}
    assert list(reasons) == [
        "[integers]",
        "[mask]",
        "[complex]",
        "[no batch]",
        "[scalar]",
        "[text]",
        "[none]",
        "[same]",
    ]
    assert all("not floating point" in reasons[name] for name in ("[integers]", "[mask]", "[complex]"))
    assert all("no batch axis" in reasons[name] for name in ("[no batch]", "[scalar]", "[same]"))
    assert all("no tensor" in reasons[name] for name in ("[text]", "[none]"))
    with pytest.raises(ValueError, match="none of the 1 layers gave a floating-point tensor per image"):
        capture(model, images, "odd")


class Recurrent(nn.Module):
    """Reads an image row by row, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=False)
        self.linear = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.lstm(x[:, 0].transpose(0, 1))
        return self.linear(output[-1])


def test_a_batch_axis_that_is_not_the_first_is_found():
    model, images = seeded(Recurrent).eval(), torch.rand(4, 1, 7, 6)
    with torch.no_grad():
        output, (hidden, cell) = model.lstm(images[:, 0].transpose(0, 1))
    captured = capture(model, images)
    assert list(captured) == ["lstm[0]", "lstm[1][0]", "lstm[1][1]", "linear"]
    expected = [output, hidden, cell]
    for name, value in zip(["lstm[0]", "lstm[1][0]", "lstm[1][1]"], expected, strict=True):
        assert torch.equal(captured[name], value.movedim(1, 0)), name
    assert captured["lstm[0]"].shape == (4, 7, 10)
    assert captured["lstm[1][0]"].shape == (4, 4, 5)


def windows_first(x: Tensor) -> Tensor:
    """(N, 1, 4, 6) in windows of 2 × 2, all of one image together: (6N, 4)."""
    n = len(x)
    return x.view(n, 2, 2, 3, 2).transpose(2, 3).reshape(6 * n, 4)


def test_windows_that_share_the_batch_axis_go_to_their_image():
    model, images = seeded(lambda: Windowed(windows_first)), torch.rand(3, 1, 4, 6)
    windows = capture(model, images)["odd"]
    assert windows.shape == (3, 6, 4)
    for image, own in zip(images, windows, strict=True):
        for i in range(2):
            for j in range(3):
                assert torch.equal(own[3 * i + j], image[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].flatten())


def test_windows_that_share_a_batch_axis_in_the_middle():
    def windows_second(x):
        return windows_first(x).t().unsqueeze(-1)  # (4, 6N, 1)

    model, images = seeded(lambda: Windowed(windows_second)), torch.rand(3, 1, 4, 6)
    windows = capture(model, images)["odd"]
    assert windows.shape == (3, 6, 4, 1)
    assert torch.equal(windows.squeeze(-1), windows_first(images).view(3, 6, 4))


class Windowed(Behind):
    def __init__(self, function) -> None:
        super().__init__(function)
        self.linear = nn.Linear(24, 2)


def tiny_swin() -> nn.Module:
    return torchvision.models.SwinTransformer(
        patch_size=[2, 2], embed_dim=8, depths=[2, 1], num_heads=[2, 2], window_size=[2, 2], num_classes=3
    )


def test_swin_of_torchvision():
    model, images = seeded(tiny_swin).eval().double(), torch.rand(3, 3, 16, 16, dtype=torch.float64)
    plan = Capture(model, model, images)
    # Its attention uses the weights of qkv and proj without calling those modules.
    assert set(plan.skipped.values()) == {"did not run"}
    assert {name.split(".")[-1] for name in plan.skipped} == {"qkv", "proj"}
    oracle = hook_by_hand(model, images, keep=lambda output: output.clone())
    captured = capture(model, images)
    assert set(captured) == set(oracle)
    for name, value in captured.items():
        assert torch.equal(value, oracle[name][-1]), name


@pytest.mark.parametrize("network", ["recurrent", "torchvision swin", "timm swin", "cnn"])
def test_each_row_belongs_to_its_image(network, make_cnn):
    if network == "timm swin":
        swin = pytest.importorskip("timm.models.swin_transformer")
        model = seeded(
            lambda: swin.SwinTransformer(
                img_size=16, patch_size=2, embed_dim=8, depths=(2, 1), num_heads=(2, 2), window_size=4, num_classes=3
            )
        )
        images = torch.rand(3, 3, 16, 16, dtype=torch.float64)
    elif network == "torchvision swin":
        model, images = seeded(tiny_swin), torch.rand(3, 3, 16, 16, dtype=torch.float64)
    elif network == "recurrent":
        model, images = seeded(Recurrent), torch.rand(3, 1, 7, 6, dtype=torch.float64)
    else:
        model, images = make_cnn(), torch.rand(3, 3, 12, 12, dtype=torch.float64)
    model = model.double().eval()
    together = capture(model, images, repeat="all")
    assert len(together) >= 4
    if network == "timm swin":  # four windows of 4 × 4 for each 8 × 8 image of patches
        assert together["layers.0.blocks.0.attn"].shape == (3, 4, 16, 8)
    for i in range(3):
        for name, value in capture(model, images[i : i + 1], repeat="all").items():
            torch.testing.assert_close(together[name][i], value[0], rtol=0, atol=1e-12)


# --- running -------------------------------------------------------------------------------------------------------------------------


class Lazy(nn.Module):
    """Of its six modules three never run."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.block = nn.Flatten(), nn.ModuleDict({"used": nn.Identity(), "unused": nn.Linear(2, 2)})
        self.idle = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.block["used"](self.used(x))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, ["used", "block.used"]),
        ("all", ["used", "block.used"]),
        (["all"], ["used", "block.used"]),
        ("leaf", ["used", "block.used"]),
        (["leaf"], ["used", "block.used"]),
        ("block*", ["block.used"]),
        (["block.*", "used"], ["used", "block.used"]),
        (["*used", "leaf"], ["used", "block.used"]),
        (lambda model: [model.used, "block.*"], ["used", "block.used"]),
    ],
)
def test_a_pattern_leaves_out_what_does_not_run(make_images, layers, expected):
    model = Lazy()
    plan = Capture(model, model, make_images(2), layers(model) if callable(layers) else layers)
    assert plan.names == expected
    assert set(plan.skipped) == {name for name in ("block", "block.unused", "idle") if name in plan.modules}
    assert set(plan.skipped.values()) <= {"did not run"}


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["used", "idle"], r'layer "idle" did not run in the forward pass; choose one that does, e\.g\. "used"'),
        ("idle", r'layer "idle" did not run in the forward pass; choose one that does\.$'),
        (["leaf", "idle"], 'layer "idle" did not run'),
        (lambda model: ["used", model.block["unused"]], r'layer "block\.unused" did not run'),
        (lambda model: {"mine": model.idle, "used": model.used}, 'layer "mine" did not run'),
        (
            ["used", "block.u[n]*"],
            r'none of the 1 layers that "block\.u\[n\]\*" stands for ran in the forward pass; choose',
        ),
        ("i*", 'none of the 1 layers that "i\\*" stands for ran'),
    ],
)
def test_what_is_asked_for_and_does_not_run_is_refused(make_images, layers, message):
    model = Lazy()
    with pytest.raises(ValueError, match=message):
        capture(model, make_images(2), layers(model) if callable(layers) else layers)


def test_a_model_that_takes_another_path_is_refused(make_images):
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.always = nn.Flatten()
            self.sometimes = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            x = self.always(x)
            return self.sometimes(x) if float(x.mean()) > 0 else x

    model, images = Fork(), make_images(2)
    plan = Capture(model, model, images)
    with pytest.raises(ValueError, match='layer "sometimes" did not run this time'):
        plan.stream(images - 1, lambda index, rows: None)


def test_a_stream_is_for_images_of_the_planned_size(make_cnn, make_images):
    model = make_cnn()
    plan = Capture(model, model, make_images(1))
    with pytest.raises(
        ValueError, match=r"the images have shape \(3, 8, 8\), the reference was made from \(3, 12, 12\)"
    ):
        plan.stream(make_images(2, (3, 8, 8)), lambda index, rows: None)


def test_a_stream_hands_out_flat_rows_in_order_and_returns_the_output(make_cnn, make_images):
    model, images = make_cnn(), make_images(3)
    plan = Capture(model, model, images)
    seen: list[tuple[int, torch.Size]] = []
    output = plan.stream(images, lambda index, rows: seen.append((index, rows.shape)))
    assert [index for index, _ in seen] == list(range(len(plan.outputs)))
    assert [tuple(shape) for _, shape in seen] == [(3, torch.Size(o.shape).numel()) for o in plan.outputs]
    torch.testing.assert_close(output, model(images).detach(), rtol=0, atol=0)


def test_preprocessing_and_further_arguments_reach_the_model(make_images):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x: Tensor, factor: float | Tensor, shift: float = 0.0) -> Tensor:
            return self.layer(x * factor + shift)

    model, images = Scaled(), make_images(2)
    for arguments, expected in [
        (3.0, 3 * (1 - images)),
        ((3.0,), 3 * (1 - images)),
        ((3.0, 0.5), 3 * (1 - images) + 0.5),
        (torch.tensor(3.0), 3 * (1 - images)),
    ]:
        captured = capture(model, images, preprocess=lambda x: 1 - x, additional_forward_args=arguments)
        torch.testing.assert_close(captured["layer"], expected)


def test_images_are_left_alone_by_preprocessing_in_place(make_cnn, make_images):
    model, images = make_cnn(), make_images(3)
    before = images.clone()
    captured = capture(model, images, preprocess=lambda x: x.sub_(0.5).mul_(2))
    assert torch.equal(images, before)
    expected = capture(model, (before - 0.5) * 2)
    assert all(torch.equal(captured[name], expected[name]) for name in expected)


# --- the model afterwards ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", [None, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("alias", ["value", "reference"])
def test_hooks_come_off_whatever_happens(make_cnn, make_images, problem, alias):
    model, images = make_cnn(), make_images(2)
    plan = Capture(model, model, images, alias=alias)
    assert hook_counts(model) == 0

    def consume(index: int, rows: Tensor) -> None:
        assert (hook_counts(model) > 0) or alias == "reference"
        if problem is not None and index == 3:
            raise problem("stop")

    if problem is None:
        plan.stream(images, consume)
    else:
        with pytest.raises(problem, match="stop"):
            plan.stream(images, consume)
    assert hook_counts(model) == 0


@pytest.mark.parametrize("problem", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("forward_pass", [1, 2, 3])
def test_hooks_come_off_when_the_forward_pass_fails(problem, forward_pass, make_images):
    passes = []

    def fuse(x):
        passes.append(1)
        if len(passes) == forward_pass:
            raise problem("blown")
        return x

    model = nn.Sequential(nn.Flatten(), Odd(fuse), nn.Linear(432, 2))
    with pytest.raises(problem, match="blown"):
        capture(model, make_images(2))
    assert hook_counts(model) == 0
    assert list(capture(model, make_images(2))) == ["0", "1", "2"]


def test_hooks_of_ones_own_stay_and_are_seen(make_cnn, make_images):
    model, images = make_cnn(), make_images(2)
    plain = capture(model, images)["stem"]
    handle = model.stem.register_forward_hook(lambda module, inputs, output: output * 2)
    doubled = capture(model, images)["stem"]
    assert torch.equal(doubled, plain * 2)
    assert hook_counts(model) == 1
    handle.remove()


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_gradient_mode_makes_no_difference(make_cnn, make_images, context):
    model, images = make_cnn(), make_images(2)
    expected = capture(model, images)
    with context():
        captured = capture(model, images)
    assert all(torch.equal(captured[name], expected[name]) for name in expected)
    assert not any(value.requires_grad for value in captured.values())
