"""Heads that go by nearness: scikit-learn's nearest centroid and nearest neighbours on unit features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ConfigError, Problems
from ringlight.losses import LOSSES
from ringlight.models.heads import LEAST, CosineHead
from ringlight.training.head_problem import Problem
from ringlight.training.heads import HEADS
from ringlight.training.heads_near import NEIGHBORS, CosinePrototypes, NearestNeighbors


def problem_of(
    num: int = 60, *, multilabel: bool = False, num_folds: int = 3, weights: Tensor | None = None, seed: int = 5
) -> Problem:
    rng = np.random.default_rng(seed)
    first = np.arange(num) % 3
    values = rng.normal(size=(num, 6)) + 1.2 * np.eye(3, 6)[first]
    targets: Any = torch.tensor(first)
    if multilabel:
        targets = torch.tensor(rng.random((num, 3)) < 0.2 + 0.6 * np.eye(3)[first]).float()
    parts = np.array_split(rng.permutation(num), num_folds) if num_folds else []
    task: Any = "multilabel" if multilabel else "multiclass"
    criterion = LOSSES.build(
        "bce_with_logits" if multilabel else "cross_entropy", num_classes=3, task=task, class_counts=[20] * 3,
        num_records=num, reduction="none",
    )  # fmt: skip
    return Problem(
        features=torch.tensor(values, dtype=torch.float32), targets=targets, task=task, num_classes=3,
        criterion=criterion, weights=weights, folds=[(np.setdiff1d(np.arange(num), part), part) for part in parts],
    )  # fmt: skip


def unit(features: Tensor) -> np.ndarray:
    return F.normalize(features.double(), dim=1).numpy()


def cosine_head(problem: Problem) -> CosineHead:
    head = CosinePrototypes().fit(problem).module
    assert isinstance(head, CosineHead)
    return head


# --- prototypes -------------------------------------------------------------------------------------------------------


def test_the_nearest_prototype_is_the_nearest_centroid_of_unit_features() -> None:
    """Centroids are brought to unit length as well: the nearest of unit vectors is that of the largest cosine."""
    problem = problem_of()
    other = NearestCentroid().fit(unit(problem.features), problem.targets.numpy())
    other.centroids_ /= np.linalg.norm(other.centroids_, axis=1, keepdims=True)
    told = cosine_head(problem).cosines(problem.features)
    assert told.argmax(1).tolist() == other.predict(unit(problem.features)).tolist()


def test_a_prototype_by_hand() -> None:
    """Class 0 is seen at 0 and at 90 degrees, whatever the lengths: its prototype points to 45."""
    problem = problem_of(num_folds=0)
    problem = Problem(
        features=torch.tensor([[5.0, 0.0], [0.0, 0.1], [-1.0, 0.0]]), targets=torch.tensor([0, 0, 1]),
        task="multiclass", num_classes=3, criterion=problem.criterion,
    )  # fmt: skip
    head = cosine_head(problem)
    np.testing.assert_allclose(head.weight.detach(), [[0.5**0.5, 0.5**0.5], [-1, 0], [0, 0]], atol=1e-6)
    cosines = head.cosines(torch.tensor([[3.0, 3.0]])).detach()
    np.testing.assert_allclose(cosines, [[1, -(0.5**0.5), 0]], atol=1e-6)


@pytest.mark.parametrize("multilabel", [False, True])
def test_a_weight_is_what_so_many_copies_of_the_record_are(multilabel: bool) -> None:
    """The multi-label difference of two means once divided weighted sums by plain counts.

    A label whose records count ten times then outweighed the records without it tenfold.
    """
    times = torch.tensor(np.random.default_rng(1).integers(1, 12, 60))
    problem = problem_of(multilabel=multilabel, num_folds=0, weights=times)
    repeated = Problem(
        features=problem.features.repeat_interleave(times, 0), targets=problem.targets.repeat_interleave(times, 0),
        task=problem.task, num_classes=3, criterion=problem.criterion,
    )  # fmt: skip
    first, second = cosine_head(problem), cosine_head(repeated)
    torch.testing.assert_close(first.weight, second.weight, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.softmax(first(problem.features), 1), torch.softmax(second(problem.features), 1), atol=5e-3, rtol=5e-3
    )


def test_scaling_all_weights_changes_no_prototype() -> None:
    weights = torch.tensor(np.random.default_rng(1).uniform(0.1, 3, 60))
    first, second = (
        cosine_head(problem_of(multilabel=True, num_folds=0, weights=weights * factor)) for factor in (1, 1e-3)
    )
    torch.testing.assert_close(first.weight, second.weight, atol=1e-5, rtol=1e-5)


def test_a_multi_label_prototype_is_the_difference_of_the_means_with_and_without_the_label() -> None:
    problem = problem_of(multilabel=True)
    rows, has = unit(problem.features), problem.targets.numpy() > 0
    for k, prototype in enumerate(cosine_head(problem).weight.detach().numpy()):
        difference = rows[has[:, k]].mean(axis=0) - rows[~has[:, k]].mean(axis=0)
        np.testing.assert_allclose(prototype, difference / np.linalg.norm(difference), atol=1e-5)


@pytest.mark.parametrize("multilabel", [False, True])
def test_scale_and_bias_are_the_best_for_the_held_out_cosines(multilabel: bool) -> None:
    problem = problem_of(multilabel=multilabel)
    fitted = CosinePrototypes().fit(problem)
    head = fitted.module
    assert isinstance(head, CosineHead)
    cosines = torch.zeros(60, 3)
    for rows, held in problem.folds:
        cosines[held] = cosine_head(problem.part(rows)).cosines(problem.features[held]).detach()
    scale, bias = head.scale.detach(), head.bias.detach()
    best = problem.loss(cosines * scale + bias)
    assert fitted.held_out[0.0] == pytest.approx(best, abs=1e-5)
    for place in range(3):
        for size in (-0.1, 0.1):
            step = torch.zeros(3)
            step[place] = size
            assert problem.loss(cosines * (scale + step) + bias) > best - 1e-6
            assert problem.loss(cosines * scale + bias + step) > best - 1e-6


# --- neighbours -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 4, 9])
def test_the_votes_are_those_of_scikit_learn(number: int) -> None:
    """A vote counts exp(cosine / temperature); scikit-learn hands the weighing function 1 - cosine."""
    problem, other = problem_of(), problem_of(seed=8)
    head = NearestNeighbors(num_neighbors=number, temperature=0.1).fit(problem)
    theirs = KNeighborsClassifier(
        number, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / 0.1)
    ).fit(problem.features.double().numpy(), problem.targets.numpy())
    shares = theirs.predict_proba(other.features.double().numpy())
    expected = (shares + LEAST) / (1 + 3 * LEAST)
    np.testing.assert_allclose(torch.softmax(head.scores(other.features), 1), expected, atol=1e-4)


def test_the_votes_of_a_multi_label_set_by_a_plain_loop() -> None:
    problem, other = problem_of(multilabel=True), problem_of(seed=8)
    scores = NearestNeighbors(num_neighbors=5).fit(problem).scores(other.features)
    known, asked = unit(problem.features), unit(other.features)
    for row in range(0, 60, 7):
        cosines = [float(sum(a * b for a, b in zip(asked[row], one, strict=True))) for one in known]
        nearest = sorted(range(60), key=lambda place: -cosines[place])[:5]
        votes = [math.exp(cosines[place] / 0.07) for place in nearest]
        for k in range(3):
            share = sum(v for v, place in zip(votes, nearest, strict=True) if problem.targets[place, k]) / sum(votes)
            expected = math.log((share + LEAST) / (1 - share + LEAST))
            assert float(scores[row, k]) == pytest.approx(expected, abs=2e-3)


def test_the_number_of_neighbours_is_the_best_of_a_table_computed_apart() -> None:
    problem = problem_of()
    fitted = NearestNeighbors().fit(problem)
    table = {}
    for number in NEIGHBORS:
        total = 0.0
        for rows, held in problem.folds:
            theirs = KNeighborsClassifier(
                number, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / 0.07)
            ).fit(problem.features[rows].double().numpy(), problem.targets[rows].numpy())
            shares = theirs.predict_proba(problem.features[held].double().numpy())
            chances = (shares + LEAST) / (1 + 3 * LEAST)
            total -= np.log(chances[np.arange(len(held)), problem.targets[held].numpy()]).sum()
        table[float(number)] = total / 60
    assert dict(fitted.held_out) == pytest.approx(table, abs=2e-3)
    assert fitted.chosen == min(table, key=table.__getitem__)
    assert fitted.spec["num_neighbors"] == fitted.chosen
    assert isinstance(fitted.spec["num_neighbors"], int)


def test_more_neighbours_than_records_are_all_records() -> None:
    problem = problem_of().part(np.arange(4))
    scores = NearestNeighbors(num_neighbors=25).fit(problem).scores(problem.features)
    all_of_them = NearestNeighbors(num_neighbors=4).fit(problem).scores(problem.features)
    assert torch.equal(scores, all_of_them)


def test_a_class_that_no_neighbour_has_is_unlikely_but_possible() -> None:
    problem = problem_of()
    scores = NearestNeighbors(num_neighbors=1).fit(problem).scores(problem.features)
    chances = torch.softmax(scores, 1)
    np.testing.assert_allclose(chances.max(1).values, (1 + LEAST) / (1 + 3 * LEAST), atol=1e-5)
    np.testing.assert_allclose(chances.min(1).values, LEAST / (1 + 3 * LEAST), atol=1e-5)


def test_neighbours_are_five_where_nothing_can_be_held_out() -> None:
    assert NearestNeighbors().fit(problem_of(num_folds=0)).chosen == 5


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "line"),
    [
        (
            {"num_neighbors": 0},
            "head.num_neighbors: expected auto or a number of 1 or more, got 0; correct the value",
        ),
        (
            {"temperature": 0.0},
            "head.temperature: expected a number of 0.001 or more, got 0.0; correct the value",
        ),
        (
            {"temperature": math.nan},
            "head.temperature: expected a number of 0.001 or more, got nan; correct the value",
        ),
    ],
)
def test_a_number_out_of_range_is_refused_in_one_line(params: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        NearestNeighbors(**params)
    assert str(caught.value) == line


@pytest.mark.parametrize("params", [{"num_neighbors": "many"}, {"num_neighbors": 2.5}, {"temperature": "auto"}])
def test_a_value_of_another_kind_is_refused_by_the_catalogue(params: dict[str, Any]) -> None:
    with pytest.raises(Problems, match=rf"^head\.{next(iter(params))}: expected a valid "):
        HEADS.build("knn", **params)
