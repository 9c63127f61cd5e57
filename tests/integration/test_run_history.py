"""A real run, study and cross-validation in the training history, and the same bits when they are run again."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ringlight.errors import RunError
from ringlight.services import crossval, runs
from ringlight.services.reproduce import reproduce
from ringlight.services.run_details import epochs, show
from ringlight.services.run_history import list_runs
from ringlight.services.runs import Run


def test_a_run_is_recorded_and_reproduced_to_the_bit(finished: Run) -> None:
    home = finished.folder.parent.parent
    details = show(finished.folder)
    assert (details.card.status, details.card.kind, details.card.device) == ("completed", "train", "cpu")
    assert details.card.metrics["macro_f1"] == finished.results["test"]["scalars"]["macro_f1"]
    history = finished.results["history"]
    assert [row["train/loss"] for row in epochs(finished.folder)] == [row["train/loss"] for row in history]
    assert details.snapshot is not None
    assert details.split is not None
    assert details.snapshot["fingerprint"] == finished.results["dataset"]["fingerprint"]
    assert pq.read_table(home / details.snapshot["path"]).num_rows == details.snapshot["num_records"] == 36
    sizes = {part: card["num_records"] for part, card in finished.results["split"]["parts"].items()}
    assert details.split["sizes"] == sizes
    assert {key: values for key, values in details.differences.items() if key.startswith("optimizer")} == {
        "optimizer.lr": [0.002, 0.001]
    }

    found = reproduce(finished.folder)
    assert found.is_identical, found.verdict
    assert [one.num_compared > 0 for one in found.differences] == [True] * 4
    assert [card.name for card in list_runs(workspace=home)] == [finished.folder.name]
    assert show(finished.folder).events[-1]["what"] == "reproduced"


def test_a_run_on_other_data_is_not_reproduced(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = {**runs.read_manifest(finished.folder), "dataset_fingerprint": "0" * 64}
    monkeypatch.setattr("ringlight.services.reproduce.read_manifest", lambda _folder: manifest)
    before = sorted(finished.folder.parent.iterdir())
    with pytest.raises(RunError, match=r"expected the data of the run \(fingerprint 000000000000\)"):
        reproduce(finished.folder)
    assert sorted(finished.folder.parent.iterdir()) == before


@pytest.mark.slow
def test_a_cross_validation_is_recorded_and_reproduced(small: list[str], tmp_path: Path) -> None:
    few = [*small, "training.num_epochs=1", "scheduler.warmup_epochs=0", "cv.n_splits=2", "cv.method=kfold"]
    first = crossval.cross_validate("demo", few, workspace=tmp_path)
    assert first.folder is not None
    assert len(epochs(first.folder)) == 2
    found = reproduce(first.folder, keep=True)
    assert found.is_identical, found.verdict
    assert [one.part for one in found.differences] == ["predictions", "history", "scores"]
    assert found.folder is not None
    again = show(found.folder)
    assert (again.card.kind, again.parent, again.differences) == ("crossval", first.folder.name, {})
