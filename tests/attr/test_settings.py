"""Every choice of a generation is declared once: what generate takes, what the command line offers and what is recorded agree with it."""

from __future__ import annotations

import argparse
import inspect
from dataclasses import MISSING, fields

import numpy as np
import pytest
import torch
from torch import nn

from captum_proto import PRESETS, PrototypeGeneration
from captum_proto._utils.documentation import documented_arguments, summary_of
from captum_proto._utils.errors import CaptumProtoError
from captum_proto.attr import GenerationSettings
from captum_proto.cli.options import add_fields
from captum_proto.experiments.options import AFFINE, OPTIONS, generation_options
from captum_proto.optim.settings import OptimizationSettings

FIELDS = {field.name: field for field in fields(GenerationSettings)}
#: What is not a choice of the settings: what is generated, from which numbers, how much at a time, and who looks on.
BESIDE = {"self", "target", "image_shape", "additional_forward_args", "start", "seed", "batch_size", "callback"} | {
    "snapshot_steps",
    "show_progress",
    "snapshot",
}


def test_generate_takes_the_fields_with_their_defaults() -> None:
    parameters = inspect.signature(PrototypeGeneration.generate).parameters
    assert {name for name in parameters if name not in BESIDE} == set(FIELDS)
    for name, field in FIELDS.items():
        assert field.default is not MISSING
        assert parameters[name].default == field.default, name
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY


def test_every_field_is_documented_and_generate_shows_it() -> None:
    documentation = documented_arguments(GenerationSettings)
    assert set(documentation) == set(FIELDS)
    assert set(documented_arguments(OptimizationSettings)) == {field.name for field in fields(OptimizationSettings)}
    shown = inspect.getdoc(PrototypeGeneration.generate)
    assert shown is not None
    for entry in documentation.values():
        assert entry.splitlines()[0] in shown
    assert "…" not in shown.split("Returns:")[0].split("start (Tensor")[1].split("seed (int")[0].splitlines()[2]


#: Of fields alike: what they do not take.
WRONG: list[tuple[str, tuple[object, ...]]] = [
    (
        "lr eps noise warmup_tolerance high_frequency_weight diversity_weight natural_statistics_weight match_weight match_exact_weight",
        ("a", ["a"], (0.1,), True, {"a": 1}, float("nan"), -1.0, object()),
    ),
    ("betas value_range", ("a", 0.5, None, ("a", "b"), (0.5,), (2.0, 1.0), (0.1, 0.2, 0.3), {"a": 1})),
    ("steps warmup_steps evaluation_draws redirect_relu_steps", ("a", ["a"], 1.5, -1, True, None)),
    ("clamp preprocess_first fold_batch_norm cuda_graph", ("no", ["a"], None, 2, 0.5)),
    ("channels_last", ("no", ["a"], {"a": 1}, 2)),
    ("lr_schedule optimizer class_loss", (["a"], {"a": 1}, None, 3, "sgd")),
    ("high_frequency_power", ("a", [1], 3, None)),
    ("match_layers", (3, [], [1], {"a": 1})),
    ("transform parametrization diversity autocast natural_statistics match regularizer", ("a", ["a"], 3, {"a": 1})),
]


