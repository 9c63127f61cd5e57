"""A payload is plain configuration data: unknown keys, wrong values and wrong kinds are refused, a line each."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringlight.errors import DataError, JobError, Problems, RunError
from ringlight.services.job_payloads import PAYLOADS, RecipePayload, check, payload_of


def test_unknown_keys_and_wrong_values_are_told_a_line_each() -> None:
    values = {"folder": "/", "recipe": "demo", "overides": ["a=1"], "file": 3}
    with pytest.raises(Problems) as refused:
        payload_of("train", values)
    assert str(refused.value).splitlines() == [
        "payload of a train job: file: expected input should be a valid string, got 3; correct it",
        "payload of a train job: overides: expected a key that it knows, got `overides`; did you mean `overrides`?",
    ]
    with pytest.raises(Problems, match="payload of a predict job: model: expected a value, got none; set it"):
        payload_of("predict", {"folder": "/", "paths": ["a.png"]})


def test_no_payload_names_code() -> None:
    for key in ("_target_", "callable", "command", "module"):
        for kind in PAYLOADS:
            with pytest.raises(Problems, match=f"got `{key}`"):
                payload_of(kind, {"folder": "/", key: "os.system"})
    with pytest.raises(Problems, match="got a key that names code to run"):
        check("train", payload_of("train", {"folder": "/", "recipe": "demo", "overrides": ["+x._target_=os"]}), Path())


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(JobError, match="expected a kind of job, got `trian`; did you mean `train`"):
        payload_of("trian", {})


def test_mistakes_in_the_configuration_are_told_before_the_job_waits(tmp_path: Path) -> None:
    with pytest.raises(Problems, match="did you mean `num_epochs`"):
        check("crossval", RecipePayload(folder="/", recipe="demo", overrides=("training.num_epoch=3",)), tmp_path)
    study = RecipePayload(folder="/", recipe="demo", overrides=("tune.space.optimizer.lrr=[1,2]",))
    with pytest.raises(Problems, match=r"optimizer\.lrr"):
        check("tune", study, tmp_path)
    cuda = ("training.device=cuda:1",)
    assert check("train", RecipePayload(folder="/", recipe="demo", overrides=cuda), tmp_path).device == "cuda:1"


def test_a_model_or_a_file_that_is_not_there_is_told_before_the_job_waits(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="got `demo-1`, which names 0"):
        check("evaluate", payload_of("evaluate", {"folder": "/", "model": "demo-1"}), tmp_path)
    values = {"folder": "/", "model": str(tmp_path), "paths": [str(tmp_path), str(tmp_path / "no.png")]}
    with pytest.raises(DataError, match=r"no\.png: expected a file or a folder, got nothing"):
        check("predict", payload_of("predict", values), tmp_path)
