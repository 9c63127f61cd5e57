"""What looks on while a model serves: each process has its own places, and nothing is kept that nobody asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ringlight.inference.bundle import Bundle
from ringlight.inference.decisions import Decider
from ringlight.inference.predictor import Predictor
from ringlight.inference.watch_reference import WatchReference, measure
from ringlight.services import serving_watch
from ringlight.services.serving import Served
from ringlight.services.serving_watch import onlooker_of
from served_models import CLASSES, IMAGES, picture, predictor_of

IDS = [str(row) for row in range(60)]
INPUTS = np.random.default_rng(1).random((60, 1, 8, 8)).astype(np.float32)
LOGITS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
RESULT = Decider(Bundle(architecture={}, task="multiclass", classes=CLASSES, input_spec=IMAGES)).decide(IDS, LOGITS)


def served_of(predictor: Predictor) -> Served:
    return Served(name="strips", reference="strips@1", version=1, checksum="", predictor=predictor)


def watched() -> Served:
    reference = WatchReference.of([(measure(RESULT, INPUTS), None)])
    assert reference is not None
    predictor = predictor_of(good_class=None)
    predictor.bundle = replace(predictor.bundle, watch=reference.to_dict())
    return served_of(predictor)


def test_a_watch_counts_confirms_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    onlooker = onlooker_of(watched(), workspace=tmp_path)
    assert onlooker is not None
    onlooker.observe(RESULT, INPUTS, [picture()] * 60)
    assert onlooker.numbers()["records"] == 60
    assert onlooker.confirm("7", ["scratch"])
    assert not onlooker.confirm("x", ["scratch"])
    onlooker.close()
    again = onlooker_of(watched(), workspace=tmp_path)
    assert again is not None
    assert again.numbers()["records"] == 60
    other = onlooker_of(watched(), workspace=tmp_path, worker=1)
    assert other is not None
    assert other.numbers()["records"] == 0


def test_the_numbers_are_those_of_a_moment_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(serving_watch, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    onlooker = onlooker_of(watched(), workspace=tmp_path)
    assert onlooker is not None
    onlooker.observe(RESULT, INPUTS, [])
    assert onlooker.numbers()["records"] == 60
    onlooker.observe(RESULT, INPUTS, [])
    assert onlooker.numbers()["records"] == 60
    clock[0] += 2
    assert onlooker.numbers()["records"] == 120
    assert onlooker.numbers()["input/brightness.alarm"] == 0


def test_without_a_reference_a_line_says_what_to_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert onlooker_of(served_of(predictor_of(good_class=None)), workspace=tmp_path) is None
    assert "strips is not watched: it has no reference; take one from good production: `ringlight watch" in caplog.text


def test_without_a_reference_images_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    bare = served_of(predictor_of(good_class=None))
    assert onlooker_of(bare, workspace=tmp_path) is None
    onlooker = onlooker_of(bare, samples=tmp_path / "label", max_files=2, workspace=tmp_path)
    assert onlooker is not None
    pictures = [picture(row) for row in range(60)]
    onlooker.observe(RESULT, INPUTS, pictures)
    assert len(list((tmp_path / "label" / "strips").glob("*.png"))) == 2
    assert (onlooker.numbers(), onlooker.confirm("7", ["dent"])) == ({}, False)
    onlooker.close()
