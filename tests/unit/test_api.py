"""`import ringlight as rl`: a few names, nothing heavy until one is used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ringlight as rl
from ringlight.errors import DataError, Problems, RunError, UserError, WorkspaceError

TINY = (
    "data.num_images=16",
    "data.height=32",
    "data.width=32",
    "data.image_size=32",
    "model.name=resnet10t",
    "training.num_epochs=1",
    "training.device=cpu",
    "training.num_threads=1",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return rl.train("demo", TINY, workspace=tmp_path_factory.mktemp("api"))


def test_the_names_are_there_and_others_are_not() -> None:
    names = {"train", "cross_validate", "load", "evaluate", "load_results", "compare_results", "__version__"}
    names |= {"register", "activate", "export", "load_model", "history", "reproduce"}
    assert names <= set(dir(rl))
    assert set(rl.__all__) == names
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = rl.trian


def test_importing_it_costs_nothing() -> None:
    code = "import sys, ringlight; dir(ringlight); print([name for name in ('torch', 'hydra') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_train_load_predict(run: Any) -> None:
    assert 0 <= run.results["test"]["scalars"]["macro_f1"] <= 1
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    scores = [rl.load(where).predict([image, image]) for where in (run, run.folder, str(run.folder), run.bundle)]
    assert all(np.array_equal(scores[0].probabilities, other.probabilities) for other in scores)
    assert scores[0].probabilities.shape == (2, 4)
    assert scores[0].rows()[1]["id"] == "array 1"
    assert rl.load(run, threshold=1e-6).predict(image).labels == [[f"defect_{number}" for number in range(1, 5)]]


def test_register_activate_load(run: Any) -> None:
    workspace = run.folder.parent.parent
    made = rl.register(run, "api", workspace=workspace)
    assert (made.version, made.run, made.snapshot) == (1, run.folder.name, run.results["dataset"]["fingerprint"])
    assert rl.activate("api", 1, why="first", gate=True, workspace=workspace).to_version == 1
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    loaded = rl.load_model("api", workspace=workspace)
    assert np.array_equal(loaded.predict(image).probabilities, rl.load(run).predict(image).probabilities)


def test_what_was_trained_is_in_the_history(run: Any) -> None:
    (card,) = rl.history(status=["completed"], metric="macro_f1", workspace=run.folder.parent.parent)
    assert (card.name, card.score) == (run.folder.name, run.results["test"]["scalars"]["macro_f1"])
    with pytest.raises(RunError, match="expected a run's folder, name, or the beginning of one name"):
        rl.reproduce("nothing", workspace=run.folder.parent.parent)


def test_a_stored_operating_point_decides_when_it_is_named(run: Any) -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    points = {point["name"]: point for point in run.results["operating_points"]}
    scores = rl.load(run, operating_point="max_f1").predict(image)
    limits = [0.5 if value is None else value for value in points["max_f1"]["thresholds"]]
    expected = [
        name for name, p, t in zip(scores.prediction.classes, scores.probabilities[0], limits, strict=True) if p >= t
    ]
    assert scores.labels == [expected]
    with pytest.raises(DataError, match=r"got `max_f2`; did you mean `max_f1`\?"):
        rl.load(run, operating_point="max_f2")


def test_a_run_is_evaluated_again_and_as_a_member(run: Any, tmp_path: Path) -> None:
    found = rl.evaluate(run, out=tmp_path / "again")
    assert found.folder == tmp_path / "again"
    assert found.results["test"]["scalars"] == run.results["test"]["scalars"]
    assert json.loads((found.folder / "results.json").read_text()) == json.loads(json.dumps(found.results))
    for where in (str(run.folder), run.folder):
        point = rl.evaluate(where, operating_point="max_f1", tta_runs=2, out=tmp_path / "point").results
        assert (point["test"]["operating_point"], point["tta"]["runs"]) == ("max_f1", 2)
    both = rl.evaluate([run, run.folder], out=tmp_path / "both").results
    assert [row["name"] for row in both["ensemble"]["members"]] == [run.folder.name] * 2
    assert both["ensemble"]["gain"]["value"] == pytest.approx(0, abs=1e-6)


def test_a_run_is_evaluated_on_other_data(run: Any, tmp_path: Path) -> None:
    """Strips that another seed draws, in another place."""
    keys = [*TINY[:3], f"data.root={tmp_path / 'strips'}", "data.seed=9"]
    results = rl.evaluate(run, "demo", keys, out=tmp_path / "other").results
    assert (results["judged_part"], results["test"]["num_records"]) == ("new data", 16)
    assert results["split"]["leaky"] is False


def test_an_ensemble_takes_no_point_and_no_views(run: Any) -> None:
    """They were left out in silence: no threshold was fixed for the mean of several models."""
    for options in ({"operating_point": "max_f1"}, {"tta_runs": 4}):
        with pytest.raises(UserError, match="no threshold was fixed for the mean of several models"):
            rl.evaluate([run, run], **options)


def test_a_configuration_file_trains_the_same(run: Any, tmp_path: Path) -> None:
    again = rl.train(config=str(run.folder / "config.yaml"), workspace=str(tmp_path))
    assert again.results["history"] == run.results["history"]


def test_results_are_read_and_compared(run: Any, tmp_path: Path) -> None:
    table = rl.compare_results(rl.load_results(str(run.folder.parent / "*" / "results.json")))
    assert table.columns[:3] == ("run", "model", "loss")
    assert table.to_dicts()[0]["run"] == run.folder.name
    assert table.to_markdown().startswith("| run | model | loss |")
    assert json.dumps(table.to_dicts(), allow_nan=False)
    with pytest.raises(RunError, match="expected results of a finished run, got none"):
        rl.load_results(tmp_path)
    with pytest.raises(RunError, match="expected at least one result"):
        rl.compare_results([])


def test_mistakes_are_typed(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=r"did you mean `gamma`\?"):
        rl.train("severstal", ["loss.gama=2"])
    with pytest.raises(RunError, match=r"nowhere`, which names 0"):
        rl.load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="expected a place that can be written"):
        rl.train("demo", TINY, workspace=tmp_path / "file")
