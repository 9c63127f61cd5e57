"""Judging: rules from the validation part, the test part touched once, what views gain, files that read back."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from ringlight.config.schema import EvaluationConfig
from ringlight.errors import DataError
from ringlight.inference.tta import Tta
from ringlight.training import judge as judge_module
from ringlight.training.judge import Verdict, judge, mean_loss, probe_of, verdict_of, verdict_on, write_predictions
from ringlight.training.plan import Plan
from ringlight.training.rules import Rules
from ringlight.types import Dataset, Prediction, Split

PlanOf = Callable[..., Plan]


class Oracle:
    """A learner that knows the truth, but for one record."""

    def __init__(self, wrong: str | None = None) -> None:
        self.wrong = wrong
        self.asked: list[list[str]] = []

    def predict(self, data: Dataset) -> Prediction:
        self.asked.append(data.ids)
        logits = 6.0 * np.eye(len(data.classes), dtype=np.float32)[data.targets()]
        rows = [row for row, key in enumerate(data.ids) if key == self.wrong]
        logits[rows] = logits[rows][:, ::-1] + np.float32([0, 1, 0])
        return Prediction(data.ids, logits, data.classes, data.task, data.targets())


class Guesser:
    """A learner that looks at the name of a record and never at its label: sure, and right half of the time."""

    def predict(self, data: Dataset) -> Prediction:
        generators = [np.random.default_rng(zlib.crc32(key.encode())) for key in data.ids]
        logits = np.stack([12 * generator.normal(size=len(data.classes)) for generator in generators])
        return Prediction(data.ids, logits.astype(np.float32), data.classes, data.task, data.targets())


class Seer(Guesser):
    """A learner that guesses at one view and knows the truth from several."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, list[str]]] = []

    def predict(self, data: Dataset) -> Prediction:
        self.asked.append((1, data.ids))
        return super().predict(data)

    def predict_views(self, data: Dataset, tta: Tta) -> Prediction:
        self.asked.append((tta.runs, data.ids))
        return Oracle().predict(data)


class Contrary(Oracle):
    """A learner that gives every record the next class."""

    def predict(self, data: Dataset) -> Prediction:
        found = super().predict(data)
        return replace(found, logits=np.roll(found.logits, 1, axis=1))


@pytest.fixture
def large(plan_of: PlanOf, dataset_of: Callable[..., Dataset]) -> PlanOf:
    """A plan whose data are 300 labels without files: 100 to train, 100 to validate, 100 to test."""

    def make(*overrides: str) -> Plan:
        plan = plan_of("split.leak_probe=false", *overrides)
        labels = [zlib.crc32(f"label {row}".encode()) % 3 for row in range(300)]
        data = dataset_of(labels, classes=["good", "pit", "scratch"])
        rows = np.arange(300)
        split = Split(rows[:100], rows[100:200], rows[200:], "made up")
        return replace(plan, given=data, dataset=data, split=split)

    return make


def relabelled(plan: Plan, part: str) -> Plan:
    """The same plan with other labels in one part."""
    labels = [list(row) for row in plan.dataset.table.column("labels").to_pylist()]
    for row in plan.split.parts()[part]:
        labels[row] = [(labels[row][0] + 1) % 3]
    return replace(plan, dataset=plan.dataset.with_column("labels", labels))


def test_the_test_part_is_judged_after_validation_and_each_once(plan_of: PlanOf) -> None:
    plan, oracle = plan_of(), Oracle()
    verdict = judge(plan, oracle)  # type: ignore[arg-type]
    assert verdict.part == "test"
    assert oracle.asked == [plan.part("val").ids, plan.part("test").ids]
    assert verdict.metrics.scalars["accuracy"] == 1.0
    assert verdict.validation is not None
    assert verdict.validation.ids == plan.part("val").ids


def test_without_a_test_part_the_validation_part_is_judged_and_named(
    plan_of: PlanOf, tile_folder: Path, tmp_path: Path
) -> None:
    plan = plan_of()
    split = tmp_path / "split.csv"
    lines = [f"{key},{'val' if row % 3 == 0 else 'train'}" for row, key in enumerate(plan.dataset.ids)]
    split.write_text("\n".join(["id,split", *lines]))
    made = plan_of("split.strategy=predefined", f"split.file={split}")
    assert judge(made, Oracle()).part == "val"  # type: ignore[arg-type]


def test_a_split_of_training_records_alone_cannot_be_judged(large: PlanOf) -> None:
    plan = large()
    none = np.empty(0, np.int64)
    with pytest.raises(DataError) as caught:
        judge(replace(plan, split=Split(np.arange(300), none, none)), Guesser())  # type: ignore[arg-type]
    assert str(caught.value) == (
        "split: expected a test or validation part, got only training records; use another strategy"
    )


