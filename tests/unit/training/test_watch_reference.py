"""The reference of a watch is what the validation part looked like, by the same functions as on the line."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.data.preprocess import InputSpec
from ringlight.evaluation.open_set import fix_open_set, strangeness
from ringlight.inference.bundle import Bundle
from ringlight.inference.decisions import Decider
from ringlight.inference.watch_reference import WatchReference
from ringlight.inference.watching import Watch
from ringlight.records import Dataset, Record
from ringlight.training import watch_reference
from ringlight.training.watch_reference import with_watch
from ringlight.types import Prediction

SIZE = 80
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (SIZE, 2)).astype(np.float32)
INPUTS = RNG.normal(size=(SIZE, 1, 8, 8)).astype(np.float32)
TRUTH = np.where(RNG.random(SIZE) < 0.9, LOGITS.argmax(axis=1), 1 - LOGITS.argmax(axis=1))
BUNDLE = Bundle(
    architecture={}, task="multiclass", classes=("good", "pit"), input_spec=InputSpec(in_chans=1, image_size=(8, 8)),
    good_class="good", reject_threshold=0.6,
)  # fmt: skip


class Fed:
    """A learner whose inputs are known; four go through it together."""

    def __init__(self) -> None:
        self.feeder = self

    def loader(self, data: Dataset) -> Any:
        rows = [int(key) for key in data.ids]
        for start in range(0, len(rows), 4):
            yield {"input": torch.tensor(INPUTS[rows[start : start + 4]])}


def validation(groups: list[str] | None = None, size: int = SIZE) -> tuple[Dataset, Prediction]:
    records = [
        Record(id=str(row), labels=(int(TRUTH[row]),), group=None if groups is None else groups[row])
        for row in range(size)
    ]
    data = Dataset.from_records(records, ("good", "pit"), "multiclass")
    return data, Prediction(data.ids, LOGITS[:size], BUNDLE.classes, "multiclass", TRUTH[:size])


def test_the_reference_says_what_was_decided_and_what_came_in() -> None:
    data, scores = validation()
    bundle = with_watch(BUNDLE, Fed(), data, scores)
    found = {one.name: one for one in WatchReference.from_dict(json.loads(json.dumps(bundle.watch)), "x").quantities}
    result = Decider(BUNDLE).decide(data.ids, LOGITS)
    relied = ~np.asarray(result.rejected)
    assert found["rate/pit"].mean == pytest.approx(result.decisions[:, 1].mean())
    assert found["rejected"].mean == pytest.approx(np.mean(result.rejected))
    assert found["score/pit"].mean == pytest.approx(result.probabilities[:, 1].mean(), abs=1e-3)
    assert found["input/brightness"].mean == pytest.approx(INPUTS.mean(), abs=1e-6)
    wrong = result.decisions.argmax(axis=1) != TRUTH
    assert found["confirmed/error"].mean == pytest.approx(wrong[relied].mean())
    assert "confirmed/escape" not in found  # fewer than 50 defects: no rate worth a limit
    assert found["input/brightness"].num_records == SIZE
    Watch.of_bundle(bundle).observe(result, INPUTS)


def test_groups_and_a_large_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of one coil say little more than one; and of many records the inputs of some are enough."""
    data, scores = validation([f"coil {row // 20}" for row in range(SIZE)])
    monkeypatch.setattr(watch_reference, "MOST_INPUTS", 60)
    reference = WatchReference.from_dict(with_watch(BUNDLE, Fed(), data, scores).watch, "x")
    found = {one.name: one for one in reference.quantities}
    assert (reference.block, found["rate/pit"].effective) == (20, 4)
    assert found["input/brightness"].num_records == 60


def test_the_distance_is_there_where_the_rule_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    features = RNG.normal(size=(SIZE, 5)).astype(np.float32)
    means = np.eye(5)[:2]
    scores_of = strangeness(("energy", "distance"), LOGITS, features, means)
    rule = fix_open_set(scores_of, 0.95, means=means)
    monkeypatch.setattr(watch_reference, "embeddings_of", lambda learner, data: features)  # noqa: ARG005
    data, scores = validation()
    bundle = with_watch(replace(BUNDLE, open_set=rule.to_dict()), Fed(), data, scores)
    found = {one.name: one for one in WatchReference.from_dict(bundle.watch, "x").quantities}
    assert found["ood/distance"].mean == pytest.approx(scores_of["distance"].mean())
    assert found["unknown"].mean == pytest.approx(1 - rule.accepted)


def test_too_few_records_leave_the_bundle_as_it_is() -> None:
    data, scores = validation(size=49)
    assert with_watch(BUNDLE, Fed(), data, scores).watch == {}
    assert with_watch(BUNDLE, Fed(), data, None).watch == {}
