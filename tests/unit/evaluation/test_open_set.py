"""Open-set rules: both scores by hand, the limit that accepts a stated share, and a rule that is read back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ringlight.errors import DataError
from ringlight.evaluation.energy import energy_score
from ringlight.evaluation.open_set import OpenSetRule, class_means, distance_score, fix_open_set, strangeness


def test_means_and_distances_by_hand() -> None:
    """Two records at 0 and 90 degrees: their mean points to 45, whatever their lengths."""
    means = class_means([[5.0, 0.0], [0.0, 1.0], [-2.0, 0.0]], [0, 0, 1], ("good", "pore"))
    np.testing.assert_allclose(means, [[np.sqrt(0.5), np.sqrt(0.5)], [-1.0, 0.0]], atol=1e-12)
    found = distance_score([[3.0, 3.0], [-1.0, 1.0], [0.0, -1.0]], means)
    np.testing.assert_allclose(found, [0.0, 1 - np.sqrt(0.5), 1.0], atol=1e-12)


def test_distances_equal_a_naive_loop() -> None:
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(30, 5)), rng.integers(0, 3, 30)
    unit = [row / np.linalg.norm(row) for row in rows]
    means = [np.mean([one for one, label in zip(unit, labels, strict=True) if label == k], axis=0) for k in range(3)]
    expected = [min(1 - one @ mean / np.linalg.norm(mean) for mean in means) for one in unit]
    np.testing.assert_allclose(distance_score(rows, class_means(rows, labels, ("a", "b", "c"))), expected, atol=1e-12)


def test_the_limit_is_the_least_that_accepts_enough() -> None:
    scores = np.random.default_rng(1).permutation(np.arange(100.0))
    for accept, limit in ((0.95, 94.0), (1.0, 99.0), (0.001, 0.0), (0.901, 90.0)):
        rule = fix_open_set({"energy": scores}, accept)
        assert rule.thresholds == {"energy": limit}
        assert rule.accepted == (limit + 1) / 100


def test_two_limits_accept_the_share_together() -> None:
    """One rank for both: a smaller one would lose too many, as the loop over all ranks shows."""
    rng = np.random.default_rng(2)
    scores = {"energy": rng.normal(size=200), "distance": rng.normal(size=200)}
    rule = fix_open_set(scores, 0.9)
    ordered = {name: np.sort(column) for name, column in scores.items()}
    shares = [
        np.mean([all(scores[name][row] <= ordered[name][rank] for name in scores) for row in range(200)])
        for rank in range(200)
    ]
    best = next(rank for rank, share in enumerate(shares) if share >= 0.9)
    assert rule.thresholds == {name: column[best] for name, column in ordered.items()}
    assert rule.accepted == shares[best]
    assert (~rule.strange(scores)).mean() == rule.accepted


def test_equal_scores_are_accepted_together() -> None:
    rule = fix_open_set({"energy": np.array([1.0, 2.0, 2.0, 2.0])}, 0.5)
    assert (rule.thresholds, rule.accepted) == ({"energy": 2.0}, 1.0)


def test_a_rule_is_read_back_and_decides_alike() -> None:
    rng = np.random.default_rng(3)
    logits, rows = rng.normal(size=(50, 3)), rng.normal(size=(50, 8))
    means = class_means(rows, np.arange(50) % 3, ("a", "b", "c"))
    rule = fix_open_set(strangeness(("energy", "distance"), logits, rows, means), 0.8, means=means)
    again = OpenSetRule.from_dict(json.loads(json.dumps(rule.to_dict())))
    assert again == rule
    others, further = rng.normal(size=(200, 3)), rng.normal(size=(200, 8))
    scores = again.scores(others, further)
    np.testing.assert_allclose(scores["energy"], energy_score(others))
    np.testing.assert_allclose(scores["distance"], distance_score(further, means), atol=1e-6)
    assert again.strange(scores).tolist() == rule.strange(rule.scores(others, further)).tolist()
    alone = fix_open_set({"energy": energy_score(logits)}, 0.8)
    assert OpenSetRule.from_dict(json.loads(json.dumps(alone.to_dict()))) == alone
    assert not alone.needs_embeddings


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fix_open_set({"energy": np.ones(3)}, 0.0), "accept: expected a share above 0, at most 1, got 0; use"),
        (lambda: fix_open_set({}, 0.9), r"open_set: expected scores of the same known records, got lengths \[\]"),
        (lambda: class_means([[1.0]], [0], ("a", "b")), "expected a training record of every class, got none of `b`"),
        (lambda: class_means([[1.0]], [2], ("a", "b")), "labels: expected class numbers below 2, got 2"),
        (lambda: distance_score([[1.0]], [[1.0, 0.0]]), "expected 2 features, as the class means have, got 1"),
        (lambda: strangeness(("distance",), [[0.0]], None, None), "expected embeddings and class means for a distance"),
    ],
)  # fmt: skip
def test_what_cannot_be_fixed_is_refused(call: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"thresholds": {"odd": 1.0}}, r"open_set: expected limits of energy or distance, got \['odd'\]"),
        ({"thresholds": {}}, "open_set: expected limits of energy or distance"),
        ({"thresholds": {"distance": 1.0}}, "open_set: expected class means beside a distance, got none; export"),
        ({"means": {"shape": [2, 2], "float32": "AAAA"}}, "open_set: expected a rule as Ringlight writes it"),
        ({"accept": None}, "open_set: expected a rule as Ringlight writes it"),
    ],
)
def test_a_damaged_rule_is_refused(changed: dict[str, Any], message: str) -> None:
    values = fix_open_set({"energy": np.arange(4.0)}, 0.5).to_dict()
    with pytest.raises(DataError, match=message):
        OpenSetRule.from_dict({**values, **changed})
