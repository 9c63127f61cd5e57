"""A quantised model's rules are its own, and it is judged by rules that were not fixed on the judged records."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ringlight.config.schema import EvaluationConfig
from ringlight.data.preprocess import InputSpec
from ringlight.errors import DataError, ModelError
from ringlight.inference.bundle import Bundle
from ringlight.inference.quantize import LayerError
from ringlight.training.accept_int8 import Int8, accept_int8
from ringlight.training.rules import fix_rules
from ringlight.types import Prediction

CLASSES = ("good", "pit", "scratch")


def settings(**values: Any) -> EvaluationConfig:
    return EvaluationConfig.model_validate(values)


def scored(num: int = 300, *, noise: float = 1.0, seed: int = 0) -> Prediction:
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 3, num)
    logits = 4.0 * np.eye(3)[targets] + generator.normal(0, noise, (num, 3))
    return Prediction([f"r{row}" for row in range(num)], logits.astype(np.float32), CLASSES, "multiclass", targets)


def moved(original: Prediction, *, noise: float = 0.0, scale: float = 1.0, seed: int = 1) -> Prediction:
    shift = np.random.default_rng(seed).normal(0, noise, original.logits.shape)
    return replace(original, logits=(scale * original.logits + shift).astype(np.float32), targets=None)


def test_the_rules_are_fixed_on_the_quantised_scores() -> None:
    """Scores of half the size: the temperature is half as well, and the stored points are those of the new scores."""
    original = scored(noise=3.0)
    found = accept_int8(original, moved(original, scale=0.5), settings(), max_drift=0.6)
    own = fix_rules(original, None, settings(), task="multiclass", classes=CLASSES, seed=0)
    assert found.rules.calibration is not None
    assert own.calibration is not None
    ratio = found.rules.calibration.calibrator.scale[0] / own.calibration.calibrator.scale[0]
    assert ratio == pytest.approx(2, rel=0.02)
    bundle = Bundle(architecture={"name": "net"}, task="multiclass", classes=CLASSES, input_spec=InputSpec(3, 32))
    written = found.bundle(replace(bundle, open_set={"kept": 1}))
    assert written.calibration == found.rules.for_bundle()["calibration"]
    assert written.operating_points["max_f1"] == found.rules.points["max_f1"].to_dict()
    assert (written.open_set, written.classes) == ({"kept": 1}, CLASSES)
    json.dumps(found.to_dict())


def test_an_equal_model_of_few_records_is_undecided_and_passes_only_on_purpose() -> None:
    original = scored()
    found = accept_int8(original, moved(original, noise=0.01), settings())
    assert found.verdict == "undecided"
    with pytest.raises(ModelError) as error:
        found.require(where="models export --int8")
    assert str(error.value).startswith(
        "models export --int8: expected an INT8 model as good as its original, got undecided: too few records to tell: "
    )
    assert str(error.value).endswith("; validate on more records, or accept it as it is with --accept-undecided")
    found.require(where="models export --int8", accept_undecided=True)
    assert accept_int8(original, moved(original, noise=0.01), settings(), max_loss=0.05).verdict == "accepted"
    assert found.lines()[0].startswith("INT8 undecided: macro-F1 ")


def test_a_worse_model_is_refused_and_cannot_be_accepted() -> None:
    original = scored(noise=0.5)
    found = accept_int8(original, moved(original, noise=3.0), settings(), max_drift=10)
    assert found.verdict == "refused"
    with pytest.raises(ModelError, match=r"got refused: macro-F1 fell by .* with 95 % confidence by at least"):
        found.require(where="export", accept_undecided=True)


def test_drifting_scores_are_refused_although_every_label_agrees_and_the_layer_is_named() -> None:
    original = scored(1500, noise=0.2)
    asked: list[int] = []

    def layers() -> list[LayerError]:
        asked.append(1)
        return [LayerError("blocks.1.fc2", 0.31)]

    fine = accept_int8(original, moved(original, noise=0.1), settings(), layers=layers)
    assert (fine.verdict, asked) == ("accepted", [])
    found = accept_int8(original, moved(original, scale=0.7), settings(), layers=layers)
    assert found.acceptance.loss.changed == 0
    assert found.verdict == "refused"
    assert found.acceptance.reasons == (
        "its scores are 30.0 % off, the bound is 15 %; the worst layers by themselves: blocks.1.fc2 (31.0 %)",
    )


def test_thresholds_are_not_judged_on_the_records_they_were_fixed_on() -> None:
    """Scores without a signal: F1-best thresholds fit the part they are fixed on, and nothing else.

    Each half decides the other, so that the reference macro-F1 is that of chance, not of the fit.
    """
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, (60, 3))
    logits = generator.normal(0, 1, (60, 3)).astype(np.float32)
    original = Prediction([f"r{row}" for row in range(60)], logits, CLASSES, "multilabel", targets)
    config = settings(operating_point="max_f1", calibration="none")
    found = accept_int8(original, moved(original), config)
    whole = fix_rules(original, None, config, task="multilabel", classes=CLASSES, seed=0)
    assert found.acceptance.loss.reference < whole.points["max_f1"].validation["macro_f1"] - 0.02


def test_a_point_that_a_half_cannot_bear_is_fixed_on_the_whole_for_both() -> None:
    """Recall 0.95 needs 59 positives: the whole part has 80, a half 40."""
    original = scored(240, noise=0.2)
    point = {"kind": "recall_at_least", "label": "pit", "target": 0.95}
    config = settings(operating_points={"found": point}, operating_point="found")
    found = accept_int8(original, moved(original, noise=0.05), config)
    assert found.notes[0].startswith(
        "judged by rules fixed on the same records: half of them cannot bear found (recall"
    )
    assert [one.label for one in found.acceptance.guarded] == ["pit"]
    assert not found.rules.active.refused


def test_groups_are_halved_whole_and_one_group_cannot_be() -> None:
    original = scored(60)
    found = accept_int8(original, moved(original, noise=0.01), settings(), groups=["coil"] * 60)
    assert found.notes == ("judged by rules fixed on the same records: they cannot be halved without dividing a group",)
    assert found.verdict == "undecided"


def test_records_without_labels_are_refused() -> None:
    original = scored(20)
    with pytest.raises(DataError, match="validation: expected four labelled records or more to judge an INT8 model on"):
        accept_int8(replace(original, targets=None), moved(original), settings())
    assert isinstance(accept_int8(original, moved(original), settings()), Int8)
