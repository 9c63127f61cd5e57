"""The embedding of a trained model: the training part is searched, and nothing is computed where nobody asked.

What a run writes of it is tested in `test_fit.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ringlight.evaluation.retrieval import retrieval_metrics
from ringlight.training.embedding import embeddings_of
from ringlight.training.judge import judge
from ringlight.training.learner import DeepLearner
from ringlight.training.plan import Plan
from ringlight.training.retrieval import retrieval_of, write_embedding
from ringlight.training.trackers import QuietTracker

PlanOf = Callable[..., Plan]
FEW = ("evaluation.num_resamples=100", "split.leak_probe=false", "evaluation.calibration=none")


def test_the_training_part_is_searched_and_groups_are_kept_apart(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of("evaluation.embedding=true", *FEW)
    learner = DeepLearner.from_plan(plan, tmp_path, lambda *_: None)
    verdict = judge(plan, learner)
    data, train = verdict.data, plan.part("train")
    judged = retrieval_of(plan, learner, verdict)
    section = judged.section
    rows = embeddings_of(learner, data), data.targets(), embeddings_of(learner, train), train.targets()
    groups = {"groups": data.groups, "gallery_groups": train.groups}
    expected = retrieval_metrics(*rows, **groups, classes=data.classes, num_resamples=100, seed=42).to_dict()
    assert {key: section[key] for key in expected} == expected
    assert len(section["neighbors"]) == len(data)
    for row in section["neighbors"]:
        assert {one["id"] for one in row["neighbors"]} <= set(train.ids)
        assert row["num_right"] == sum(one["truth"] == row["truth"] for one in row["neighbors"])
        assert np.all(np.diff([one["cosine"] for one in row["neighbors"]]) <= 0)
    assert section["projection"] == {
        "method": "PCA", "explained": section["projection"]["explained"],
        "num_judged": len(data), "num_train": len(train),
    }  # fmt: skip
    assert all(picture.startswith(b"\x89PNG") for picture in judged.pictures.values())
    assert sorted(judged.pictures) == ["embedding", "neighbors"]


def test_nothing_is_embedded_where_nobody_asked(plan_of: PlanOf, tmp_path: Path) -> None:
    nobody: Any = None
    assert write_embedding(plan_of(), nobody, nobody, tmp_path / "run", QuietTracker(), 0) == {}
    assert not (tmp_path / "run").exists()
