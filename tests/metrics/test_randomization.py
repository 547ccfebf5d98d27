"""Sanity checks of attributions against what is known of them, and a network that comes back as it was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from captum.attr import (
    Attribution,
    FeatureAblation,
    GuidedBackprop,
    InputXGradient,
    LayerGradCam,
    NoiseTunnel,
    Saliency,
)
from networks import seeded
from scipy import stats
from torch import Tensor, nn

from captum_proto.metrics import EdgeDetector, linear_control, parameter_randomization, random_logit
from captum_proto.metrics.randomization import RandomizationResult, verdict_table, verdicts
from captum_proto.metrics.randomization.weights import find_stages, spare_weights


def _network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 36, 5),
    )


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    network = seeded(_network)
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        network.train()
        network(torch.randn(32, 1, 8, 8))  # running statistics that are others than at the beginning
        nn.init.uniform_(network[1].weight, 0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """See that a model comes back to the bit, in the same memory."""
    before = {
        name: (value, value.data_ptr(), value.clone()) for name, value in model.state_dict(keep_vars=True).items()
    }
    training = [module.training for module in model.modules()]
    yield
    after = model.state_dict(keep_vars=True)
    for name, (tensor, address, values) in before.items():
        assert after[name] is tensor
        assert tensor.data_ptr() == address
        assert torch.equal(tensor, values)
        assert tensor.grad is None
    assert [module.training for module in model.modules()] == training
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


def test_an_edge_detector_is_exactly_one_at_every_stage_and_fails(model: nn.Module, inputs: Tensor) -> None:
    result = parameter_randomization(
        EdgeDetector(model), model, inputs, 1, similarity=("spearman", "spearman_abs"), seeds=3
    )
    assert all(bool((values == 1).all()) for values in result.similarity.values())
    (verdict,) = verdicts({"edges": result}, "spearman")
    assert verdict.word == "fails"
    assert verdict.last.share.value == verdict.along.share.low == 1
    assert "fails" in verdict_table([verdict])


def test_the_gradient_of_a_linear_model_is_chance_with_the_known_spread(inputs: Tensor) -> None:
    control = linear_control(inputs, list(range(6)), seeds=60)
    values = control.result.similarity["spearman"][:, -1].flatten()
    assert control.count == len(values) == 360
    assert control.expected_spread == pytest.approx(1 / math.sqrt(63))
    assert abs(float(values.mean())) < 3 * control.expected_spread / math.sqrt(360)
    ratio = float(values.var()) / control.expected_spread**2  # a variance of 360 has chi-square's spread
    assert stats.chi2.ppf(0.001, 359) / 359 < ratio < stats.chi2.ppf(0.999, 359) / 359
    assert control.p_value == pytest.approx(2 * stats.norm.sf(abs(control.mean) * math.sqrt(63 * 360)))
    assert verdicts({"linear": control.result}, "spearman")[0].word == "passes"
    assert linear_control(inputs, 3, seeds=4).count == 4  # of one class one row is random in each network
    with pytest.raises(ValueError, match="2 targets were given for 6 inputs"):
        linear_control(inputs, [0, 1])


def test_where_nothing_is_randomized_maps_are_exactly_alike(model: nn.Module, inputs: Tensor) -> None:
    """Also those that draw random numbers."""
    tunnel = NoiseTunnel(Saliency(model))
    with unchanged(model):
        result = parameter_randomization(
            tunnel,
            model,
            inputs,
            1,
            similarity="spearman",
            seeds=2,
            stages=2,
            batch_size=4,
            nt_samples=3,
            stdevs=0.5,
            abs=False,
        )
    assert result.stages == ["none", "6 … 3", "1 … 0"]
    assert bool((result.similarity["spearman"][:, 0] == 1).all())
    assert bool((result.similarity["spearman"][:, 1:] < 0.9).all())
    assert result.mean("spearman", "none").estimate().low == 1


def test_guided_backpropagation_keeps_its_signs_where_its_output_layer_is_random() -> None:
    """With weights of one sign for each input, nothing but that sign can come back from above: Adebayo et al. in closed form."""
    signs = torch.where(torch.arange(30) % 3 == 0, -1.0, 1.0)

    def build() -> nn.Sequential:
        network = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 4))
        network[0].weight.data = network[0].weight.data.abs() * signs
        return network

    network, inputs = seeded(build), torch.rand(5, 30)
    seen: dict[str, list[Tensor]] = {"guided": [], "plain": []}
    for name, attribution, options in (
        ("guided", GuidedBackprop(network), {}),
        ("plain", Saliency(network), {"abs": False}),
    ):
        parameter_randomization(
            attribution,
            network,
            inputs,
            2,
            similarity="spearman",
            stages=["2"],
            seeds=6,
            callback=lambda seed, stage, maps, name=name: seen[name].append(maps),
            **options,
        )
    # The first is with nothing changed.
    assert all(bool((maps.sign() == signs).all() or (maps == 0).all(1).any()) for maps in seen["guided"])
    assert sum(bool((maps.sign() != signs).any()) for maps in seen["plain"][1:]) >= 5


def test_the_orders_draw_the_same_weights(model: nn.Module, inputs: Tensor) -> None:
    found = {
        order: parameter_randomization(Saliency(model), model, inputs, 1, order, "spearman", seeds=[7], abs=False)
        for order in ("cascading", "bottom_up", "independent")
    }
    down, up, alone = (found[order].similarity["spearman"][0] for order in ("cascading", "bottom_up", "independent"))
    assert found["cascading"].stages == ["none", "6", "3", "1", "0"]
    assert found["bottom_up"].stages == ["none", "0", "1", "3", "6"]
    assert torch.equal(down[-1], up[-1])  # all of it is random
    assert torch.equal(down[1], alone[1])  # the output layer alone
    assert torch.equal(up[1], alone[-1])  # the first layer alone
    assert not torch.equal(down[-1], alone[-1])
    again = parameter_randomization(Saliency(model), model, inputs, 1, similarity="spearman", seeds=[8, 7], abs=False)
    assert torch.equal(again.similarity["spearman"][1], down)
    with pytest.raises(ValueError, match="randomized one by one"):
        verdicts({"alone": found["independent"]}, "spearman")


def test_weights_are_drawn_by_each_module_and_statistics_stay(model: nn.Module, inputs: Tensor) -> None:
    stages = find_stages(model, lambda: model(inputs), 1)
    with unchanged(model):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with spare_weights(model, "reset") as weights:
            (_,) = weights.drawn(stages, "cascading", 3)
            assert torch.equal(model[1].running_mean, before["1.running_mean"])
            assert not torch.equal(before["1.running_mean"], torch.zeros(6))
            assert torch.equal(model[1].weight, torch.ones(6))  # what BatchNorm2d begins with
            bound = 1 / math.sqrt(6 * 9)
            assert 0.9 * bound < float(model[3].weight.detach().abs().max()) <= bound
            weights.restore()
            assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        with spare_weights(model, "permute") as weights:
            list(weights.drawn(stages, "cascading", 3))
            assert not torch.equal(model[3].weight, before["3.weight"])
            assert torch.equal(model[3].weight.flatten().sort().values, before["3.weight"].flatten().sort().values)
        with spare_weights(model, lambda module: [nn.init.constant_(p, 2.0) for p in module.parameters()]) as weights:
            list(weights.drawn(stages, "cascading", 3))
            assert bool((model[6].bias == 2).all())


def test_stages_follow_the_order_in_which_layers_run() -> None:
    class Reversed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first, self.unused = nn.Linear(6, 2), nn.Linear(4, 6), nn.Linear(4, 4)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x)[:, None]
            result: Tensor = self.last(self.attention(hidden, hidden, hidden, need_weights=False)[0][:, 0])
            return result

    network = Reversed().eval()

    def forward() -> Any:
        return network(torch.rand(2, 4))

    names = [stage.name for stage in find_stages(network, forward)]
    assert names[0] == "last"
    assert names[-1] == "first"
    assert set(names[1:-1]) == {"attention", "attention.out_proj"}
    assert [stage.modules for stage in find_stages(network, forward, ["first", "last"])] == [["last"], ["first"]]
    for given, words in (
        (9, "stages is 9, but the model has 4 modules"),
        (["unused"], '"unused" has no parameters that take part'),
        (["attention", "attention.out_proj"], 'is in the stages "attention" and "attention.out_proj"'),
    ):
        with pytest.raises(ValueError, match=words):
            find_stages(network, forward, given)  # type: ignore[arg-type]


def test_the_network_comes_back_after_an_error(model: nn.Module, inputs: Tensor) -> None:
    class Fails(Saliency):
        calls = 0

        def attribute(self, *args: Any, **kwargs: Any) -> Tensor:
            self.calls += 1
            if self.calls > 3:
                raise RuntimeError("midway")
            return super().attribute(*args, **kwargs)

    model.train()
    with unchanged(model), pytest.raises(RuntimeError, match="midway"):
        parameter_randomization(Fails(model), model, inputs, 1, similarity="spearman")
    model.eval()


def test_the_target_is_fixed_or_taken_anew(model: nn.Module, inputs: Tensor) -> None:
    fixed, anew = [], []
    for kept, options in ((fixed, {"target": model(inputs).argmax(1).tolist()}), (anew, {"new_target": True})):

        class Noted(Saliency):
            def attribute(self, inputs: Any, target: Any = None, kept: list[Any] = kept, **kwargs: Any) -> Tensor:
                kept.append(target)
                return super().attribute(inputs, target, **kwargs)

        result = parameter_randomization(
            Noted(model), model, inputs, similarity="spearman", seeds=4, stages=1, **options
        )
        assert result.settings["target"] == ("fixed" if kept is fixed else "taken anew")
    assert all(target == fixed[0] for target in fixed)
    assert anew[0] == fixed[0]
    assert any(target != anew[0] for target in anew[2:])


def test_any_attribution_is_taken(model: nn.Module, inputs: Tensor) -> None:
    grad_cam = parameter_randomization(
        LayerGradCam(model, model[4]),
        model,
        inputs,
        1,
        similarity="spearman",
        seeds=2,
        stages=1,
        relu_attributions=True,
    )
    assert grad_cam.similarity["spearman"].shape == (2, 2, 6)
    ablation = parameter_randomization(
        FeatureAblation(model), model, inputs[:2], 1, similarity="spearman", seeds=1, stages=1
    )
    assert ablation.undefined("spearman") == 0

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 3)

        def forward(self, a: Tensor, b: Tensor, scale: float) -> Tensor:
            return scale * self.linear(torch.tanh(torch.cat([a, b], 1)))  # type: ignore[no-any-return]

    two = Two()
    result = parameter_randomization(
        InputXGradient(two),
        two,
        (torch.rand(3, 5), torch.rand(3, 3)),
        0,
        similarity="spearman",
        seeds=2,
        additional_forward_args=2.0,
    )
    assert result.similarity["spearman"].shape == (2, 2, 3)


def test_a_map_that_is_the_same_for_all_images_and_networks_fails(model: nn.Module, inputs: Tensor) -> None:
    """Chance is what maps of other images have in common; all of it is not chance."""
    middle = torch.exp(-((torch.arange(8.0) - 3.5) ** 2))

    class Middle(Attribution):
        def attribute(self, inputs: Tensor, target: Any = None) -> Tensor:
            return (middle[:, None] * middle).expand(len(inputs), 1, 8, 8)

    result = parameter_randomization(Middle(model), model, inputs, 1, similarity="spearman", seeds=2)
    assert verdicts({"middle": result}, "spearman")[0].word == "fails"


def test_maps_of_another_class(model: nn.Module, inputs: Tensor) -> None:
    edges = random_logit(EdgeDetector(model), inputs, 1, 5, "spearman", seeds=3)
    assert bool((edges.similarity["spearman"] == 1).all())
    gradient = random_logit(Saliency(model), inputs, [0, 1, 2, 3, 4, 0], 5, "spearman", seeds=8, abs=False)
    assert float(gradient.similarity["spearman"][:, 1].mean()) < 0.5
    assert verdicts({"edges": edges}, "spearman")[0].word == "fails"
    with pytest.raises(ValueError, match="target is 7; expected a class from 0 to 4"):
        random_logit(Saliency(model), inputs, 7, 5)


def test_results_are_saved_and_read(model: nn.Module, inputs: Tensor, tmp_path: Path) -> None:
    result = parameter_randomization(Saliency(model), model, inputs, 1, similarity="spearman", seeds=2, abs=False)
    result.save(tmp_path / "saliency.safetensors")
    again = RandomizationResult.load(tmp_path / "saliency.safetensors")
    assert again.stages == result.stages
    assert torch.equal(again.similarity["spearman"], result.similarity["spearman"])
    assert again.retained("spearman") == result.retained("spearman")
    assert again.table() == result.table()
    (tmp_path / "saliency.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"saliency\.safetensors"):
        RandomizationResult.load(tmp_path / "saliency.safetensors")


class _Odd(Attribution):
    """Returns whatever it is told."""

    def __init__(self, model: nn.Module, value: Any) -> None:
        super().__init__(model)
        self.value = value

    def attribute(self, inputs: Tensor, target: Any = None) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attribution": 3}, "attribution is a int; expected one of Captum's"),
        ({"model": nn.Linear(2, 2)}, "the Saliency does not refer to the model that was given"),
        ({"model": "digits"}, "model is a str; expected the torch.nn.Module"),
        ({"inputs": torch.rand(0, 1, 8, 8)}, "inputs hold 0 rows"),
        ({"inputs": [1]}, "inputs is a list"),
        ({"target": [1, 2]}, "2 targets were given for 6 inputs"),
        ({"order": "top_down"}, 'there is no order "top_down"'),
        ({"init": "zeros"}, "init is 'zeros'; expected"),
        ({"seeds": [1, 1]}, r"seeds are \[1, 1\]"),
        ({"seeds": 0}, "seeds is 0; expected at least 1"),
        ({"stages": 0}, "stages is 0; expected at least 1"),
        ({"stages": ["fc"]}, 'there is no layer "fc"'),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_input_is_a_sentence(change: dict[str, Any], words: str, model: nn.Module, inputs: Tensor) -> None:
    given = {
        "attribution": Saliency(model),
        "model": model,
        "inputs": inputs,
        "target": 1,
        "similarity": "spearman",
        **change,
    }
    with unchanged(model), pytest.raises((ValueError, TypeError), match=words):
        parameter_randomization(**given)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.rand(1, 1, 8, 8), r"returned shape \(1, 1, 8, 8\) for 6 inputs; maps are compared input by input"),
        (torch.rand(6), r"returned shape \(6,\) for 6 inputs"),
        (torch.ones(6, 4, dtype=torch.int64), r"returned torch.int64; expected a floating-point tensor"),
        (None, "returned NoneType"),
    ],
)
def test_an_attribution_that_returns_something_else_is_told(
    value: Any, words: str, model: nn.Module, inputs: Tensor
) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        parameter_randomization(_Odd(model, value), model, inputs, 1, similarity="spearman")


def test_modules_that_cannot_be_reset_are_named(inputs: Tensor) -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.linspace(1.0, 2.0, 64))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    network = nn.Sequential(nn.Flatten(), Scale(), nn.Linear(64, 2)).eval()
    with (
        unchanged(network),
        pytest.raises(ValueError, match=r'"1" has parameters of its own and no reset_parameters.* init="permute"'),
    ):
        parameter_randomization(Saliency(network), network, inputs, 1, similarity="spearman", seeds=1)
    parameter_randomization(Saliency(network), network, inputs, 1, similarity="spearman", seeds=1, init="permute")
    normed = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(64, 2))).eval()
    with pytest.raises(ValueError, match="is parametrized"):
        parameter_randomization(Saliency(normed), normed, inputs, 1, similarity="spearman", seeds=1)
