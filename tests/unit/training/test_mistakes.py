"""The worst mistakes: surest first, every class in turn, each record once, pictures under the names of the rows."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ringlight.training.mistakes import LONGEST_SIDE, Mistake, mistake_pictures, mistake_rows, worst_mistakes
from ringlight.training.rules import Ruling
from ringlight.types import Dataset, Prediction, Record

CLASSES = ("a", "b", "c")


def single(truth: Sequence[int], probabilities: Sequence[Sequence[float]]) -> Ruling:
    scores = np.asarray(probabilities)
    ids = [f"r{row}" for row in range(len(truth))]
    prediction = Prediction(ids, np.log(scores).astype(np.float32), CLASSES, "multiclass", np.asarray(truth))
    return Ruling(prediction, scores, np.eye(3, dtype=bool)[scores.argmax(axis=1)])


def several(truth: Sequence[Sequence[int]], probabilities: Sequence[Sequence[float]]) -> Ruling:
    scores = np.asarray(probabilities)
    ids = [f"r{row}" for row in range(len(truth))]
    prediction = Prediction(ids, np.zeros(scores.shape, np.float32), CLASSES, "multilabel", np.asarray(truth))
    return Ruling(prediction, scores, scores >= 0.5)


def test_the_surest_mistakes_come_first_and_classes_take_turns() -> None:
    """One class that went wrong altogether must not fill the page."""
    decided = single(
        [1, 1, 1, 0, 0, 2],
        [[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.4, 0.55, 0.05], [0.9, 0.05, 0.05], [0.3, 0.1, 0.6]],
    )
    assert worst_mistakes(decided, 12) == [
        Mistake(0, 0, 0.9, "a given at 0.90"),
        Mistake(3, 1, 0.55, "b given at 0.55"),
        Mistake(1, 0, 0.8, "a given at 0.80"),
        Mistake(2, 0, 0.7, "a given at 0.70"),
    ]
    assert [mistake.row for mistake in worst_mistakes(decided, 3)] == [0, 3, 1]
    assert worst_mistakes(decided, 0) == []


def test_a_mistake_counts_by_what_was_decided_not_by_the_best_score() -> None:
    """A point that gives a class at 0.2 is wrong at 0.2; the class with 0.7 was never given."""
    decided = single([0], [[0.7, 0.2, 0.1]])
    decided = replace(decided, decisions=np.array([[False, True, False]]))
    assert worst_mistakes(decided, 5) == [Mistake(0, 1, 0.2, "b given at 0.20")]


def test_labels_given_wrongly_and_missed_both_count_and_a_record_appears_once() -> None:
    decided = several(
        [[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]],
        [[0.1, 0.6, 0.2], [0.7, 0.4, 0.1], [0.2, 0.3, 0.4], [0.9, 0.9, 0.9]],
    )
    found = worst_mistakes(decided, 5)
    assert found == [Mistake(0, 0, 0.9, "a missed at 0.10"), Mistake(1, 0, 0.7, "a given at 0.70")]


def test_a_model_without_a_mistake_has_none() -> None:
    assert worst_mistakes(single([0, 1], [[0.9, 0.05, 0.05], [0.1, 0.8, 0.1]]), 5) == []


def test_equally_sure_mistakes_keep_the_order_of_the_records() -> None:
    decided = single([1] * 4, [[0.8, 0.1, 0.1]] * 4)
    assert [mistake.row for mistake in worst_mistakes(decided, 3)] == [0, 1, 2]


def test_a_row_says_what_it_was_and_what_was_decided(dataset_of: Callable[..., Dataset]) -> None:
    decided = several([[1, 0, 1], [0, 0, 0]], [[0.1, 0.6, 0.9], [0.2, 0.3, 0.4]])
    data = dataset_of([[0, 2], []], classes=CLASSES, group=["coil 7", None])
    (row,) = mistake_rows(worst_mistakes(decided, 5), decided, data)
    assert row == {
        "id": "r0", "group": "coil 7", "truth": ["a", "c"], "predicted": ["b", "c"], "score": 0.9,
        "why": "a missed at 0.10", "picture": "mistake-01",
    }  # fmt: skip


def test_pictures_are_named_as_the_rows_and_no_larger_than_a_page_needs(
    tmp_path: Path, make_image: Callable[..., Path]
) -> None:
    wide = np.zeros((40, 2 * LONGEST_SIDE), np.uint8)
    wide[:, :LONGEST_SIDE] = 200
    paths = [
        make_image(tmp_path / "small.png", size=(20, 30)),
        make_image(tmp_path / "wide.png", pixels=wide, mode="L"),
    ]
    records = [Record(id=path.name, uri=str(path), labels=(1,)) for path in paths]
    data = Dataset.from_records(records, CLASSES, "multiclass")
    decided = single([1, 1], [[0.7, 0.2, 0.1], [0.8, 0.1, 0.1]])
    mistakes = worst_mistakes(decided, 5)
    rows = mistake_rows(mistakes, decided, data)
    assert [(row["id"], row["picture"]) for row in rows] == [("wide.png", "mistake-01"), ("small.png", "mistake-02")]
    for in_chans, mode in ((1, "L"), (3, "RGB")):
        drawn = mistake_pictures(mistakes, data, in_chans=in_chans)
        assert list(drawn) == [row["picture"] for row in rows]
        opened: list[Any] = [Image.open(io.BytesIO(data)) for data in drawn.values()]
        assert [(image.format, image.mode, image.size) for image in opened] == [
            ("PNG", mode, (LONGEST_SIDE, 20)), ("PNG", mode, (30, 20)),
        ]  # fmt: skip
        assert np.asarray(opened[0]).reshape(20, LONGEST_SIDE, -1)[10, [5, -5], 0].tolist() == [200, 0]
