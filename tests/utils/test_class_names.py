"""Targets as people write them, and what results are called: readable, and never two of them the same."""

from __future__ import annotations

import pytest

from captum_proto._utils.class_names import file_stem, label_of, labels_of, model_stem, parse_classes, taken_for_names

NAMES = ["tench", "House Finch", "crane", "crane", "3,5"]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("3", (3,)),
        (" 12 ", (12,)),
        ("house finch", (1,)),
        ("3,5", (4,)),  # a name goes before numbers
        ("7-4,3", None),
        ("5, 3,8", (3, 5, 8)),
        ("151-153", (151, 152, 153)),
        ("2, 4-5,4", (2, 4, 5)),
    ],
)
def test_targets(text: str, target: tuple[int, ...] | None) -> None:
    assert parse_classes([text, "0"], NAMES) == [target or (3,), (0,)]


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        ("crane", NAMES, "names the classes 2, 3 alike; use the index of the intended one."),
        ("house", NAMES, 'there is no class "house"; did you mean "house finch"?'),
        ("~", NAMES, 'there is no class "~"; expected an index, a name or a superclass such as "151-268".'),
        ("flute", None, 'there is no class "flute"; expected an index or a superclass such as "151-268".'),
        ("-1", None, "there is no class"),
        ("1-", None, "there is no class"),
        ("", None, "there is no class"),
        ("5-3", NAMES, 'the superclass "5-3" is empty; expected the lower index first'),
    ],
)
def test_what_is_not_a_target(text: str, names: list[str] | None, message: str) -> None:
    with pytest.raises(ValueError, match="class") as caught:
        parse_classes([text], names)
    assert message in str(caught.value)


NUMBERS = ["1", "2", "0"]
SOME = ["background", "7", "dog", "1"]


@pytest.mark.parametrize(
    ("text", "names", "target", "label"),
    [
        ("1", NUMBERS, (0,), "1"),
        ("01", NUMBERS, (0,), "1"),
        ("0-1", NUMBERS, (0, 2), "classes 0–1"),
        ("0,2", NUMBERS, (1, 2), "classes 0, 2"),
        ("10-30", ["30", "10", "20", "5"], (0, 1, 2), "classes 10, 20, 30"),
        ("1", SOME, (3,), "1"),
        ("1-7", SOME, (1, 3), "classes 1, 7"),
        ("0", SOME, (0,), "background"),  # what is no name is an index
        ("2-3", SOME, (2, 3), "classes 2–3"),
        ("3-5", [str(digit) for digit in range(10)], (3, 4, 5), "classes 3–5"),
    ],
)
def test_numbers_are_names_before_they_are_indices(
    text: str, names: list[str], target: tuple[int, ...], label: str
) -> None:
    assert parse_classes([text], names) == [target]
    assert label_of(target, names) == label
    as_indices = parse_classes([text], None) == [target]
    assert bool(taken_for_names([text], [target], names)) is not as_indices


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        ("3", NUMBERS, 'no class "3": the classes are named by numbers, 0 to 2, and a number is a name, not an index'),
        ("0-3", NUMBERS, 'no class "3": the classes are named by numbers'),
        ("0-7", SOME, '"0-7" is unclear: 7 is the name of a class and 0 is not; name the classes one by one'),
        ("7-9", SOME, '"7-9" is unclear: 7 is the name of a class and 9 is not'),
        ("2-1", NUMBERS, 'the superclass "2-1" is empty'),
        ("0,1", ["1", "01", "0"], '"1" names the classes 0, 1 alike'),
    ],
)
def test_a_number_that_could_be_either_is_asked_about(text: str, names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match="class") as caught:
        parse_classes([text], names)
    assert message in str(caught.value)


def test_models_as_parts_of_file_names() -> None:
    assert model_stem("torchvision:resnet-18") == "torchvision_resnet-18"
    assert model_stem("models/net.py:make") == "models_net.py_make"


SPECIES = ["ash", "Norway spruce (Picea)", "crane", "crane"]


def test_labels_and_file_names() -> None:
    assert (label_of((1,), SPECIES), file_stem((1,), SPECIES)) == ("Norway spruce (Picea)", "0001_norway-spruce-picea")
    assert (label_of((3,), None), file_stem((3,), None)) == ("class 3", "0003")
    assert (label_of((1, 2, 3), SPECIES), file_stem((1, 2, 3), SPECIES)) == ("classes 1–3", "0001-0003")
    assert (label_of((0, 2), SPECIES), file_stem((0, 2), SPECIES)) == ("classes 0, 2", "0000_0002")


def test_no_two_targets_share_a_label_or_a_file_name() -> None:
    targets = [(2,), (3,), (0,), (0, 2, 4, 6, 8, 10, 12), (0, 2, 4, 6, 8, 10, 14), (0, 2, 4, 6, 9)]
    labels = labels_of(targets, SPECIES)
    assert labels[:3] == ["crane (2)", "crane (3)", "ash"]
    assert len(set(labels)) == len({file_stem(target, SPECIES) for target in targets}) == len(targets)
    assert "_and_1_more" in file_stem(targets[3], None)
