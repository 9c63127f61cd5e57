"""Retrieval: by hand, against a naive loop and against pytorch-metric-learning; groups, lone classes, intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ringlight.errors import DataError
from ringlight.evaluation import nearest as module
from ringlight.evaluation.rates import rate_interval
from ringlight.evaluation.retrieval import Retrieval, retrieval_metrics

CLASSES = ("good", "pore", "dent", "crack")


@pytest.fixture(scope="module")
def cloud() -> tuple[Any, Any]:
    """Sixty records of four overlapping classes; one class has a single record."""
    rng = np.random.default_rng(3)
    labels = np.concatenate([rng.integers(0, 3, 59), [3]])
    return (rng.normal(size=(4, 8))[labels] + rng.normal(size=(60, 8))).astype(np.float32), labels


def scored(rows: Any, labels: Any, *others: Any, **given: Any) -> Retrieval:
    return retrieval_metrics(rows, labels, *others, **{"classes": CLASSES, "num_resamples": 100, **given})


def naive(rows: Any, labels: Any, groups: Any = None) -> dict[str, list[float]]:
    """Every query by itself, as the definitions read."""
    unit = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
    found: dict[str, list[float]] = {"recall_at_1": [], "recall_at_4": [], "r_precision": [], "map_at_r": []}
    for query in range(len(rows)):
        others = [
            other for other in range(len(rows))
            if other != query and (groups is None or groups[other] != groups[query])
        ]  # fmt: skip
        others.sort(key=lambda other: (-float(unit[query] @ unit[other]), other))
        right = [labels[other] == labels[query] for other in others]
        total = sum(right)
        if not total:
            continue
        found["recall_at_1"].append(any(right[:1]))
        found["recall_at_4"].append(any(right[:4]))
        found["r_precision"].append(sum(right[:total]) / total)
        found["map_at_r"].append(sum(right[i] * sum(right[: i + 1]) / (i + 1) for i in range(total)) / total)
    return found


def test_by_hand() -> None:
    """One query at angle 0; the gallery by rising angle: wrong, right, wrong, right. R = 2."""
    angles = np.radians([10, 20, 30, 40])
    gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = scored([[1.0, 0.0]], [0], gallery, [1, 0, 1, 0])
    assert found.scores == {
        "recall_at_1": 0.0, "recall_at_2": 1.0, "recall_at_4": 1.0, "recall_at_8": 1.0, "precision_at_1": 0.0,
        "r_precision": 0.5,  # of the first two, one
        "map_at_r": 0.25,  # (0 + 1/2) / 2
    }  # fmt: skip
    assert (found.num_queries, found.num_gallery, found.num_hidden) == (1, 4, 0)


@pytest.mark.parametrize("grouped", [False, True])
def test_equals_a_naive_loop(cloud: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, *, grouped: bool) -> None:
    rows, labels = cloud
    groups = [f"part {row // 3}" for row in range(60)] if grouped else None
    monkeypatch.setattr(module, "_BLOCK_CELLS", 60 * 7)
    found = scored(rows, labels, groups=groups, ks=(1, 4))
    for name, values in naive(rows, labels, groups).items():
        assert found.scores[name] == pytest.approx(np.mean(values), abs=1e-12), name
    assert found.num_hidden == (120 if grouped else 0)


def test_equals_pytorch_metric_learning(cloud: tuple[Any, Any]) -> None:
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    names = {
        "precision_at_1": "precision_at_1",
        "r_precision": "r_precision",
        "mean_average_precision_at_r": "map_at_r",
    }
    calculator = AccuracyCalculator(include=tuple(names), k="max_bin_count", knn_func=CustomKNN(CosineSimilarity()))
    rows, labels = (torch.tensor(part) for part in cloud)
    for query, gallery in ((slice(None), None), (slice(20), slice(20, None))):
        sides = (query,) if gallery is None else (query, gallery)
        theirs = calculator.get_accuracy(*(part for side in sides for part in (rows[side], labels[side])))
        ours = scored(*(part[side] for side in sides for part in cloud))
        for name, own in names.items():
            assert ours.scores[own] == pytest.approx(theirs[name], abs=1e-6), name


def test_a_class_of_one_record_is_left_out_and_told(cloud: tuple[Any, Any]) -> None:
    found = scored(*cloud)
    assert (found.num_queries, found.num_undefined) == (59, 1)
    assert found.notes == ("1 query is left out: no other record of the class in the gallery (crack)",)
    assert found.per_class["crack"] == {
        "num_queries": 0, "num_undefined": 1, "precision_at_1": None, "map_at_r": None,
    }  # fmt: skip


def test_pictures_of_one_part_do_not_answer_each_other() -> None:
    """Two pictures of each part, alike to the last bit, between classes that cannot be told apart otherwise."""
    rows = np.repeat(np.random.default_rng(0).normal(size=(200, 16)), 2, axis=0)
    labels = np.repeat(np.random.default_rng(1).integers(0, 2, 200), 2)
    pretended = scored(rows, labels)
    honest = scored(rows, labels, groups=np.repeat(np.arange(200), 2))
    assert pretended.scores["precision_at_1"] == 1.0
    assert honest.scores["precision_at_1"] < 0.6
    assert (honest.unit, honest.num_units) == ("group", 200)


def test_where_no_query_has_an_answer_there_are_no_scores() -> None:
    found = scored([[1.0, 0.0], [0.0, 1.0]], [0, 1])
    assert (found.scores, found.intervals, found.num_undefined) == ({}, {}, 2)
    assert found.to_dict()["map_at_r"] is None
    assert found.to_dict()["recall_at"] == {"1": None, "2": None, "4": None, "8": None}


def test_rates_have_wilsons_interval_and_means_the_group_bootstraps(cloud: tuple[Any, Any]) -> None:
    rows, labels = cloud
    groups = np.arange(60) // 3
    found = scored(rows, labels, groups=groups, num_resamples=2000)
    first = np.array(naive(rows, labels, groups)["recall_at_1"], float)
    expected = rate_interval(first, groups=groups[labels != 3])
    assert expected is not None
    assert found.intervals["recall_at_1"].to_list() == pytest.approx(expected.to_list())
    values = np.array(naive(rows, labels, groups)["map_at_r"])
    drawn, rng = [], np.random.default_rng(0)
    for _ in range(4000):
        units = rng.integers(0, 20, 20)
        kept = np.concatenate([values[groups[labels != 3] == unit] for unit in units])
        drawn.append(kept.mean())
    # Twenty units: the percentiles are those of the expanded tails (evaluation/percentiles.py).
    low, high = np.quantile(drawn, [0.0159, 1 - 0.0159])
    assert found.intervals["map_at_r"].method == "bootstrap"
    assert found.intervals["map_at_r"].to_list() == pytest.approx([low, high], abs=0.012)


def test_a_perfect_embedding_is_judged_like_a_rate() -> None:
    rows = np.eye(2)[[0] * 6 + [1] * 6]
    found = scored(rows, [0] * 6 + [1] * 6)
    assert found.scores["map_at_r"] == 1.0
    assert str(found.intervals["map_at_r"]) == "1.000 [0.758, 1.000]"


def test_the_same_numbers_again(cloud: tuple[Any, Any]) -> None:
    assert scored(*cloud, seed=4).to_dict() == scored(*cloud, seed=4).to_dict()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ks": ()}, r"ks: expected at least one k, each 1 or more, got \[\]; use 1, 2, 4, 8"),
        ({"ks": (1, 0)}, r"ks: expected at least one k, each 1 or more, got \[1, 0\]"),
        ({"labels": [0, 9]}, "labels: expected class numbers below 4, the number of classes, got 9"),
        ({"gallery": [[1.0, 0.0]]}, "gallery_labels: expected the classes of the gallery, got none; pass one number"),
        ({"confidence": 1.0}, "confidence: expected a number between 0 and 1, got 1.0"),
        ({"num_resamples": 0, "labels": [0, 0]}, "num_resamples: expected 1 resample or more, got 0"),
    ],
)
def test_what_cannot_be_scored_is_refused(given: dict[str, Any], message: str) -> None:
    usual: dict[str, Any] = {"embeddings": [[1.0, 0.0], [0.0, 1.0]], "labels": [0, 1], "classes": CLASSES}
    with pytest.raises(DataError, match=message):
        retrieval_metrics(**{**usual, **given})
