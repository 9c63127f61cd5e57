"""A server's watch: every batch is observed, the numbers are those of a moment ago, the state is kept at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ringlight.data.preprocess import InputSpec
from ringlight.inference.bundle import Bundle
from ringlight.inference.decisions import Decider
from ringlight.inference.watch_reference import WatchReference, measure
from ringlight.services import served_watch as module
from ringlight.services.served_watch import ServedWatch, served_watch

BARE = Bundle(
    architecture={}, task="multiclass", classes=("a", "b"), input_spec=InputSpec(in_chans=1, image_size=(4, 4))
)
LOGITS = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
INPUTS = np.random.default_rng(1).normal(size=(60, 1, 4, 4)).astype(np.float32)
RESULT = Decider(BARE).decide([str(row) for row in range(60)], LOGITS)


def test_batches_are_heard_numbers_told_and_the_state_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    reference = WatchReference.of([(measure(RESULT, INPUTS), None)])
    assert reference is not None
    bundle = replace(BARE, watch=reference.to_dict())
    watch = served_watch(bundle, "strip", folder=tmp_path)
    assert isinstance(watch, ServedWatch)
    watch.observe(RESULT, INPUTS, None)
    assert watch.status()["records"] == 60
    watch.observe(RESULT, INPUTS)
    assert watch.status()["records"] == 60
    clock[0] += 2
    assert watch.status()["records"] == 120
    assert watch.status()["input/brightness.alarm"] == 0
    watch.close()
    again = served_watch(bundle, "strip", folder=tmp_path)
    assert again is not None
    assert again.status()["records"] == 120


def test_a_model_without_a_reference_is_served_and_a_line_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    assert served_watch(BARE, "strip") is None
    assert "strip is not watched: it has no reference; take one from good production: `ringlight watch" in caplog.text
