"""A watch finds what changes, is quiet when nothing does, and remembers across restarts: on seeded streams."""

from __future__ import annotations

import errno
import json
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringlight.data.preprocess import InputSpec
from ringlight.errors import DataError
from ringlight.evaluation.energy import energy_score
from ringlight.evaluation.open_set import fix_open_set
from ringlight.files import unwritable
from ringlight.inference import watching
from ringlight.inference.bundle import Bundle
from ringlight.inference.decisions import Decider, Result
from ringlight.inference.watch_reference import WatchReference, measure, outcomes
from ringlight.inference.watch_status import WatchStatus
from ringlight.inference.watching import Watch

CLASSES = ("good", "pit", "scratch")
SPEC = InputSpec(in_chans=1, image_size=(8, 8))
Inputs = np.ndarray


class Line:
    """A line of parts: a class each, logits around it, and small grey pictures of a brightness around 0."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.number = 0

    def parts(
        self, count: int, *, brightness: float = 0.0, stranger: bool = False, runs: int = 1, mix: Any = (0.8, 0.1, 0.1)
    ) -> tuple[np.ndarray, Inputs, np.ndarray]:
        """Return logits (N, 3), inputs (N, 1, 8, 8) and classes (N,); `runs` of parts are alike."""
        rng, units = self.rng, -(-count // runs)
        kinds = np.repeat(rng.choice(3, units, p=mix), runs)[:count]
        shared = (
            np.repeat(rng.normal(size=(units, 2)), runs, axis=0)[:count] if runs > 1 else rng.normal(size=(count, 2))
        )
        strength = np.abs(6 + shared[:, :1])
        logits = np.eye(3)[kinds] * strength + rng.normal(size=(count, 3))
        if stranger:  # of a class that was never seen: little of everything
            logits = rng.normal(size=(count, 3))
        light = brightness + 0.2 * shared[:, 1]
        inputs = light[:, None, None, None] + rng.normal(0, 0.5, (count, 1, 8, 8))
        return logits.astype(np.float32), inputs.astype(np.float32), kinds


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundle_of(Line(0), 400)


def bundle_of(line: Line, size: int) -> Bundle:
    """Return a bundle whose reference are `size` parts of a line; a model with an open-set rule and a reject limit."""
    logits, inputs, kinds = line.parts(size)
    rule = fix_open_set({"energy": energy_score(logits)}, 0.98)
    bare = Bundle(
        architecture={}, task="multiclass", classes=CLASSES, input_spec=SPEC, good_class="good", reject_threshold=0.7,
        open_set=rule.to_dict(),
    )  # fmt: skip
    result = decided(bare, logits)
    found = outcomes(
        result.decisions, np.eye(3, dtype=bool)[kinds], np.zeros(size, bool), result.rejected, classes=CLASSES,
        task="multiclass", good_class="good",
    )  # fmt: skip
    reference = WatchReference.of([(measure(result, inputs) | found, None)])
    assert reference is not None
    return replace(bare, watch=json.loads(json.dumps(reference.to_dict())))


def decided(bundle: Bundle, logits: np.ndarray, start: int = 0) -> Result:
    return Decider(bundle).decide([f"part {start + row}" for row in range(len(logits))], logits)


def feed(watch: Watch, bundle: Bundle, line: Line, count: int, batch: int = 50, **change: Any) -> int | None:
    """Let parts pass; return after how many the first alarm stood."""
    for start in range(0, count, batch):
        logits, inputs, _ = line.parts(batch, **change)
        watch.observe(decided(bundle, logits, line.number), inputs)
        line.number += batch
        if watch.alarms:
            return start + batch
    return None


@pytest.mark.parametrize(
    ("change", "quantity"), [({"brightness": 0.8}, "input/brightness"), ({"stranger": True}, "ood/energy")]
)
def test_a_change_raises_an_alarm_within_200_parts(
    bundle: Bundle, change: dict[str, Any], quantity: str, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in range(3):
        line, watch = Line(10 + seed), Watch.of_bundle(bundle, model="strip@3")
        assert feed(watch, bundle, line, 1000) is None
        found = feed(watch, bundle, line, 200, 10, **change)
        assert found is not None
        feed(watch, bundle, line, 200, **change)
        assert quantity in {alarm.quantity for alarm in watch.alarms}
    assert f"watch of strip@3: {quantity}: " in caplog.text


def test_small_references_and_coils_of_like_parts_raise_no_false_alarm() -> None:
    """References of 100 are off by up to a tenth: a test without an end would find that, if limits did not allow it."""
    for seed in range(2):
        bundle = bundle_of(Line(100 + seed), 100)
        watch = Watch.of_bundle(bundle)
        assert feed(watch, bundle, Line(200 + seed), 1500, runs=10) is None
        assert feed(watch, bundle, Line(300 + seed), 1500) is None


@pytest.mark.slow
def test_20000_parts_raise_at_most_one_false_alarm(bundle: Bundle) -> None:
    for runs in (1, 10):
        watch, line = Watch.of_bundle(bundle), Line(50 + runs)
        for _ in range(200):
            logits, inputs, _ = line.parts(100, runs=runs)
            watch.observe(decided(bundle, logits), inputs)
        assert len(watch.alarms) <= 1


def test_the_status_tells_everything_and_survives_a_metrics_page(bundle: Bundle) -> None:
    watch = Watch.of_bundle(bundle, model="strip@3")
    assert watch.status().quantities[0].recent is None
    feed(watch, bundle, Line(1), 600)
    status = watch.status()
    assert (status.model, status.records, status.run_length, status.block, status.alarms) == (
        "strip@3",
        600,
        1e6,
        10,
        (),
    )
    told = {one.name: one for one in status.quantities}
    assert set(told) == {
        "confidence", "ood/energy", "rejected", "unknown", "input/brightness", "input/contrast", "input/sharpness",
        *(f"{what}/{name}" for what in ("score", "rate") for name in CLASSES),
        *(f"confirmed/{name}" for name in ("error", "overkill", "escape")),
    }  # fmt: skip
    light = told["input/brightness"]
    assert light.low < light.mean < light.high
    assert light.num_recent == 500
    assert light.psi is not None
    assert light.psi_limit is not None
    assert light.psi < light.psi_limit
    assert told["rate/good"].low < told["rate/good"].recent < told["rate/good"].high  # type: ignore[operator]
    json.dumps(status.to_dict(), allow_nan=False)
    read = WatchStatus.of_numbers("strip@3", status.numbers())
    assert read == replace(status, started="")
    with pytest.raises(DataError, match="strip: expected the numbers of a watch, got none called 'records'"):
        WatchStatus.of_numbers("strip", {"block": 1.0})


def test_alarms_stand_until_they_are_acknowledged(bundle: Bundle) -> None:
    watch, line = Watch.of_bundle(bundle), Line(2)
    assert feed(watch, bundle, line, 300, brightness=1.0)
    alarm = watch.alarms[0]
    assert (alarm.quantity, alarm.record) == ("input/brightness", watch.status().records)
    assert alarm.side in ("higher", "high tail")
    assert str(alarm).startswith(
        f"input/brightness: {alarm.side} than the reference allows, since record {alarm.record}"
    )
    read = WatchStatus.of_numbers("model", watch.status().numbers())
    assert {(one.quantity, one.side, one.record) for one in read.alarms} == {
        (one.quantity, one.side, one.record) for one in watch.alarms
    }
    assert watch.acknowledge() >= 1
    assert feed(watch, bundle, line, 500) is None


def test_labels_that_come_later_tell_escapes_and_overkill(bundle: Bundle) -> None:
    watch, line = Watch.of_bundle(bundle), Line(3)
    logits, inputs, kinds = line.parts(400)
    result = decided(bundle, logits)
    watch.observe(result, inputs)
    for key, kind in zip(result.prediction.ids, kinds, strict=True):
        assert watch.confirm(key, CLASSES[kind] if kind else ["good"])
    assert not watch.confirm("part 0", ["good"])  # confirmed already
    assert not watch.confirm("part 9999", ["good"])
    faults = {one.name: one for one in watch.status().faults}
    relied = ~np.asarray(result.rejected)
    said = result.decisions.argmax(axis=1)
    assert faults["error"].confirmed == relied.sum()
    assert faults["overkill"].faults == (relied & (kinds == 0) & (said != 0)).sum()
    assert faults["escape"].faults == (relied & (kinds != 0) & (said == 0)).sum()
    assert faults["escape"].low <= faults["escape"].rate <= faults["escape"].high  # type: ignore[operator]
    assert not watch.alarms


def test_defects_that_escape_raise_an_alarm_also_those_of_a_class_the_model_does_not_know(bundle: Bundle) -> None:
    watch = Watch.of_bundle(bundle)
    logits, inputs, _ = Line(4).parts(200, mix=(1.0, 0.0, 0.0))
    result = decided(bundle, logits)
    watch.observe(result)
    for row, key in enumerate(result.prediction.ids):
        watch.confirm(key, ["new defect" if row % 2 else "pit"])
    assert {"confirmed/escape", "confirmed/error"} <= {alarm.quantity for alarm in watch.alarms}
    assert watch.status().faults[1].rate == 1.0
    assert inputs.shape[0] == 200


def test_a_state_is_gone_on_with_and_a_new_version_begins_a_new_watch(bundle: Bundle, tmp_path: Path) -> None:
    whole, first, line = Watch.of_bundle(bundle), Watch.of_bundle(bundle, model="strip@3", folder=tmp_path), Line(5)
    logits, inputs, _ = line.parts(230)
    for watch in (whole, first):
        watch.observe(decided(bundle, logits[:117]), inputs[:117])
    first.save()
    second = Watch.of_bundle(bundle, model="strip@3", folder=tmp_path)
    for watch in (whole, second):
        watch.observe(decided(bundle, logits[117:]), inputs[117:])
    assert second.status().quantities == whole.status().quantities
    assert second.status().started == first.status().started
    assert second.confirm("part 3", ["good"])
    other = Watch.of_bundle(bundle_of(Line(6), 200), model="strip@3", folder=tmp_path)
    other.save()
    assert other.status().records == 0
    assert len(list(tmp_path.iterdir())) == 2
    assert Watch.of_bundle(bundle, model="strip@3", folder=tmp_path).status().records == 117


def test_a_state_is_written_of_itself(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SAVE_EVERY", 100)
    watch = Watch.of_bundle(bundle, model="a b/c", folder=tmp_path)
    feed(watch, bundle, Line(7), 150)
    assert [path.name.rpartition("-")[0] for path in tmp_path.iterdir()] == ["watch-a-b-c"]
    assert Watch.of_bundle(bundle, model="a b/c", folder=tmp_path).status().records == 100


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"format_version": 9}', '{"format_version": 1, "alarms": []}', "\udcff"]
)
def test_a_damaged_state_is_put_aside_and_the_inspection_goes_on(
    bundle: Bundle, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch.of_bundle(bundle, folder=tmp_path)
    watch.save()
    path = next(tmp_path.iterdir())
    path.write_bytes(damage.encode("utf-8", "surrogateescape"))
    assert Watch.of_bundle(bundle, folder=tmp_path).status().records == 0
    assert [one.suffix for one in tmp_path.iterdir()] == [".damaged"]
    assert "put aside as" in caplog.text
    assert "a new watch begins" in caplog.text


def test_a_full_disk_stops_nothing_and_is_told_once(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, values: Any) -> None:
        raise unwritable(path, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(watching, "write_state", full)
    monkeypatch.setattr(watching, "SAVE_EVERY", 50)
    watch = Watch.of_bundle(bundle, folder=tmp_path)
    with caplog.at_level(logging.WARNING, "ringlight"):
        feed(watch, bundle, Line(8), 200)
    assert watch.status().records == 200
    assert caplog.text.count("the watch of model is not kept: ") == 1
    assert "expected room on the disk" in caplog.text


def test_several_threads_may_observe(bundle: Bundle) -> None:
    watch = Watch.of_bundle(bundle)
    logits, inputs, _ = Line(9).parts(40)
    result = decided(bundle, logits)

    def look() -> None:
        for _ in range(10):
            watch.observe(result, inputs)
            watch.status()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.status().records == 1600


def test_what_cannot_be_is_told_in_a_line(bundle: Bundle) -> None:
    with pytest.raises(DataError) as told:
        Watch.of_bundle(replace(bundle, watch={}), model="strip@1")
    assert str(told.value) == (
        "strip@1: expected a reference to compare with, got none in the model; take one from good production: "
        "`ringlight watch MODEL IMAGES --take-reference FILE`"
    )
    with pytest.raises(DataError, match="model: expected a reference as Ringlight writes it, got 'block'"):
        Watch.of_bundle(replace(bundle, watch={"quantities": []}))
    with pytest.raises(
        DataError, match="expected a block of 1 or more, each quantity once, got block 10, quantities none"
    ):
        Watch.of_bundle(replace(bundle, watch={"quantities": [], "block": 10}))
    with pytest.raises(
        DataError, match="model: expected a reference of the classes a, b, got one of good, pit, scratch"
    ):
        Watch(bundle.watch, classes=("a", "b"), task="multiclass")
    with pytest.raises(DataError, match=r"expected a tolerance from 0, below 0\.5, got 0\.7; use 0\.03"):
        Watch.of_bundle(bundle, tolerance=0.7)
    watch = Watch.of_bundle(bundle)
    logits, inputs, _ = Line(1).parts(3)
    with pytest.raises(DataError, match="watch: expected inputs of 3 records, got 2; pass what these records were"):
        watch.observe(decided(bundle, logits), inputs[:2])
    other = replace(bundle, classes=("a", "b", "c"))
    with pytest.raises(
        DataError, match="model: expected classes good, pit, scratch, got a, b, c; begin a watch for each"
    ):
        watch.observe(Decider(replace(other, open_set={}, good_class=None)).decide(["x"], logits[:1]))


def test_scores_that_are_no_numbers_are_left_out_not_an_end(bundle: Bundle) -> None:
    """A model that gives NaN is somebody else's alarm; the watch of the rest goes on."""
    logits, _, _ = Line(1).parts(4)
    result = decided(bundle, logits)
    broken = replace(result, prediction=replace(result.prediction, logits=np.full_like(logits, np.nan)))
    watch = Watch.of_bundle(bundle)
    watch.observe(broken)
    told = {one.name: one.num_recent for one in watch.status().quantities}
    assert (told["ood/energy"], told["confidence"], told["input/brightness"]) == (0, 4, 0)