def test_the_wrong_values_are_of_all_fields() -> None:
    assert {name for names, _ in WRONG for name in names.split()} == set(FIELDS)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for names, values in WRONG for name in names.split() for value in values]
)
def test_a_value_that_cannot_be_is_refused_in_a_sentence(name: str, value: object) -> None:
    generation = PrototypeGeneration(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
    options = {"steps": 1, "warmup_steps": 0, "evaluation_draws": 0, "diversity": "pixels", name: value}
    with pytest.raises(CaptumProtoError) as error:
        generation.generate([0, 0], (1, 4, 4), **options)
    assert str(error.value).startswith(name)
    assert "expected " in str(error.value)


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    given = GenerationSettings(
        lr=np.float32(0.5), eps=torch.tensor(1e-8), clamp=np.True_, value_range=np.array([0.0, 2.0])
    )
    assert (given.lr, given.clamp, given.value_range) == (0.5, True, (0.0, 2.0))


def test_whole_numbers_among_the_decay_rates_are_numbers() -> None:
    generation = PrototypeGeneration(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
    for betas in ((0, 0.99), [0.5, 0], np.array([0, 0.9])):
        recorded = generation.generate(1, (1, 4, 4), steps=2, warmup_steps=0, betas=betas).settings["betas"]
        assert recorded == [float(beta) for beta in betas]
        assert all(type(beta) is float for beta in recorded)


def test_an_option_for_each_field_with_its_documentation() -> None:
    parser = argparse.ArgumentParser()
    add_fields(parser.add_argument_group("settings"), GenerationSettings)
    given = vars(parser.parse_args([]))
    assert given == dict.fromkeys(FIELDS)  # what is not given is None, and the preset's
    text = " ".join(parser.format_help().split())
    for name, entry in documented_arguments(GenerationSettings).items():
        flag = name.replace("_", "-")
        assert f"--{flag}" in text or f"--no-{flag}" in text
        assert " ".join(summary_of(entry).removeprefix("whether ").split()[:5]) in text
    line = "--lr 0.1 --no-clamp --no-fold-batch-norm --preprocess-first --no-channels-last --betas 0.8 0.99 --high-frequency-power 2"
    given = vars(parser.parse_args([*line.split(), "--transform", "none", "--autocast", "bfloat16"]))
    assert given["lr"] == 0.1
    assert (given["clamp"], given["fold_batch_norm"], given["preprocess_first"], given["channels_last"]) == (
        False,
        False,
        True,
        False,
    )
    assert given["betas"] == [0.8, 0.99]
    assert (given["high_frequency_power"], given["transform"], given["autocast"]) == (2, "none", "bfloat16")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["--parametrization", "pixel"], 'did you mean "pixels"'),
        (["--transform", "feature-visualization"], 'it is called "feature_visualization" now'),
        (["--lr-schedule", "x"], "expected one of constant, cosine"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_the_one_that_is_near(line, sentence, capsys) -> None:
    parser = argparse.ArgumentParser()
    add_fields(parser.add_argument_group("settings"), GenerationSettings)
    with pytest.raises(SystemExit):
        parser.parse_args(line)
    assert sentence in capsys.readouterr().err


def test_a_sweep_may_name_every_field() -> None:
    assert set(OPTIONS) == {"preset", *AFFINE, *FIELDS}
    for preset in PRESETS.values():
        assert set(preset) <= set(FIELDS)
    plain = {
        "steps": 3,
        "betas": [0.8, 0.99],
        "autocast": "bfloat16",
        "parametrization": {"name": "phase", "contrast": 2},
    }
    settings = GenerationSettings(**generation_options(plain))
    assert (settings.steps, settings.betas, settings.autocast) == (3, (0.8, 0.99), torch.bfloat16)
    assert settings.to_json()["parametrization"]["contrast"] == 2


def test_every_field_is_recorded() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    recorded = PrototypeGeneration(model).generate(1, (1, 8, 8), steps=2, warmup_steps=1).settings
    assert set(FIELDS) <= set(recorded)
    assert recorded["high_frequency_weight"] == pytest.approx(64 / 150.528)  # the value that None stands for


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": -1}, "steps is -1"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"high_frequency_power": 3}, "expected 1 or 2"),
        ({"high_frequency_weight": -1}, "high_frequency_weight is -1"),
        ({"evaluation_draws": -1}, "evaluation_draws is -1"),
        ({"diversity_weight": 2.0}, "diversity is None"),
        ({"natural_statistics_weight": 2.0}, "natural_statistics is None"),
        ({"class_loss": "logits"}, "class_loss is"),
        ({"value_range": (1, 0)}, "value_range is"),
        ({"lr_schedule": "linear"}, "lr_schedule is"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(change, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        GenerationSettings(**change)


def test_the_help_is_the_first_sentence() -> None:
    assert summary_of(
        "lr (float, optional): Learning rate of Adam, in units\n    of pixels; the paper's: 0.05. Default: 0.05"
    ) == ("learning rate of Adam, in units of pixels; the paper's: 0.05")
