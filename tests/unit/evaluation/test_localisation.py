"""How well a map shows where the defect is: by hand, by a naive loop, and against other libraries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torchmetrics.classification import BinaryJaccardIndex
from torchmetrics.image import StructuralSimilarityIndexMeasure
from torchmetrics.retrieval import RetrievalPrecision

from ringlight.errors import DataError
from ringlight.evaluation.localisation import energy_inside, mask_iou, pointing_game, similarity

RNG = np.random.default_rng(0)
CASES = [(RNG.random((9, 13)), RNG.random((9, 13)) < 0.3) for _ in range(40)]


def test_by_hand() -> None:
    heat = np.array([[0.0, 0.2, 0.4], [0.0, 0.8, 1.0]])
    mask = np.array([[0, 0, 0], [0, 255, 255]], np.uint8)
    assert pointing_game(heat, mask)
    assert mask_iou(heat, mask, threshold=0.5) == 1
    assert mask_iou(heat, mask, threshold=0.4) == 2 / 3
    assert energy_inside(heat, mask) == pytest.approx(1.8 / 2.4)
    other = np.array([[1, 0, 0], [1, 0, 0]])
    assert (pointing_game(heat, other), mask_iou(heat, other), energy_inside(heat, other)) == (False, 0.0, 0.0)


def test_as_naive_loops_have_it() -> None:
    for heat, mask in CASES:
        best, hit, inside, total, both, either = -1.0, False, 0.0, 0.0, 0, 0
        for row in range(9):
            for column in range(13):
                value, is_in = heat[row, column], mask[row, column]
                if value > best:
                    best, hit = value, bool(is_in)
                total += value
                inside += value if is_in else 0
                both += value >= 0.5 * heat.max() and is_in
                either += value >= 0.5 * heat.max() or is_in
        assert pointing_game(heat, mask) == hit
        assert energy_inside(heat, mask) == pytest.approx(inside / total)
        assert mask_iou(heat, mask) == pytest.approx(both / either)


def test_as_other_libraries_have_it() -> None:
    """A point that hits is a precision at 1 of the places, ranked by the map."""
    precision, index = RetrievalPrecision(top_k=1), BinaryJaccardIndex()
    for heat, mask in CASES[:10]:
        marked = heat >= 0.5 * heat.max()
        assert mask_iou(heat, mask) == pytest.approx(jaccard_score(mask.ravel(), marked.ravel()))
        assert mask_iou(heat, mask) == pytest.approx(float(index(torch.tensor(marked), torch.tensor(mask))))
        places = torch.tensor(heat.ravel()), torch.tensor(mask.ravel())
        assert pointing_game(heat, mask) == bool(precision(*places, indexes=torch.zeros(9 * 13, dtype=torch.long)))
        assert energy_inside(heat, mask) == pytest.approx(np.average(mask, weights=heat))


def test_a_point_may_miss_by_the_tolerance() -> None:
    heat, mask = np.zeros((20, 20)), np.zeros((20, 20))
    heat[10, 10], mask[13, 14] = 1, 1  # 5 pixels away
    assert [pointing_game(heat, mask, tolerance=by) for by in (0, 4, 5)] == [False, False, True]


def test_a_map_of_nothing_finds_nothing() -> None:
    heat, mask = np.zeros((3, 3)), np.ones((3, 3))
    assert (pointing_game(heat, mask), mask_iou(heat, mask), energy_inside(heat, mask)) == (False, 0.0, 0.0)


def test_maps_are_alike_as_torchmetrics_and_scipy_have_it() -> None:
    first, second = RNG.random((2, 30, 41)).astype(np.float32)
    second += first
    ranks, structure = similarity(first, second)
    measure = StructuralSimilarityIndexMeasure(data_range=1.0)
    assert structure == pytest.approx(
        float(measure(*(torch.tensor(one)[None, None] for one in (first, second)))), abs=1e-5
    )
    order = [np.argsort(np.argsort(one.ravel())) for one in (first, second)]
    assert ranks == pytest.approx(np.corrcoef(*order)[0, 1])
    assert similarity(first, first) == pytest.approx((1, 1))
    assert similarity(first, first * 0)[0] == 0


def test_what_cannot_be_judged_is_refused() -> None:
    heat, mask = CASES[0]
    with pytest.raises(DataError, match=r"localisation: expected a map \(H, W\) and a mask of its size, got \(9, 13\)"):
        pointing_game(heat, mask[:, 1:])
    with pytest.raises(DataError, match="localisation: expected a mask of a defect, got one of nothing; leave the pic"):
        mask_iou(heat, mask & False)
    with pytest.raises(DataError, match="localisation: expected finite values of 0 or more, got others"):
        energy_inside(heat - 1, mask)
    with pytest.raises(DataError, match="localisation: expected finite values, got others"):
        pointing_game(heat * np.nan, mask)
    with pytest.raises(DataError, match=r"threshold: expected a share above 0, up to 1, got 0; use 0\.5"):
        mask_iou(heat, mask, threshold=0)
    with pytest.raises(DataError, match="tolerance: expected 0 pixels or more, got -1"):
        pointing_game(heat, mask, tolerance=-1)
    with pytest.raises(DataError, match=r"similarity: expected two maps \(H, W\) of the same size, 11 x 11 or more"):
        similarity(heat, heat)
    with pytest.raises(DataError, match="similarity: expected finite values, got others"):
        similarity(np.full((11, 11), np.nan), np.ones((11, 11)))
