"""What is active: one version, whoever asks at once; on a trail; behind a gate that says which class is worse."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringlight.errors import BundleError, ModelError
from ringlight.services.activations import activate, deactivate, rollback, trail
from ringlight.services.processes import login
from ringlight.services.registered import events_of, list_versions
from ringlight.services.stores import open_store
from ringlight.services.version_compare import compare_versions
from ringlight.services.versions import register

MakeRun = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path, make_finished: MakeRun) -> Callable[..., Path]:
    """Register versions of `strips` that miss so many of their 40 cracks and 40 scratches."""

    def make(*misses: dict[str, int], **changes: Any) -> Path:
        count = len(list((tmp_path / "runs").glob("*"))) if (tmp_path / "runs").exists() else 0
        for number, missed in enumerate(misses, count + 1):
            make_finished(tmp_path, f"strips-{number}", missed, **changes)
            register(f"strips-{number}", workspace=tmp_path)
        return tmp_path

    return make


def active(workspace: Path) -> list[int]:
    return [one.version for one in list_versions(active=True, workspace=workspace)]


def steps(workspace: Path) -> list[tuple[str, int | None, int | None]]:
    return [(one.action, one.from_version, one.to_version) for one in reversed(trail("strips", workspace=workspace))]


def test_every_change_is_on_the_trail(made: Callable[..., Path]) -> None:
    workspace = made({}, {})
    first = activate("strips", 1, who="kim", why="the first", workspace=workspace)
    assert (first.from_version, first.to_version, first.who, first.why, first.gate) == (
        None, 1, "kim", "the first", None
    )  # fmt: skip
    again = activate("strips", "v1", who="kim", workspace=workspace)
    assert (again.changed, again.at) == (False, None)
    activate("strips", 2, workspace=workspace)
    assert active(workspace) == [2]
    assert trail("strips", workspace=workspace)[0].who == login()
    deactivate("strips", who="kim", why="recall", workspace=workspace)
    assert active(workspace) == []
    with pytest.raises(ModelError, match="expected an active version, got none of 2"):
        deactivate("strips", workspace=workspace)
    assert steps(workspace) == [("activate", None, 1), ("activate", 1, 2), ("deactivate", 2, None)]
    assert [(one["what"], one["version"]) for one in events_of("strips", workspace=workspace)] == [
        ("registered", 1), ("registered", 2), ("activate", 1), ("activate", 2), ("deactivate", None),
    ]  # fmt: skip
    assert json.loads(json.dumps(first.to_dict()))["to_version"] == 1


def test_rolling_back_twice_goes_further_back_not_to_and_fro(made: Callable[..., Path]) -> None:
    workspace = made({}, {}, {})
    for version in (1, 2, 3):
        activate("strips", version, workspace=workspace)
    for expected in (2, 1):
        assert rollback("strips", who="kim", workspace=workspace).to_version == expected
        assert active(workspace) == [expected]
    with pytest.raises(ModelError) as caught:
        rollback("strips", workspace=workspace)
    assert str(caught.value) == (
        "strips: expected a version that was active before, got none; activate one: ringlight models activate strips 3"
    )
    with pytest.raises(ModelError, match="expected a registered model, got `other`"):
        rollback("other", workspace=workspace)
    activate("strips", 3, workspace=workspace)
    deactivate("strips", workspace=workspace)
    assert rollback("strips", workspace=workspace).to_version == 3
    assert rollback("strips", workspace=workspace).to_version == 1


def test_files_are_looked_at_before_they_become_active(made: Callable[..., Path]) -> None:
    workspace = made({}, {})
    for version in (1, 2):
        activate("strips", version, workspace=workspace)
    for version in (1, 2):
        with (workspace / f"models/defect/strips/v{version}/model.safetensors").open("ab") as weights:
            weights.write(b"x")
    with pytest.raises(BundleError, match=r"v1/model.safetensors: expected SHA-256"):
        activate("strips", 1, workspace=workspace)
    with pytest.raises(BundleError, match=r"v1/model.safetensors: expected SHA-256"):
        rollback("strips", workspace=workspace)
    assert active(workspace) == [2]


def test_activated_at_once_one_is_active(made: Callable[..., Path]) -> None:
    workspace = made({}, {})
    together, failures = threading.Barrier(2), []

    def put(version: int) -> None:
        try:
            together.wait(10)
            for _ in range(3):
                activate("strips", version, who=f"t{version}", workspace=workspace)
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            failures.append(error)

    threads = [threading.Thread(target=put, args=(version,)) for version in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = steps(workspace)
    assert active(workspace) == [found[-1][2]]
    assert [before for _, before, _ in found] == [None, *(after for _, _, after in found[:-1])]


def test_a_gate_lets_the_first_and_a_better_one_pass(made: Callable[..., Path]) -> None:
    workspace = made({"crack": 12}, {"crack": 2, "good": 1})
    assert activate("strips", 1, gate=True, workspace=workspace).gate == {
        "passed": True, "against": None, "guarded": [], "classes": {}, "reasons": [], "note": "no version was active",
    }  # fmt: skip
    found = activate("strips", 2, gate=True, workspace=workspace).gate
    assert found is not None
    assert (found["passed"], found["against"], found["note"]) == (True, "strips@1", "120 records judged by both")
    # One record of 40 more is missed: its interval reaches zero.
    assert {name: round(row["difference"], 3) for name, row in found["classes"].items()} == {
        "crack": 0.25, "good": -0.025, "scratch": 0.0,
    }  # fmt: skip


def test_a_gate_refuses_what_is_worse_on_a_class_and_says_by_how_much(made: Callable[..., Path]) -> None:
    """The second version is better on average: what it misses are cracks."""
    workspace = made({"scratch": 30}, {"crack": 12})
    activate("strips", 1, workspace=workspace)
    with pytest.raises(
        ModelError,
        match=r"^strips@2: expected no guarded class worse than with strips@1, "
        r"got recall of `crack` is lower by 0\.300 \(95 % interval 0\.1\d\d to 0\.4\d\d\) on 40 records; "
        r"strips@1 stays active; without --gate it is not asked$",
    ):
        activate("strips", 2, gate=True, who="kim", workspace=workspace)
    assert active(workspace) == [1]
    refused = events_of("strips", workspace=workspace)[-1]
    assert (refused["what"], refused["who"], refused["version"]) == ("gate_refused", "kim", 2)
    assert refused["gate"]["classes"]["crack"]["worse"]
    assert activate("strips", 2, gate=True, guard=["scratch"], workspace=workspace).changed
    with pytest.raises(ModelError, match="expected a class of the model, got `scrach`; did you mean `scratch`"):
        activate("strips", 1, gate=True, guard=["scrach"], workspace=workspace)
    with pytest.raises(ModelError, match="expected --guard with --gate"):
        activate("strips", 1, guard=["scratch"], workspace=workspace)


def test_a_class_that_is_never_found_any_more_is_refused(made: Callable[..., Path]) -> None:
    """Every resample has the same difference, -1, and so no interval: it once passed for a class nobody judged."""
    workspace = made({}, {"crack": 40})
    activate("strips", 1, workspace=workspace)
    with pytest.raises(ModelError, match=r"recall of `crack` is lower by 1\.000 \(no interval can be told\) on 40 rec"):
        activate("strips", 2, gate=True, workspace=workspace)


def test_a_gate_stays_closed_where_nothing_compares(made: Callable[..., Path]) -> None:
    workspace = made({})
    made({}, dataset={"fingerprint": "g", "task": "multiclass", "classes": ["crack", "good", "scratch"]})
    made({}, split={"strategy": "s", "seed": 1, "leaky": True})
    made({}, {})
    activate("strips", 1, workspace=workspace)
    shutil.rmtree(workspace / "runs/strips-4")
    with open_store(workspace) as store, store.writing() as unit:
        row = unit.runs.get("strips-5")
        assert row is not None
        unit.runs.delete(row.id)
    for version, why in (
        (2, "they were judged on different data"),
        (3, "its split leaks"),
        (4, "strips@4: expected the folder of its run, got no results in"),
        (5, "strips@5: expected the run it came of, got none"),
    ):
        with pytest.raises(ModelError, match=f"no comparison with strips@1 is possible: {why}"):
            activate("strips", version, gate=True, workspace=workspace)
    refused = [one["version"] for one in events_of("strips", workspace=workspace) if one["what"] == "gate_refused"]
    assert refused == [2, 3, 4, 5]


def test_versions_side_by_side(made: Callable[..., Path]) -> None:
    workspace = made({"scratch": 30}, {"crack": 12})
    found = compare_versions("strips", 1, 2, workspace=workspace)
    assert [row[0] for row in found.rows()] == ["macro_f1", "recall/crack", "recall/good", "recall/scratch"]
    assert found.rows()[1][1:] == (1.0, 0.7, pytest.approx(-0.3))
    assert any(line.startswith("`strips@2` is worse in recall of `crack` by 0.300 [") for line in found.lines())
    assert json.loads(json.dumps(found.to_dict()))["comparison"]["reference"] == "strips@1"
    index = workspace / "runs/strips-2/bundle/bundle.json"
    index.write_text(index.read_text() + "\n")
    refused = compare_versions("strips", 1, 2, workspace=workspace)
    assert "expected a run whose model it is, got another model" in refused.lines()[0]
    assert refused.rows() == found.rows()
    assert refused.to_dict()["comparison"] is None
