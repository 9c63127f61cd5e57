"""Another run that takes part in this one: its split is found from every folder of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ringlight.data.split import write_split
from ringlight.errors import RunError
from ringlight.training.other_runs import check_unseen, saved_split
from ringlight.training.plan import Plan


def test_the_split_of_a_run_is_known_in_its_bundle_and_phases_too(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan, run = plan_of(), tmp_path / "run"
    phase = run / "phases" / "supcon"
    phase.mkdir(parents=True)
    assert saved_split(run) is None
    assert not check_unseen(plan, phase, "margin.start_from", who="no earlier run")
    write_split(plan.split, plan.dataset, run / "split.csv")
    assert all(saved_split(folder) is not None for folder in (run, run / "bundle", phase))
    assert check_unseen(plan, phase, "margin.start_from", who="no earlier run")
    tuned = replace(plan.split, val=plan.split.test, test=plan.split.val)
    write_split(tuned, plan.dataset, run / "split.csv")
    with pytest.raises(RunError, match=r"^margin\.start_from: expected records of the test part that no earlier run"):
        check_unseen(plan, phase, "margin.start_from", who="no earlier run")
