"""Formulas against those of the package compositional-explanations, whose masks are dense: beam search and proof on the same masks."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from dense_masks import pack
from test_compositional import iou, random_masks

from captum_proto.concept import CompositionalExplainer, Concept, parse_formula

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
beam = pytest.importorskip("compositional_explanations.beam")
optimal = pytest.importorskip("compositional_explanations.optimal")

CONCEPTS = 9


def by_peer(masks: np.ndarray, unit: np.ndarray) -> dict[str, str]:
    """The formulas of both searches, as the package prints them; its concepts count from 0."""
    given = [torch.from_numpy(masks[:, place].reshape(len(masks), -1).copy()) for place in range(CONCEPTS)]
    apart = torch.tensor([[a is b or not bool((a & b).any()) for b in given] for a in given])
    fires = torch.from_numpy(unit.reshape(len(unit), -1).copy())
    options = {"bitmaps": fires, "masks": given, "disjoint_info": apart, "length": 3, "device": "cpu"}
    with contextlib.redirect_stdout(io.StringIO()):
        return {
            "exact": str(optimal.compute_optimal_explanations(**options)),
            "beam": str(beam.compute_beam_explanations(beam_size=5, **options)),
        }


@pytest.mark.parametrize("seed", range(5))
def test_both_searches_find_what_the_peer_finds(tmp_path: Path, seed: int) -> None:
    masks, units = random_masks(50 + seed, CONCEPTS), random_masks(60 + seed, 2, share=0.1)
    names = [Concept(str(place), "object") for place in range(CONCEPTS)]
    concepts, firing = pack(masks, tmp_path / "m"), pack(units, tmp_path / "u")
    for search in ("exact", "beam"):
        for each in CompositionalExplainer(concepts, search=search).interpret(firing):
            text = by_peer(masks, units[:, each.unit])[search].replace("(NOT ", "NOT (")
            theirs = parse_formula(text, names)
            assert each.iou == pytest.approx(iou(theirs, masks, units[:, each.unit]), abs=1e-9)
            assert each.formula.equivalent(theirs)
