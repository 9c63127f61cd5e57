"""The report of a study: drawn from plain values alone, whatever the study found, and whatever its keys are called."""

from __future__ import annotations

import io
from typing import Any

import pytest

from ringlight.evaluation.plots_tune import study_figures
from ringlight.evaluation.report_tune import study_page, study_verdict


def trial(number: int, state: str, value: float | None, *, lr: float, reason: str = "") -> dict[str, Any]:
    steps = [[1, 0.3], [2, value]] if value is not None else []
    values = {"optimizer.lr": lr, "model.filters": [8, 16]}
    return {"number": number, "state": state, "value": value, "values": values, "reason": reason, "epochs": len(steps),
            "seconds": 1.5, "steps": steps, "details": {}}  # fmt: skip


def study(*trials: dict[str, Any], **changed: Any) -> dict[str, Any]:
    done = [one for one in trials if one["state"] == "complete"]
    ends = ("complete", "pruned", "failed", "running")
    states = {state: sum(one["state"] == state for one in trials) for state in ends}
    return {
        "name": "demo", "model": "cnn1d", "recipe": "windows", "method": "bayesian", "pruner": "median", "seed": 42,
        "metric": "macro_f1", "direction": "maximize", "objective": "validation", "num_epochs": 2, "device": "cpu",
        "num_trials": 4, "states": states, "epochs": 7, "seconds": 3723.0, "storage": "sqlite:///s.db",
        "data": {"name": "rig", "num_held_back": 30, "num_judged": 20},
        "space": {
            "optimizer.lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
            "model.filters": {"type": "categorical", "choices": [[8, 16], None], "when": {"model.name": ["cnn1d"]}},
        },
        "best": max(done, key=lambda one: one["value"]) if done else None,
        "importances": {"fanova": {"optimizer.lr": 0.9, "model.filters": 0.1}} if len(done) > 1 else {},
        "trials": list(trials), **changed,
    }  # fmt: skip


FULL = study(
    trial(0, "complete", 0.5, lr=0.01), trial(1, "complete", 0.75, lr=0.02), trial(2, "pruned", 0.2, lr=0.05),
    trial(3, "failed", None, lr=0.1, reason="out of memory: <b>no room</b>"),
)  # fmt: skip


def test_the_page_tells_the_best_and_every_trial() -> None:
    pictures = {}
    for name, figure in study_figures(FULL).items():
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=40)
        pictures[name] = drawn.getvalue()
    assert set(pictures) == {"trials", "courses", "importances", "keys"}
    page = study_page(FULL, pictures)
    assert page.count('src="data:image/png;base64,') == 4
    for text in ("Study demo", "0.7500", "optimizer.lr=0.02", "[8, 16]", "0.001 to 0.1 (log)", "model.name is cnn1d"):
        assert text in page
    assert "out of memory: &lt;b&gt;no room&lt;/b&gt;" in page  # a reason is text, whatever it holds


def test_the_verdict_says_what_was_held_back_and_what_it_cost() -> None:
    text = " ".join(sentence.text for sentence in study_verdict(FULL))
    assert "The best macro-F1 is 0.7500, in trial 2" in text
    assert "4 trials of 4: 2 finished, 1 pruned and 1 failed; 7 epochs in 1:02:03." in text
    assert "30 records were held back and never seen" in text


@pytest.mark.parametrize("trials", [(), (trial(0, "failed", None, lr=0.1, reason="no"),)])
def test_a_study_that_found_nothing_says_so(trials: Any) -> None:
    empty = study(*trials)
    assert study_verdict(empty)[0].tone == "bad"
    assert "No trial was finished" in study_page(empty, {})
    assert set(study_figures(empty)) <= {"trials"}


def test_an_unfinished_study_and_one_that_fails_often_say_so() -> None:
    said = [sentence.text for sentence in study_verdict(study(*[trial(0, "failed", None, lr=0.1, reason="no")]))]
    assert any("The study is not complete; the same command goes on with it." in text for text in said)
    assert any("Many trials failed" in text for text in said)


def test_one_trial_is_drawn_without_a_course() -> None:
    one = trial(0, "complete", 0.5, lr=0.01)
    assert set(study_figures(study({**one, "steps": [[1, 0.5]]}))) == {"trials"}


@pytest.mark.parametrize(("low", "high", "told"), [(1e-4, 1e-2, None), (2e-4, 8e-4, ["0.0002", "0.0004", "0.0008"])])
def test_a_key_is_drawn_over_the_range_that_was_searched_with_labels_apart(
    low: float, high: float, told: list[str] | None
) -> None:
    """Trials within one power of ten had a label for each of its tenths, written over each other."""
    trials = [trial(0, "complete", 0.5, lr=2e-4), trial(1, "complete", 0.6, lr=7e-4)]
    space = {"optimizer.lr": {"type": "float", "low": low, "high": high, "log": True}}
    figure = study_figures(study(*trials, space=space))["keys"]
    (axes,) = figure.axes
    left, right = axes.get_xlim()
    assert left < low < high < right
    assert not axes.get_xticks(minor=True).size
    if told:
        assert [label.get_text() for label in axes.get_xticklabels()] == told
