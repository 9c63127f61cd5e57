"""Comparison: what differs is shown, what does not compare is said, what cannot be read is refused by name."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ringlight.errors import RunError
from ringlight.training.compare import compare_results, load_results

RUN: dict[str, Any] = {
    "schema_version": 1,
    "run": "a",
    "model": {"name": "resnet18"},
    "loss": {"name": "cross_entropy"},
    "hyper_parameters": {"seed": 0, "optimizer.lr": 0.001, "data.root": "/one", "model.name": "resnet18"},
    "dataset": {"fingerprint": "f"},
    "split": {"strategy": "stratified_70_15_15", "seed": 0},
    "judged_part": "test",
    "test": {"scalars": {"macro_f1": 0.5, "accuracy": 0.75, "auroc": None}},
}


def run(name: str, **changes: Any) -> dict[str, Any]:
    """Return results; `optimizer__lr=0.1` changes a hyper-parameter, `macro_f1=...` a score, others their own key."""
    made = deepcopy(RUN) | {"run": name}
    for key, value in changes.items():
        if "__" in key:
            made["hyper_parameters"][key.replace("__", ".")] = value
        elif key in ("macro_f1", "auroc"):
            made["test"]["scalars"][key] = value
        else:
            made[key] = value
    return made


def write(folder: Path, values: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def test_the_table_shows_the_settings_that_differ_and_the_best_run_first() -> None:
    table = compare_results([run("a"), run("b", optimizer__lr=0.01, data__root="/two", macro_f1=0.9)])
    assert table.columns == ("run", "model", "loss", "optimizer.lr", "macro_f1", "accuracy")
    assert table.rows == (
        ("b", "resnet18", "cross_entropy", 0.01, 0.9, 0.75),
        ("a", "resnet18", "cross_entropy", 0.001, 0.5, 0.75),
    )
    assert table.notes == (
        "note: `b`: no difference computed: the predictions of `a` are not at hand "
        "(its results were not read from a run folder)",
    )
    assert table.to_dicts()[0]["optimizer.lr"] == 0.01
    assert table.settings == {"optimizer.lr": {"a": 0.001, "b": 0.01}}


def test_a_setting_that_one_run_does_not_have_differs() -> None:
    table = compare_results([run("a"), run("b", loss__gamma=2.0)])
    assert [row["loss.gamma"] for row in table.to_dicts()] == [None, 2.0]


def test_runs_without_a_score_come_last_and_show_a_dash() -> None:
    table = compare_results([run("a", macro_f1=None), run("b", macro_f1=0.0), run("c", macro_f1=0.25)])
    assert [row[0] for row in table.rows] == ["c", "b", "a"]
    assert str(table).splitlines()[3].split()[3] == "-"


def test_runs_without_any_score_are_still_listed() -> None:
    table = compare_results([run("a") | {"test": {"scalars": {"macro_f1": None}}}])
    assert table.columns == ("run", "model", "loss")


@pytest.mark.parametrize(
    ("other", "note"),
    [
        (
            {"dataset": {"fingerprint": "g"}},
            "note: the runs were judged on different data; their scores do not compare",
        ),
        ({"split": {"strategy": "stratified_80_20", "seed": 0}}, "note: the runs were split differently"),
        ({"split": {"strategy": "stratified_70_15_15", "seed": 1}}, "note: the runs were split differently"),
        ({"judged_part": "val"}, "note: the runs were split differently"),
    ],
    ids=["data", "strategy", "seed", "part"],
)
def test_what_does_not_compare_is_said(other: dict[str, Any], note: str) -> None:
    table = compare_results([run("a"), run("b", **other)])
    assert table.notes[0].startswith(note)
    for told in table.notes:
        assert told in str(table)
        assert told in table.to_markdown()
    assert table.pairs[0].refused
    assert table.verdicts == ()


def test_a_leaky_run_is_flagged_in_the_table_and_in_a_note() -> None:
    leaky = {"strategy": "stratified_70_15_15", "seed": 0, "leaky": True}
    table = compare_results([run("a"), run("b", split=leaky, macro_f1=0.9)])
    assert [row["leaky"] for row in table.to_dicts()] == ["yes", "no"]
    assert table.leaky == ("b",)
    assert "`b` (leaky): what belongs together is on both sides of the split" in table.notes[0]
    assert "leaky" not in compare_results([run("a"), run("b")]).columns


def test_two_runs_of_one_name_are_told_apart() -> None:
    table = compare_results([run("a"), run("a", macro_f1=0.9)])
    assert [row["run"] for row in table.to_dicts()] == ["a #2", "a #1"]
    assert (table.reference, table.pairs[0].run) == ("a #1", "a #2")


def test_markdown_is_a_table() -> None:
    assert compare_results([run("a")]).to_markdown().splitlines() == [
        "| run | model | loss | macro_f1 | accuracy |",
        "| --- | --- | --- | --- | --- |",
        "| a | resnet18 | cross_entropy | 0.5000 | 0.7500 |",
    ]


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(RunError, match="expected at least one result, got none"):
        compare_results([])


def test_results_are_found_by_file_run_folder_folder_of_runs_and_pattern(tmp_path: Path) -> None:
    first = write(tmp_path / "runs" / "a", run("a"))
    write(tmp_path / "runs" / "b", run("b"))
    assert [found["run"] for found in load_results(first)] == ["a"]
    assert [found["run"] for found in load_results(first.parent)] == ["a"]
    assert [found["run"] for found in load_results(tmp_path / "runs")] == ["a", "b"]
    assert [found["run"] for found in load_results(str(tmp_path / "runs" / "*" / "results.json"))] == ["a", "b"]
    assert [found["run"] for found in load_results(str(tmp_path / "**" / "results.json"))] == ["a", "b"]


def test_an_evaluation_is_no_run_of_its_own(tmp_path: Path) -> None:
    """A folder of runs held a run twice, as `a #1` and `a #2`, once it had been evaluated on other data."""
    first = write(tmp_path / "runs" / "a", run("a"))
    again = write(first.parent / "evaluations" / "new", run("a"))
    assert [found["run"] for found in load_results(tmp_path / "runs")] == ["a"]
    assert [found["run"] for found in load_results(again.parent)] == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"expected a results.json, got JSONDecodeError"),
        ("[]", r"expected a results.json, got TypeError"),
        ("{}", r"expected a results.json, got KeyError"),
        (
            json.dumps({**RUN, "schema_version": 3}),
            r"expected results of schema version 1 or 2, got 3; read it with the Ringlight that wrote it",
        ),
    ],
    ids=["not-json", "not-an-object", "no-version", "newer"],
)
def test_a_file_that_is_not_results_is_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(RunError, match=message) as caught:
        load_results(path)
    assert str(path) in str(caught.value)


def test_a_path_with_nothing_is_refused(tmp_path: Path) -> None:
    for where in (tmp_path, tmp_path / "no", tmp_path / "*.json"):
        with pytest.raises(
            RunError, match="expected results of a finished run, got none; check the path or the pattern"
        ):
            load_results(where)
