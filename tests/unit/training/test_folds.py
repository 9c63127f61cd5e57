"""Folds of prepared data: the groups of a run, choices shared by all folds, a seed for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from ringlight.config.load import compose
from ringlight.errors import InterruptedRunError
from ringlight.training.fold_control import FoldControl
from ringlight.training.folds import divided, fold_plan, grouped_folds, reference_plan, with_choices
from ringlight.training.plan import Prepared, part_problems, prepare
from ringlight.types import Signal

SETTINGS = (
    "data.image_size=32", "data.num_workers=0", "model.name=resnet10t", "model.pretrained=false",
    "training.device=cpu", "training.num_threads=1", "training.precision=32", "training.num_epochs=1",
    "scheduler.warmup_epochs=0", "cv.n_splits=3", "cv.val_share=0.3",
)  # fmt: skip


@pytest.fixture
def prepared(tile_folder: Path, tmp_path: Path) -> Prepared:
    settings = [*SETTINGS, f"data.root={tile_folder}", "data.group_regex=_(\\d)"]
    return prepare(compose("folder", settings, check_parts=part_problems), tmp_path / "cache")


def test_folds_keep_the_groups_of_a_run_whole(prepared: Prepared) -> None:
    dataset, splits = grouped_folds(prepared)
    names = np.array(dataset.groups)
    assert len(splits) == 3
    assert sorted(np.concatenate([split.test for split in splits]).tolist()) == list(range(15))
    for split in splits:
        parts = [set(names[rows]) for rows in split.parts().values()]
        assert all(parts)
        assert not parts[0] & parts[1]
        assert not (parts[0] | parts[1]) & parts[2]
        assert split.groups == "given groups"


def test_choices_are_made_once_and_what_a_fold_chooses_from_its_records_stays_open(prepared: Prepared) -> None:
    division = divided(prepared)
    plan = reference_plan(prepared, division)
    chosen = with_choices(prepared.config, plan.config)
    assert chosen.data.batch_size == plan.config.data.batch_size
    assert chosen.training == plan.config.training
    assert chosen.split.groups == "given"
    assert chosen.model.num_classes == 3
    assert chosen.loss == prepared.config.loss
    assert chosen.imbalance == prepared.config.imbalance
    assert len(plan.split.train) == max(len(split.train) for split in division.splits)


def test_every_fold_has_a_seed_of_its_own_and_always_the_same(prepared: Prepared) -> None:
    division = divided(prepared)
    seeds = [fold_plan(prepared, division, index).config.experiment.seed for index in (0, 1, 0)]
    assert seeds[0] == seeds[2] != seeds[1]
    assert prepared.config.experiment.seed not in seeds


class Listening:
    """Remembers what it hears and gives one answer."""

    def __init__(self, answer: Signal) -> None:
        self.answer, self.heard = answer, list[Mapping[str, float]]()

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        self.heard.append(progress)
        return self.answer


def test_a_control_hears_of_all_folds_as_one_training() -> None:
    listening = Listening("go")
    FoldControl(listening, 4, 2).heartbeat({"done": 3, "total": 10, "epoch": 0})
    assert listening.heard == [{"done": 23, "total": 40, "epoch": 0, "fold": 2, "num_folds": 4}]


@pytest.mark.parametrize("answer", ["cancel", "pause"])
def test_it_stops_between_two_folds(answer: Signal) -> None:
    with pytest.raises(InterruptedRunError) as caught:
        FoldControl(Listening(answer), 4).before(1)
    assert str(caught.value) == (
        f"cross-validation: expected a cross-validation to its end, got `{answer}` before fold 2 of 4; finished folds "
        "are kept: go on with ringlight crossval --resume RUN"
    )
