"""Runs are listed, looked up, told and compared from the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ringlight.errors import RunError, UserError, WorkspaceError
from ringlight.services import run_details
from ringlight.services.imports import import_runs
from ringlight.services.processes import this_process
from ringlight.services.run_details import epochs, log_lines, settings_apart, show
from ringlight.services.run_history import list_runs
from ringlight.services.stores import open_store
from ringlight.store.tables import RunRow, VersionRow

MakeFinished = Callable[..., Path]
BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def some(tmp_path: Path, empty_store: Path) -> Path:
    """A workspace whose store knows five runs."""
    shutil.copy(empty_store, tmp_path)
    given = [
        ("strips-1", "train", "completed", {"macro_f1": 0.5, "recall/a": 0.25}, "strips"),
        ("strips-2", "train", "failed", None, "strips"),
        ("strips-3-crossval", "crossval", "completed", {"macro_f1": 0.75, "recall/a": 0.5}, "strips"),
        ("studies/lr", "tune", "completed", {"val/macro_f1": 0.875}, "other"),
        ("other-1", "train", "running", None, "other"),
    ]
    with open_store(tmp_path) as store, store.writing() as unit:
        for number, (name, kind, status, metrics, recipe) in enumerate(given):
            started = BEGAN + timedelta(minutes=number)
            row = RunRow(name=name, path=name if "/" in name else f"runs/{name}", kind=kind, status=status,
                         metrics=metrics, recipe=recipe, started=started, config={},
                         finished=None if status == "running" else started + timedelta(seconds=90),
                         process=this_process() if status == "running" else None)  # fmt: skip
            unit.runs.add(row)
            unit.flush()
    return tmp_path


def names(workspace: Path, **filters: object) -> list[str]:
    return [card.name for card in list_runs(workspace=workspace, **filters)]  # type: ignore[arg-type]


def test_runs_are_listed_the_latest_first_or_the_best(some: Path) -> None:
    assert names(some) == ["other-1", "studies/lr", "strips-3-crossval", "strips-2", "strips-1"]
    assert names(some, limit=2) == ["other-1", "studies/lr"]
    assert names(some, status=["failed", "running"]) == ["other-1", "strips-2"]
    assert names(some, recipe="strips", kind="train") == ["strips-2", "strips-1"]
    assert names(some, metric="macro_f1") == ["strips-3-crossval", "strips-1"]
    assert names(some, metric="recall/a", at_least=0.3) == ["strips-3-crossval"]
    assert names(some, metric="macro_f1", at_most=0.5) == ["strips-1"]
    assert names(some, metric="macro_f1", at_least=0.99) == []  # a true answer, not a mistake
    cards = {card.name: card for card in list_runs(workspace=some)}
    assert (cards["studies/lr"].metric, cards["studies/lr"].score) == ("val/macro_f1", 0.875)
    assert (cards["strips-1"].metric, cards["strips-1"].seconds) == ("macro_f1", 90.0)
    assert (cards["strips-2"].metric, cards["strips-2"].score) == (None, None)
    assert (cards["other-1"].seconds or 0) > 90
    (card,) = list_runs(workspace=some, metric="recall/a", limit=1)
    assert (card.metric, card.score, card.to_dict()["started"]) == ("recall/a", 0.5, "2026-03-01T12:02:00+00:00")


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"status": ["complete"]}, "--status: expected a known status, got `complete`; did you mean `completed`?"),
        ({"kind": "crossvall"}, "--kind: expected a known kind, got `crossvall`; did you mean `crossval`?"),
        ({"metric": "macro_f2"}, "--metric: expected a score that a run has, got `macro_f2`; did you mean `macro_f1`?"),
        ({"metric": "recall/b"}, "--metric: expected a score that a run has, got `recall/b`; did you mean `recall/a`?"),
        ({"recipe": "strip"}, "--recipe: expected a recipe that a run came of, got `strip`; did you mean `strips`?"),
        ({"at_least": 0.5}, "runs list: expected a metric with a limit, got a limit alone; name it: --metric macro_f1"),
    ],
)
def test_words_that_name_nothing_are_refused(some: Path, filters: dict[str, object], message: str) -> None:
    """An empty list would be taken for an answer."""
    with pytest.raises(UserError) as caught:
        names(some, **filters)
    assert str(caught.value) == message


def test_a_lost_run_is_marked_before_it_is_listed(some: Path) -> None:
    with open_store(some) as store, store.writing() as unit:
        unit.runs.change("other-1", process={**this_process(), "began": 1.0})
    assert list_runs(workspace=some, limit=1)[0].status == "interrupted"


def test_a_run_is_found_by_name_beginning_and_folder(some: Path, make_finished: MakeFinished) -> None:
    assert epochs("strips-1", workspace=some) == []
    for word, kind in (("strips-3", "crossval"), ("lr", "tune"), ("studies/l", "tune"), ("other", "train")):
        assert run_details.folder_and_kind(word, workspace=some)[1] == kind
    folder = make_finished(some, "strips-1")
    assert run_details.folder_and_kind(folder) == (some / "runs" / "strips-1", "train")
    study = some / "studies" / "lr"
    study.mkdir(parents=True)
    (study / "study.json").write_text("{}")
    assert run_details.folder_and_kind(study) == (study, "tune")


def test_what_names_no_run_is_refused_with_those_there_are(some: Path, make_finished: MakeFinished) -> None:
    with pytest.raises(RunError) as caught:
        show("strips", workspace=some)
    assert str(caught.value) == (
        f"{some}: expected a run's folder, name, or the beginning of one name, got `strips`, which names 3; "
        "name one of them, such as strips-3-crossval, strips-2, strips-1"
    )
    with pytest.raises(RunError, match=r"got `othre-1`, which names 0; name one of them, such as other-1$"):
        show("othre-1", workspace=some)
    with pytest.raises(RunError, match="names 0; there is none yet: start with ringlight train, or take older ones in"):
        show("strips", workspace=some / "empty")
    make_finished(some, "copied")
    with pytest.raises(RunError, match="got `copied`, which was never recorded; take it in with ringlight runs import"):
        show("copied", workspace=some)
    outside = (some / "runs" / "copied").rename(some / "outside")
    with pytest.raises(RunError, match="got a folder elsewhere, which no store knows; move it into <workspace>/runs/"):
        show(outside, workspace=some)


@pytest.mark.parametrize("path", ["/etc", "runs/../..", "runs/..", "models/x", "runs"])
def test_a_path_that_leads_out_of_the_shelves_is_refused(some: Path, path: str) -> None:
    """Rows may have been edited; what they name is read, and deleted."""
    with open_store(some) as store, store.writing() as unit:
        unit.runs.change("strips-1", path=path)
    with pytest.raises(WorkspaceError, match="expected a folder in runs or studies, got"):
        show("strips-1", workspace=some)


def test_all_that_is_known_of_a_run_is_told(make_finished: MakeFinished, tmp_path: Path) -> None:
    scores = {"scalars": {"macro_f1": 0.5, "kappa": None}, "intervals": {"scalars": {"macro_f1": [0.25, 0.75]}}}
    best = {"monitor": "macro_f1", "epoch": 1, "metrics": {"val/macro_f1": 0.6}}
    folder = make_finished(tmp_path, "mother", test=scores, best=best, history=[{"train/loss": 2.0}, {"train/loss": 1}])
    child = make_finished(tmp_path, "child")
    text = (child / "config.yaml").read_text()
    assert "seed: 42" in text
    (child / "config.yaml").write_text(text.replace("seed: 42", "seed: 43"))
    import_runs(tmp_path)
    with open_store(tmp_path) as store, store.writing() as unit:
        mother = unit.runs.get("mother")
        assert mother is not None
        unit.runs.change("child", parent_id=mother.id)
        unit.versions.add(VersionRow(name="strips", version=1, kind="view", label="v", path="m/1", checksum="0" * 64,
                                     metrics={}, classes=["a"], run_id=mother.id, is_active=True))  # fmt: skip
    details = show("mother", workspace=tmp_path)
    assert details.scores == {"macro_f1": {"value": 0.5, "interval": [0.25, 0.75]}}
    assert (details.against, details.differences) == ("recipe folder", {"data.root": [None, "parts"]})
    assert (details.children, details.num_epochs, details.best) == (["child"], 2, best)
    assert details.versions == [{"name": "strips", "version": 1, "is_active": True}]
    assert [event["what"] for event in details.events] == ["completed"]
    assert {"bundle/bundle.json", "config.yaml", "results.json"} <= {one["path"] for one in details.artifacts}
    assert json.loads(json.dumps(details.to_dict()))["folder"] == str(folder)
    of_child = show("child", workspace=tmp_path)
    assert (of_child.parent, of_child.against) == ("mother", "run mother")
    assert of_child.differences == {"experiment.seed": [42, 43]}
    assert settings_apart(["mother", "child"], workspace=tmp_path) == {"experiment.seed": {"mother": 42, "child": 43}}


def test_the_end_of_a_log_is_read_and_followed_to_the_end_of_the_run(
    make_finished: MakeFinished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_finished(tmp_path, "a") / "train.log"
    import_runs(tmp_path)
    with pytest.raises(RunError, match="expected the run's log, got No such file or directory; was it moved"):
        list(log_lines("a", workspace=tmp_path))
    log.write_text("one\ntwo\nthree\n")
    assert list(log_lines("a", lines=2, workspace=tmp_path)) == ["two", "three"]
    assert list(log_lines("a", lines=0, workspace=tmp_path)) == ["one", "two", "three"]
    states = iter([True, True, False])

    def looks(_name: str, _home: Path) -> bool:
        with log.open("a") as stream:
            stream.write("more\n")
        return next(states)

    monkeypatch.setattr(run_details, "_runs", looks)
    followed = list(log_lines("a", lines=1, follow=True, workspace=tmp_path, pause=0.0))
    assert followed == ["three", "more", "more", "more"]
