"""Nearest neighbours: who sees whom, ties, the vote of Wu et al., and memory that grows with the records alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ringlight.errors import DataError
from ringlight.evaluation import nearest as module
from ringlight.evaluation.nearest import gallery_of, knn_accuracy, nearest
from ringlight.models.heads import NeighborsHead


@pytest.fixture(scope="module")
def rows() -> Any:
    return np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


def test_a_query_never_finds_itself_nor_its_group(rows: Any) -> None:
    groups = [f"part {row // 4}" if row else None for row in range(40)]
    found = nearest(gallery_of(rows, groups=groups), 39)
    for row, seen in enumerate(found.rows):
        kept = seen[seen >= 0].tolist()
        others = {
            other for other in range(40) if other != row and (groups[other] is None or groups[other] != groups[row])
        }
        assert set(kept) == others
        assert len(kept) == len(others)
        assert (found.rows[row, len(kept) :] == -1).all()
        assert np.isneginf(found.cosines[row, len(kept) :]).all()


def test_groups_hide_records_of_the_gallery(rows: Any) -> None:
    asked = gallery_of(rows[:2], rows[2:6], groups=["a", None], gallery_groups=["a", "b", None, "a"])
    found = nearest(asked, 4).rows
    assert sorted(found[0][found[0] >= 0]) == [1, 2]
    assert sorted(found[1]) == [0, 1, 2, 3]


def test_equals_a_naive_loop(rows: Any) -> None:
    found = nearest(gallery_of(rows[:10], rows[10:]), 5)
    for row, query in enumerate(rows[:10].astype(float)):
        cosines = [float(query @ other) / np.linalg.norm(query) / np.linalg.norm(other) for other in rows[10:]]
        order = sorted(range(30), key=lambda place: (-cosines[place], place))[:5]
        assert found.rows[row].tolist() == order
        np.testing.assert_allclose(found.cosines[row], [cosines[place] for place in order], atol=1e-7)


def test_of_equally_near_records_the_earlier_comes_first(rows: Any) -> None:
    copies = np.concatenate([rows[:7]] * 5)
    found = nearest(gallery_of(rows[:7], copies), 5).rows
    assert found.tolist() == [[row + 7 * copy for copy in range(5)] for row in range(7)]


def test_blocks_change_nothing(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = nearest(gallery_of(rows), 4)
    monkeypatch.setattr(module, "_BLOCK_CELLS", 130)  # three queries at a time
    parts = nearest(gallery_of(rows), 4)
    np.testing.assert_array_equal(whole.rows, parts.rows)
    np.testing.assert_array_equal(whole.cosines, parts.cosines)


def test_the_vote_by_hand() -> None:
    """Two far neighbours of class 1 outvote a near one of class 0 only where the temperature lets them."""
    train = [[1.0, 0.0], [0.8, 0.6], [0.8, -0.6]]
    assert knn_accuracy(train, [0, 1, 1], [[1.0, 0.0]], [1], k=3, temperature=1.0) == 1.0  # e^1 < 2 e^0.8
    assert knn_accuracy(train, [0, 1, 1], [[1.0, 0.0]], [1], k=3, temperature=0.07) == 0.0  # e^14.3 > 2 e^11.4
    assert knn_accuracy(train, [0, 1, 1], [[1.0, 0.0]], [0], k=500) == 1.0


def test_the_vote_equals_the_head_of_a_frozen_model(rows: Any) -> None:
    labels = np.random.default_rng(1).integers(0, 3, 40)
    head = NeighborsHead(6, 3, num_records=30, num_neighbors=7, temperature=0.2, task="multiclass")
    head.features.copy_(torch.nn.functional.normalize(torch.tensor(rows[:30]), dim=1))
    head.votes.copy_(torch.eye(3)[torch.tensor(labels[:30])])
    right = head(torch.tensor(rows[30:])).argmax(dim=1).numpy() == labels[30:]
    assert knn_accuracy(rows[:30], labels[:30], rows[30:], labels[30:], k=7, temperature=0.2) == right.mean()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"embeddings": [1.0, 2.0]}, r"embeddings: expected numbers \(N, D\), at least one record, got \(2,\)"),
        ({"embeddings": [[1.0, np.nan]]}, "embeddings: expected finite numbers, got others in row 0; check the model"),
        ({"gallery": [[1.0, 2.0, 3.0]]}, "gallery: expected 2 features, as the queries have, got 3; embed both"),
        ({"gallery": [[1.0, 2.0]], "groups": ["a"]}, "gallery_groups: expected the groups of queries and gallery, or"),
        ({"gallery_groups": ["a"]}, "gallery_groups: expected a gallery beside them, got none; pass `gallery`"),
        ({"groups": ["a", "b"]}, r"groups: expected a group \(or None\) for each of 1 records, got 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        gallery_of(**{"embeddings": [[1.0, 0.0]], **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"k": 0}, "k: expected 1 neighbour or more, got 0; use 5"),
        ({"temperature": 0.0}, "temperature: expected a number above 0, got 0; use 0.07"),
        ({"train_labels": [-1]}, "train_labels: expected class numbers from 0, got -1 in row 0; number the classes"),
        ({"labels": [0, 1]}, r"labels: expected shape \(1,\), got \(2,\); pass one class number for each record"),
    ],
)
def test_a_vote_that_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    usual = {"train_embeddings": [[1.0]], "train_labels": [0], "embeddings": [[1.0]], "labels": [0]}
    with pytest.raises(DataError, match=message):
        knn_accuracy(**{**usual, **given})


def test_an_embedding_of_zeros_is_near_to_nothing() -> None:
    found = nearest(gallery_of([[0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]), 2)
    assert found.cosines.tolist() == [[0.0, 0.0]]
