"""The value types: what a data set refuses, what its fingerprint sees, how scores become probabilities."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.special import expit, softmax

from ringlight.errors import DataError
from ringlight.types import Box, Dataset, History, Prediction, Record, Split

BOX = Box(label=1, x_min=1.0, y_min=2.0, x_max=5.0, y_max=9.5)


def make(*records: Record, task: str = "multilabel", classes: tuple[str, ...] = ("a", "b", "c")) -> Dataset:
    return Dataset.from_records(records, classes, task, name="strips")


@pytest.fixture
def strips() -> Dataset:
    return make(
        Record(id="0", uri="/x/0.png", labels=(2, 0, 2), boxes=(BOX,), group="coil 1", time=3.5, split="train"),
        Record(id="1", uri="/x/1.png"),
        Record(id="2", uri="/x/2.png", labels=(1,), group="coil 2", content="abc"),
    )


def test_records_come_back_as_they_went_in(strips):
    first = strips[0]
    assert first == Record(id="0", uri="/x/0.png", labels=(0, 2), boxes=(BOX,), group="coil 1", time=3.5, split="train")
    assert list(strips) == [strips[0], strips[1], strips[2]]
    assert strips[1].boxes == ()
    assert len(strips) == 3


def test_labels_become_a_matrix_and_counts(strips):
    assert strips.label_matrix().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert strips.class_counts() == {"a": 1, "b": 1, "c": 1}
    assert strips.targets().tolist() == strips.label_matrix().tolist()


def test_the_targets_of_a_multiclass_set_are_indices():
    tiles = make(Record(id="x", labels=(2,)), Record(id="y", labels=(0,)), task="multiclass")
    assert tiles.targets().tolist() == [2, 0]
    assert tiles.targets().dtype == np.int64


def test_labels_stay_right_after_taking_rows(strips):
    """Slicing a column of lists moves its offsets: labels read from the raw buffer belong to other records."""
    chosen = strips.take([2, 0])
    assert chosen.ids == ["2", "0"]
    assert chosen.label_matrix().tolist() == [[0, 1, 0], [1, 0, 1]]
    assert chosen.take([1]).label_matrix().tolist() == [[1, 0, 1]]
    sliced = Dataset(strips.table.slice(2), strips.classes, strips.task)
    assert sliced.label_matrix().tolist() == [[0, 1, 0]]


def test_a_record_without_a_group_stands_alone(strips):
    assert strips.groups == ["coil 1", "record:1", "coil 2"]
    assert make(Record(id="0")).groups is None


def test_a_label_only_table_has_no_content(strips):
    assert strips.has_content
    assert not make(Record(id="0", labels=(1,))).has_content


def test_a_column_can_be_replaced(strips):
    changed = strips.with_column("content", ["x", "y", "z"])
    assert [record.content for record in changed] == ["x", "y", "z"]
    assert strips[0].content is None
    assert changed.table.schema.equals(strips.table.schema)


@pytest.mark.parametrize(
    ("records", "task", "message"),
    [
        ([], "multilabel", "strips: expected at least one record, got none; check the path and the label file"),
        (
            [Record(id="x"), Record(id="y"), Record(id="x")],
            "multilabel",
            "strips: expected every id once, got `x` twice; remove or rename one of the two records",
        ),
        (
            [Record(id="x", labels=(0, 1)), Record(id="y"), Record(id="z", labels=(1, 3))],
            "multilabel",
            "strips: record `z`: expected labels from 0 to 2, got (1, 3); correct the label or add the class",
        ),
        (
            [Record(id="x", labels=(-1,))],
            "multiclass",
            "strips: record `x`: expected labels from 0 to 2, got (-1,); correct the label or add the class",
        ),
        (
            [Record(id="x", labels=(0,)), Record(id="y", labels=(0, 1))],
            "multiclass",
            "strips: record `y`: expected exactly one label per record in a multi-class data set, got 2; "
            "label it, leave it out, or use data.task=multilabel",
        ),
        (
            [Record(id="x", labels=(0,)), Record(id="y")],
            "multiclass",
            "strips: record `y`: expected exactly one label per record in a multi-class data set, got 0; "
            "label it, leave it out, or use data.task=multilabel",
        ),
    ],
)
def test_what_cannot_be_a_data_set_is_refused_with_its_record(records, task, message):
    with pytest.raises(DataError) as caught:
        make(*records, task=task)
    assert str(caught.value) == message


def test_the_fingerprint_does_not_see_order_place_time_or_name(strips):
    moved = strips.take([1, 2, 0]).with_column("uri", ["/y/1.png", "/y/2.png", "/y/0.png"])
    renamed = Dataset(moved.with_column("time", [1.0, 2.0, 3.0]).table, strips.classes, strips.task, "other", ("note",))
    assert renamed.fingerprint == strips.fingerprint


def test_the_fingerprint_does_not_see_the_order_of_a_records_boxes():
    """The same strips had two fingerprints when the rows of the label file were sorted otherwise."""
    boxes = [Box(label=label, x_min=0.0, y_min=0.0, x_max=2.0, y_max=2.0) for label in (1, 0)]
    one, other = (
        Dataset.from_records([Record(id="a", labels=(0, 1), boxes=tuple(order))], ["x", "y"], "multilabel")
        for order in (boxes, boxes[::-1])
    )
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("id", ["0", "1", "3"]),
        ("content", [None, None, "abd"]),
        ("labels", [[0, 2], [], [2]]),
        ("group", ["coil 1", None, "coil 1"]),
        ("boxes", [None, None, None]),
    ],
)
def test_the_fingerprint_sees_what_a_model_learns_from(strips, column, values):
    assert strips.with_column(column, values).fingerprint != strips.fingerprint


def test_the_fingerprint_sees_classes_and_task(strips):
    other = {
        Dataset(strips.table, ("a", "b", "d"), "multilabel").fingerprint,
        Dataset(strips.table, ("a", "b", "c"), "multiclass").fingerprint,
        strips.fingerprint,
    }
    assert len(other) == 3


def test_the_fingerprint_of_these_records_stays_what_it_is():
    """Fingerprints stand in results that are years old: a change of the formula must be seen and meant."""
    data = Dataset.from_records([Record(id="r1", labels=(1,)), Record(id="r0", labels=(0,))], ["x", "y"], "multiclass")
    assert data.fingerprint == "49101c30b00835ba9f9331b0f95bae56fc0a8798934c6ce96f0a7ab45cfd230f"


def test_a_split_names_its_parts():
    split = Split(np.array([0, 2]), np.array([1]), np.array([], np.int64), "stratified_80_20")
    assert {name: rows.tolist() for name, rows in split.parts().items()} == {"train": [0, 2], "val": [1], "test": []}


def predict(task: str, logits: np.ndarray) -> np.ndarray:
    ids = [str(row) for row in range(len(logits))]
    return Prediction(ids, logits.astype(np.float32), ("a", "b", "c"), task).probabilities


def test_probabilities_by_hand():
    logits = np.array([[0.0, np.log(3.0), -np.log(3.0)]])
    np.testing.assert_allclose(predict("multilabel", logits), [[0.5, 0.75, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(predict("multiclass", np.log([[1.0, 2.0, 5.0]])), [[0.125, 0.25, 0.625]], rtol=1e-6)


def test_probabilities_equal_scipys():
    logits = np.random.default_rng(0).normal(0, 5, (50, 3)).astype(np.float32)
    np.testing.assert_allclose(predict("multilabel", logits), expit(logits.astype(np.float64)), rtol=1e-12)
    np.testing.assert_allclose(predict("multiclass", logits), softmax(logits.astype(np.float64), axis=1), rtol=1e-12)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_huge_scores_neither_overflow_nor_warn(task):
    """exp(1e4) is infinite: the plain formulas give nan for scores a diverging model does produce."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probabilities = predict(task, np.array([[1e4, -1e4, -1e4]]))
    np.testing.assert_allclose(probabilities, [[1.0, 0.0, 0.0]], atol=1e-12)


def test_the_best_epoch_is_the_earliest_of_equals_and_never_nan():
    rows = [
        {"epoch": 0.0, "val/macro_f1": float("nan"), "val/loss": 0.3},
        {"epoch": 1.0, "val/macro_f1": 0.8, "val/loss": 0.2},
        {"epoch": 2.0, "val/macro_f1": 0.8},
        {"epoch": 3.0, "val/macro_f1": 0.7, "val/loss": 0.4},
    ]
    history = History(rows)
    assert history.best("val/macro_f1", "max") == rows[1]
    assert history.best("val/macro_f1", "min") == rows[3]
    assert history.best("val/loss", "min") == rows[1]
    assert history.best("test/loss", "min") is None
    assert History().best("val/loss", "min") is None


def test_histories_do_not_share_their_rows():
    History().rows.append({"epoch": 0.0})
    assert History().rows == []
