from __future__ import annotations

from captum_proto._utils.tables import number, percent, text_table
from captum_proto.runs.provenance import versions


def test_columns_are_aligned():
    text = text_table(["name", "n"], [["long name", "1"], ["x", "1000"]])
    assert text.splitlines() == ["name          n", "---------  ----", "long name     1", "x          1000"]


def test_figures():
    assert (number(0.12345), number(1, 1), number(float("nan"))) == ("0.123", "1.0", "–")
    assert (percent(0.567), percent(1), percent(float("nan"))) == ("56.7 %", "100.0 %", "–")


def test_versions_name_what_results_depend_on():
    found = versions()
    assert {"python", "captum_proto", "torch", "torchvision", "captum", "numpy", "scipy"} == set(found)
    assert found["torch"][0].isdigit()
