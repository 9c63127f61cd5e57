"""Open set in a run: a class that is held out, the rule in results, report and bundle, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringlight.config.schema import Config
from ringlight.errors import ConfigError, Problems
from ringlight.evaluation.open_set import OpenSetRule, distance_score
from ringlight.inference.predictor import Predictor
from ringlight.training.embedding import embeddings_of
from ringlight.training.fit import fit
from ringlight.training.judge import judge
from ringlight.training.learner import DeepLearner
from ringlight.training.open_set import (
    NEEDS_VALIDATION,
    NEVER_CHECKED,
    hold_out,
    open_set_of,
    open_set_problems,
    require_validation,
    with_open_set,
)
from ringlight.training.plan import Plan
from ringlight.training.rules import Rules
from ringlight.training.trackers import QuietControl, QuietTracker
from ringlight.types import Dataset, Prediction

PlanOf = Callable[..., Plan]
HELD_OUT = (
    "split.held_out_class=middle", "evaluation.open_set=both", "evaluation.open_set_accept=0.5",
    "evaluation.num_resamples=100", "split.leak_probe=false", "training.num_epochs=1",
)  # fmt: skip


def test_a_held_out_class_leaves_the_data_and_its_number(dataset_of: Callable[..., Dataset]) -> None:
    data = dataset_of([0, 1, 2, 1, 0], group=["a", "b", None, "c", "a"])
    known, unknown = hold_out(data, "c1")
    assert unknown is not None
    assert (known.ids, known.classes, known.targets().tolist()) == (["r0", "r2", "r4"], ("c0", "c2"), [0, 1, 0])
    assert unknown.ids == ["r1", "r3"]
    assert hold_out(data, None) == (data, None)
    assert known.fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("labels", "name", "message"),
    [
        ([0, 1, 2], "c9", "split.held_out_class: expected a class of the data set, got `c9`; choose from: c0, c1, c2"),
        (
            [[0], [1, 2]],
            "c1",
            "split.held_out_class: expected records of one class each, got multilabel data; set it to",
        ),
        ([0, 1], "c1", "split.held_out_class: expected three classes or more, to keep two, got 2; set it to null"),
        ([0, 2, 2], "c1", "split.held_out_class: expected a class with records, got none of `c1`; name another class"),
    ],
)
def test_a_class_that_cannot_be_held_out_is_refused(
    dataset_of: Callable[..., Dataset], labels: Any, name: str, message: str
) -> None:
    with pytest.raises(Problems, match=message):
        hold_out(dataset_of(labels), name)


def test_rules_that_cannot_be_fixed_are_refused_before_the_training(dataset_of: Callable[..., Dataset]) -> None:
    wanted = Config().replacing({"evaluation.open_set": "energy"})
    assert open_set_problems(Config(), dataset_of([0, 1])) == []
    assert open_set_problems(wanted, dataset_of([0, 1])) == []
    (line,) = open_set_problems(wanted, dataset_of([[0], []]))
    assert line.startswith("evaluation.open_set: expected records of one class each, got multilabel data, where a part")
    (line,) = open_set_problems(Config().replacing({"split.held_out_class": "c1"}), dataset_of([0, 1]))
    assert line == (
        "evaluation.open_set: expected an open-set rule to judge by the class, got none; set evaluation.open_set=both, "
        "or split.held_out_class=null"
    )
    with pytest.raises(ConfigError, match=r"evaluation.open_set: expected a validation part to fix the limit on, got"):
        require_validation(wanted, 0)
    require_validation(Config(), 0)


def test_a_run_holds_a_class_out_and_flags_strangers_when_it_serves(plan_of: PlanOf, tmp_path: Path) -> None:
    """One run, start to end: the model has two columns; the rule is in results, report and bundle."""
    plan = plan_of(*HELD_OUT)
    assert plan.unknown is not None
    assert plan.dataset.classes == ("bright", "dark")
    folder = tmp_path / "run"
    outcome = fit(plan, folder, tracker=QuietTracker(), control=QuietControl(), resume=None)
    section = json.loads((folder / "results.json").read_text())["open_set"]
    assert (section["held_out_class"], section["num_unknown"], section["kind"]) == ("middle", 5, "both")
    assert section["validation"]["accepted"] >= 0.5
    assert sorted(section["scores"]) == ["distance", "energy"]
    assert (folder / "figures" / "open_set.png").is_file()
    assert ">Parts of no known class<" in (folder / "report.html").read_text(encoding="utf-8")
    rule = outcome.verdict.rules.open_set
    assert rule is not None
    predictor = Predictor.from_path(folder, device="cpu")
    assert Rules.of_bundle(predictor.bundle).open_set == rule
    uris = [str(uri) for uri in plan.unknown.uris]
    served = predictor.predict(uris)
    assert served.unknown is not None
    assert served.unknown.mean() == pytest.approx(section["reached"]["unknown_flagged"]["value"])
    assert served.rejected is not None
    assert served.rejected[served.unknown].all()
    assert [row["unknown"] for row in served.rows()] == served.unknown.tolist()
    learner = DeepLearner.load(folder / "bundle")
    expected = distance_score(embeddings_of(learner, plan.unknown), np.asarray(rule.means))
    logits = served.prediction.logits
    found = rule.scores(logits, embeddings_of(learner, plan.unknown))["distance"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert OpenSetRule.from_dict(predictor.bundle.open_set).thresholds == rule.thresholds


class Knowing:
    """A learner that has scores alone: no module to listen at."""

    def predict(self, data: Dataset) -> Prediction:
        logits = 6.0 * np.eye(len(data.classes), dtype=np.float32)[data.targets()]
        return Prediction(data.ids, logits, data.classes, data.task, data.targets())


def test_energy_asks_for_scores_alone_and_says_that_no_stranger_was_seen(plan_of: PlanOf) -> None:
    plan = plan_of("evaluation.open_set=energy", "evaluation.num_resamples=100")
    learner: Any = Knowing()
    verdict = judge(plan, learner)
    assert verdict.rules.open_set is not None
    assert list(verdict.rules.open_set.thresholds) == ["energy"]
    assert NEVER_CHECKED in verdict.rules.notes
    section = open_set_of(plan, learner, verdict)["open_set"]
    assert (section["held_out_class"], section["num_unknown"], section["scores"]["energy"]["auroc"]) == (None, 0, None)
    bare = Rules(task="multiclass", classes=plan.dataset.classes)
    assert with_open_set(bare, plan, learner, None).notes == (NEEDS_VALIDATION,)
    assert open_set_of(plan, learner, replace(verdict, rules=bare)) == {}