def test_thresholds_and_calibration_know_nothing_of_the_test_part(large: PlanOf) -> None:
    """A peer searched its best threshold on the records it then reported: no test set after that."""
    plan = large("evaluation.operating_point=max_f1", "evaluation.reject_error=0.3")
    verdicts = [judge(made, Guesser()) for made in (plan, relabelled(plan, "test"))]  # type: ignore[arg-type]
    rules = [verdict.rules.for_bundle() for verdict in verdicts]
    assert rules[0]["calibration"]["accepted"]
    assert rules[0]["operating_points"]["max_f1"]["status"] == "ok"
    assert rules[0] == rules[1]
    assert verdicts[0].metrics.scalars["accuracy"] != verdicts[1].metrics.scalars["accuracy"]
    other = judge(relabelled(plan, "val"), Guesser()).rules.for_bundle()  # type: ignore[arg-type]
    assert other != rules[0]


def test_without_a_validation_part_the_default_rule_decides_and_a_note_says_so(plan_of: PlanOf) -> None:
    plan = plan_of("split.strategy=stratified_80_20", "evaluation.operating_point=max_f1")
    oracle = Oracle()
    verdict = judge(plan, oracle)  # type: ignore[arg-type]
    assert oracle.asked == [plan.part("test").ids]
    assert verdict.rules.notes == (
        "no calibration and no operating point: there is no validation part to fix it on",
    )  # fmt: skip
    assert verdict.validation is None
    sections = verdict.sections()
    assert sections["test"]["operating_point"] == "default"
    assert sections["operating_points"] == []


def test_the_training_loss_of_the_judged_part_is_told(plan_of: PlanOf) -> None:
    plan = plan_of()
    verdict = judge(plan, Oracle())  # type: ignore[arg-type]
    assert verdict.loss == pytest.approx(mean_loss(plan.criterion, verdict.prediction))
    assert verdict.scores()["loss"] == verdict.loss
    assert verdict.scores()["macro_f1"] == 1.0
    data = plan.part("test")
    again = verdict_on(
        "test", data, Oracle(), verdict.rules, plan.config.evaluation, seed=42, in_chans=3  # type: ignore[arg-type]
    )  # fmt: skip
    assert again.loss is None
    assert "loss" not in again.scores()
    assert again.assessment.test == verdict.assessment.test


def test_views_are_judged_with_their_gain_and_cost(large: PlanOf) -> None:
    plan, seer = large("evaluation.tta_runs=4", "evaluation.tta_space=logit"), Seer()
    verdict = judge(plan, seer)  # type: ignore[arg-type]
    assert verdict.tta is not None
    assert (verdict.tta["runs"], verdict.tta["space"]) == (4, "logit")
    gain = verdict.tta["gain"]
    plain = verdict_on(
        "test", plan.part("test"), Guesser(), Rules(task="multiclass", classes=plan.dataset.classes),  # type: ignore[arg-type]
        plan.config.evaluation, seed=42, in_chans=3,
    )  # fmt: skip
    assert gain["metric"] == "macro_f1"
    assert gain["value"] == pytest.approx(1 - float(plain.metrics.scalars["macro_f1"] or 0))
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    assert verdict.tta["cost"] > 0
    assert verdict.metrics.scalars["macro_f1"] == 1.0
    # The plain look is what the gain is told against; the rules are fixed on views, as they will be used.
    assert seer.asked == [(4, plan.part("val").ids), (1, plan.part("test").ids), (4, plan.part("test").ids)]
    assert verdict.sections()["tta"] == verdict.tta


def test_views_that_decide_alike_gain_nothing_and_have_no_interval(large: PlanOf) -> None:
    class Stubborn(Guesser):
        def predict_views(self, data: Dataset, tta: Tta) -> Prediction:
            return self.predict(data)

    verdict = judge(large("evaluation.tta_runs=2"), Stubborn())  # type: ignore[arg-type]
    assert verdict.tta is not None
    assert verdict.tta["gain"] == {"metric": "macro_f1", "value": 0.0, "low": None, "high": None}


def test_one_view_and_a_learner_without_views_are_judged_as_they_are(large: PlanOf) -> None:
    seer = Seer()
    assert judge(large(), seer).tta is None  # type: ignore[arg-type]
    assert {runs for runs, _ in seer.asked} == {1}
    assert judge(large("evaluation.tta_runs=4"), Guesser()).tta is None  # type: ignore[arg-type]


def test_a_verdict_holds_the_sections_that_the_reference_lists(plan_of: PlanOf) -> None:
    plan = plan_of()
    wrong = plan.part("test").ids[-1]
    sections = judge(plan, Oracle(wrong)).sections()  # type: ignore[arg-type]
    assert set(sections) == {
        "judged_part", "test", "calibration", "operating_points", "reject", "curves", "energy", "slices", "mistakes",
        "tta",
    }  # fmt: skip
    assert [row["id"] for row in sections["mistakes"]] == [wrong]
    assert sections["test"]["num_groups"] == len(set(plan.part("test").groups or ()))


