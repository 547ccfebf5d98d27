from __future__ import annotations

from captum_proto._utils.tables import bare_percent, between, number, p_equals, p_text, percent, text_table, typographic
from captum_proto.runs.provenance import versions


def test_columns_are_aligned():
    text = text_table(["name", "n"], [["long name", "1"], ["x", "1000"]])
    assert text.splitlines() == ["name          n", "---------  ----", "long name     1", "x          1000"]


def test_figures():
    assert (number(0.12345), number(1, 1), number(float("nan"))) == ("0.123", "1.0", "–")
    assert (percent(0.567), percent(1), percent(float("nan"))) == ("56.7 %", "100.0 %", "–")


def test_ranges():
    nan = float("nan")
    assert between((0.25, 1.0)) == "0.250–1.000"
    assert between((-0.25, 1.0)) == "-0.250 to 1.000"
    assert typographic(between((-0.25, 1.0))) == "−0.250 to 1.000"
    assert between((0.5, 0.75), bare_percent) == "50.0–75.0"
    assert between((0.5, 0.75), joint=" to ") == "0.500 to 0.750"
    assert between(None) == between((nan, nan)) == bare_percent(nan) == "–"


def test_p_values():
    assert [p_text(value) for value in (0.00001, 0.0123, 0.3456, 1.0)] == ["< 0.0001", "0.012", "0.35", "1.00"]
    assert [p_equals(value) for value in (0.00001, 0.3456)] == ["< 0.0001", "= 0.35"]


def test_versions_name_what_results_depend_on():
    found = versions()
    assert {"python", "captum_proto", "torch", "torchvision", "captum", "numpy", "scipy"} == set(found)
    assert found["torch"][0].isdigit()
