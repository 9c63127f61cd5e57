"""Whether an export is the trained model is told in numbers, and by the record that moved most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ringlight.data.preprocess import InputSpec
from ringlight.errors import DataError
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.evaluation.open_set import OpenSetRule
from ringlight.inference.bundle import Bundle
from ringlight.inference.decisions import Decider
from ringlight.inference.export_parity import Sample, check_parity, lines_of

RNG = np.random.default_rng(2)
LOGITS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
TARGETS = LOGITS.argmax(axis=1)
NOISY = LOGITS + RNG.normal(size=LOGITS.shape).astype(np.float32)


def bundle_of(**values: Any) -> Bundle:
    return Bundle(architecture={}, task="multiclass", classes=("a", "b", "c"), input_spec=InputSpec(1, 8), **values)


class Fake:
    """An engine whose inputs are row numbers."""

    name = "fake"

    def __init__(self, logits: np.ndarray, features: np.ndarray | None = None, *, alone: float = 0.0) -> None:
        self.logits, self.features, self.alone = logits, features, alone

    def run(self, inputs: np.ndarray) -> Any:
        rows = inputs[:, 0].astype(int)
        moved = self.logits[rows]
        moved[:, 0] += self.alone * (len(rows) == 1)
        return moved, None if self.features is None else self.features[rows]


def sample(total: int = 60, size: int = 4, **changes: Any) -> Sample:
    def batches() -> Iterator[np.ndarray]:
        for start in range(0, total, size):
            yield np.arange(start, min(start + size, total), dtype=np.float32)[:, None]

    values = {"ids": [f"r{row}" for row in range(total)], "targets": TARGETS[:total], "source": "strips, val"}
    return Sample(batches=batches, **(values | changes))


def parity(exported: Fake, *, reference: Fake | None = None, tolerance: float = 1e-4, **rules: Any) -> Any:
    decider = Decider(bundle_of(**rules))
    return check_parity(reference or Fake(LOGITS), exported, decider, sample(), tolerance=tolerance)


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum(axis=-1, keepdims=True)


def test_the_same_scores_are_the_same_model() -> None:
    found = parity(Fake(LOGITS.copy()))
    assert found.is_within
    assert (found.max_difference, found.label_agreement, found.reference, found.interval) == (0.0, 1.0, 1.0, None)
    assert (found.num_records, found.batch_sizes, found.operating_point) == (60, (1, 4), "default")


def test_the_largest_difference_is_of_calibrated_probabilities_and_names_its_record() -> None:
    """By hand and by a loop: a temperature of 2 halves the logits."""
    moved = LOGITS.copy()
    moved[6] += [0.3, 0.0, 0.0]
    kept = Calibration(kind="temperature", calibrator=Calibrator("temperature", (0.5,)), accepted=True, reason="")
    found = parity(Fake(moved), calibration=kept.to_dict())
    expected = max(abs(softmax(LOGITS[row] / 2)[k] - softmax(moved[row] / 2)[k]) for row in range(60) for k in range(3))
    assert found.max_difference == pytest.approx(expected, abs=1e-7)
    assert (found.worst_record, found.is_within) == ("r6", False)
    assert found.mean_difference == pytest.approx(expected / 60, abs=1e-7)
    assert found.worst_input[0, 0] == 6


def test_a_graph_that_kept_its_batch_is_found_by_a_record_alone() -> None:
    found = parity(Fake(LOGITS, alone=1.0))
    assert not found.is_within
    assert found.worst_record in {"r0", "r1", "r2", "r3"}


def test_scores_that_are_not_finite_are_as_far_off_as_can_be() -> None:
    broken = LOGITS.copy()
    broken[3, 1] = np.nan
    found = parity(Fake(broken))
    assert (found.max_difference, found.worst_record) == (1.0, "r3")
    found.to_dict()


def test_other_decisions_show_in_agreement_and_in_the_interval_of_the_metric() -> None:
    turned = NOISY
    found = parity(Fake(turned))
    same = (turned.argmax(axis=1) == TARGETS).mean()
    assert found.label_agreement == pytest.approx(same)
    assert found.exported < found.reference == 1.0
    low, high = found.interval
    assert low < found.exported - found.reference < high < 0


def test_features_that_moved_are_refused_where_the_open_set_rule_looks_at_them() -> None:
    features = np.abs(np.random.default_rng(1).normal(size=(60, 2))).astype(np.float32)
    means = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    rule = OpenSetRule(accept=0.9, thresholds={"distance": 0.5}, num_records=10, accepted=0.9, means=means)
    rules = {"open_set": rule.to_dict()}
    assert parity(Fake(LOGITS, features), reference=Fake(LOGITS, features), **rules).is_within
    found = parity(Fake(LOGITS, features * 1.1), reference=Fake(LOGITS, features), **rules)
    assert (found.max_difference, found.is_within) == (0.0, False)
    assert found.feature_difference == pytest.approx(0.1, abs=1e-3)


def test_no_record_proves_nothing() -> None:
    with pytest.raises(DataError) as caught:
        check_parity(Fake(LOGITS), Fake(LOGITS), Decider(bundle_of()), sample(0), tolerance=1e-4)
    assert str(caught.value) == (
        "strips, val: expected some records to check the export on, got 0; name labelled records with --data SOURCE"
    )


def test_scores_of_another_shape_are_told() -> None:
    with pytest.raises(DataError, match=r"the exported model: expected scores \(4, 3\), got \(4, 2\)"):
        parity(Fake(LOGITS[:, :2]))


def test_the_report_in_lines() -> None:
    found = parity(Fake(LOGITS.copy()))
    assert lines_of(found.to_dict()) == [
        "checked on 60 records (strips, val), in batches of 1 and 4",
        "probabilities: at most 0 apart (`r0`; tolerance 0.0001), 0 on average",
        "labels at `default`: 100.00% alike",
        "macro_f1 1.0000 -> 1.0000, both decide alike on every record",
    ]
    turned = parity(Fake(NOISY)).to_dict()
    assert "difference -" in lines_of(turned)[3]
