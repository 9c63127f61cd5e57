"""The energy score and its histogram: numbers that do not overflow, records that are not lost."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score

from ringlight.errors import DataError
from ringlight.evaluation.energy import energy_histogram, energy_score


def test_the_score_by_hand_by_loops_and_by_libraries() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 5)) * 4
    ours = energy_score(logits)
    np.testing.assert_allclose(ours, -logsumexp(logits, axis=1), atol=1e-12)
    np.testing.assert_allclose(ours, -torch.logsumexp(torch.from_numpy(logits), 1).numpy(), atol=1e-12)
    assert ours[7] == pytest.approx(-math.log(sum(math.exp(value) for value in logits[7])))
    assert energy_score([[math.log(3), math.log(5)]])[0] == pytest.approx(-math.log(8))


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, 0.0], [-1e4, -1e4]], np.float32)
    assert energy_score(logits) == pytest.approx([-1e4, 1e4 - math.log(2)])


def test_every_record_is_in_a_bin_of_its_class() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(300, 3)), rng.integers(0, 3, 300)
    found = energy_histogram(logits, targets, ["a", "b", "c"], bins=17)
    assert {name: sum(row) for name, row in found.counts.items()} == {
        name: int((targets == k).sum()) for k, name in enumerate("abc")
    }
    assert len(found.edges) == 18
    assert set(map(len, found.counts.values())) == {17}
    energies = -logsumexp(logits, axis=1)
    assert (found.edges[0], found.edges[-1]) == pytest.approx((energies.min(), energies.max()))
    assert found.separation == {}


def test_a_record_counts_for_each_of_its_labels_and_clean_ones_apart() -> None:
    found = energy_histogram(np.eye(3)[:, :2], [[1, 1], [0, 1], [0, 0]], ["a", "b"], bins=3)
    assert {name: sum(row) for name, row in found.counts.items()} == {"a": 1, "b": 2, "no class": 1}


def test_strangers_share_the_bins_and_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(200, 3)) + 4 * np.eye(3)[np.arange(200) % 3], np.arange(200) % 3
    strange = rng.normal(size=(80, 3))
    found = energy_histogram(logits, targets, ["a", "b", "c"], outside={"dark": strange, "same": logits})
    assert sum(found.counts["dark"]) == 80
    expected = roc_auc_score(np.repeat([0, 1], [200, 80]), -logsumexp(np.concatenate([logits, strange]), axis=1))
    assert found.separation == {"dark": pytest.approx(expected), "same": 0.5}
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(told) == {"edges", "counts", "separation"}
    assert list(told["counts"]) == ["a", "b", "c", "dark", "same"]


def test_equal_energies_are_one_bin_with_a_width() -> None:
    found = energy_histogram(np.zeros((4, 2)), [0, 0, 1, 1], ["a", "b"], bins=5)
    assert sum(found.counts["a"]) == sum(found.counts["b"]) == 2
    assert (np.diff(found.edges) > 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": [[0.0, np.nan]]}, "logits: expected finite numbers, got nan in row 0, column 1; check the model"),
        ({"logits": [0.0, 1.0]}, "logits: expected numbers of shape (N, K), at least one record, got float64 of shape"),
        ({"logits": [[0.0, 1.0, 2.0]]}, "logits: expected shape (N, 2), got (1, 3); pass one column per class"),
        ({"targets": [2]}, "targets: expected class numbers from 0 to 1, got 2 in row 0"),
        ({"targets": [[1, 0, 0]]}, "targets: expected shape (1, 2) in a multilabel data set, got (1, 3)"),
        ({"bins": 2.5}, "bins: expected a whole number of at least 1, got 2.5; use 40"),
        ({"bins": 0}, "bins: expected a whole number of at least 1, got 0; use 40"),
        ({"outside": {"a": [[0, 0]]}}, "outside: expected a name that no class has, got `a`; rename the set"),
        ({"outside": {"dark": np.zeros((0, 2))}}, "outside `dark`: expected numbers of shape (N, K), at least one"),
    ],
)
def test_impossible_inputs_are_refused(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"logits": [[0.0, 1.0]], "targets": [0], "classes": ["a", "b"]}
    with pytest.raises(DataError) as caught:
        energy_histogram(**(good | change))
    assert message in str(caught.value)


def test_a_class_called_no_class_keeps_its_own_row():
    """A run of such a data set once failed after its last epoch."""
    found = energy_histogram([[0.0, 0.0], [1.0, 1.0]], [[0, 0], [0, 1]], ["a", "no class"], bins=2)
    assert {name: sum(row) for name, row in found.counts.items()} == {"a": 0, "no class": 1, "(no class)": 1}