def test_mistakes_are_shown_as_many_as_wished_and_never_of_records_without_a_file(
    plan_of: PlanOf, large: PlanOf
) -> None:
    verdict = judge(plan_of("evaluation.num_mistakes=1"), Contrary())  # type: ignore[arg-type]
    assert list(verdict.pictures) == [row["picture"] for row in verdict.mistakes] == ["mistake-01"]
    assert judge(plan_of("evaluation.num_mistakes=0"), Contrary()).mistakes == ()  # type: ignore[arg-type]
    bare = judge(large(), Guesser())  # type: ignore[arg-type]
    assert (bare.mistakes, dict(bare.pictures)) == ((), {})
    assert not bare.assessment.decided.right.all()


def test_the_leak_probe_is_made_where_groups_hold_several_records_and_only_if_wished(plan_of: PlanOf) -> None:
    regex = r"data.group_regex='^\w+/\w+_(?P<group>\d)'"
    plan = plan_of(regex)
    probe = probe_of(plan)
    assert probe is not None
    assert (probe.num_records, probe.num_groups) == (15, 6)
    assert probe_of(plan_of(regex, "split.leak_probe=false")) is None
    assert probe_of(plan_of("split.groups=none")) is None


def test_a_run_does_not_spend_minutes_on_a_leak_of_a_few_records(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On NEU, where 2 % of the images have a twin, the probe took longer than the training of a small model."""
    plan = plan_of(r"data.group_regex='^\w+/\w+_(?P<group>\d)'")
    shares = iter((0.04, 0.06))

    def measured(dataset: Dataset, **_options: object) -> str:
        return f"probed {len(dataset)}"

    monkeypatch.setattr(judge_module, "measure_leak", measured)
    for share, expected in zip(shares, (None, "probed 15"), strict=True):
        twins = round(share * 100)
        units = np.r_[np.zeros(twins, int), np.arange(1, 101 - twins)]
        monkeypatch.setattr(judge_module, "units_of", lambda _dataset, units=units: units)
        assert probe_of(plan) == expected


@pytest.fixture
def predicted(dataset_of: Callable[..., Dataset]) -> Callable[..., tuple[Dataset, Prediction]]:
    def make(task: str, **columns: Sequence[Any]) -> tuple[Dataset, Prediction]:
        chances = np.array([[0.9, 0.2], [0.5, 0.25]])
        logits = np.log(chances / (1 - chances)).astype(np.float32)
        data = dataset_of([[0, 1], []] if task == "multilabel" else [1, 0], classes=["a", "b"], **columns)
        return data, Prediction(data.ids, logits, data.classes, data.task, data.targets())

    return make


def verdict(data: Dataset, prediction: Prediction, **rules: Any) -> Verdict:
    given = Rules(task=data.task, classes=data.classes, **rules)
    return verdict_of("test", data, prediction, given, EvaluationConfig(num_resamples=100), seed=0, in_chans=3)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_predictions_read_back_with_ids_groups_truth_and_both_scores(
    predicted: Callable[..., tuple[Dataset, Prediction]], tmp_path: Path, task: str
) -> None:
    from ringlight.evaluation.calibration import Calibration, Calibrator

    data, prediction = predicted(task, group=["coil 1", None])
    half = Calibration(kind="temperature", calibrator=Calibrator("temperature", (0.5,)), accepted=True, reason="")
    write_predictions(tmp_path, verdict(data, prediction, calibration=half))
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table.schema.metadata == {b"part": b"test"}
    columns = table.to_pydict()
    assert columns["id"] == ["r0", "r1"]
    assert columns["group"] == ["coil 1", None]
    assert columns["truth"] == ([[1], [0]] if task == "multiclass" else [[0, 1], []])
    np.testing.assert_array_equal(np.float32(columns["logit/b"]), prediction.logits[:, 1])
    softer = replace(prediction, logits=prediction.logits * np.float32(0.5))
    np.testing.assert_array_equal(columns["probability/a"], softer.probabilities[:, 0])
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_predictions_of_data_without_groups_read_back_without(
    predicted: Callable[..., tuple[Dataset, Prediction]], tmp_path: Path
) -> None:
    write_predictions(tmp_path, verdict(*predicted("multiclass")))
    assert pq.read_table(tmp_path / "predictions.parquet").to_pydict()["group"] == [None, None]


def test_the_loss_of_a_part_is_that_of_all_its_records_at_once() -> None:
    """A mean of batch losses weighs the records of a short last batch more than the others."""
    logits = np.array([[2.0, -1.0], [0.0, 3.0], [-4.0, 1.0]], np.float32)
    truth = np.array([[1, 0], [0, 0], [1, 1]], np.uint8)
    prediction = Prediction(["a", "b", "c"], logits, ("x", "y"), "multilabel", truth)
    by_hand = np.mean(
        [np.log1p(np.exp(-z)) if y else np.log1p(np.exp(z)) for z, y in zip(logits.flat, truth.flat, strict=True)]
    )
    assert mean_loss(torch.nn.BCEWithLogitsLoss(), prediction) == pytest.approx(by_hand, rel=1e-6)
