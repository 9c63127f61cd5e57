"""The report of a study: what was searched, what was found best, what mattered, and every trial. Plain values in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ringlight.evaluation.report_blocks import (
    Facts,
    Mark,
    Picture,
    Section,
    Sentence,
    Table,
    Tone,
    Value,
    counted,
    listed,
    spoken,
)
from ringlight.evaluation.report_page import page

SCREENED = 0.25
"""Share of trials that may fail before the page says so aloud."""

STATES: dict[str, Tone] = {"complete": "good", "pruned": "plain", "failed": "bad", "running": "warn"}
WORDS = {"complete": "finished", "pruned": "pruned", "failed": "failed", "running": "running"}


def study_page(study: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """Return the page of a study; `pictures` are its figures by name."""
    names = frozenset(pictures)
    sections = [section.having(names) for section in _sections(study)]
    subtitle = f"{study['model']}, {study['data']['name']}, {study['method']} search, seed {study['seed']}"
    return page(
        f"Study {study['name']}", subtitle, study_verdict(study),
        [section for section in sections if section is not None], pictures,
    )  # fmt: skip


def study_verdict(study: Mapping[str, Any]) -> list[Sentence]:
    """Return what a study found, in sentences."""
    states, best, metric = study["states"], study["best"], spoken(study["metric"])
    tried = sum(states.values())
    sentences = []
    if best is None:
        sentences.append(Sentence("No trial was finished: there is no best configuration.", "bad"))
    else:
        values = ", ".join(f"`{key}={_shown(value)}`" for key, value in best["values"].items())
        sentences.append(
            Sentence(f"The best {metric} is {best['value']:.4f}, in trial {best['number'] + 1}: {values}.", "good")
        )
    ends = [f"{states[state]} {WORDS[state]}" for state in WORDS if states[state]]
    spent = f"{counted(tried, 'trial')} of {study['num_trials']}: {listed(ends)}"
    sentences.append(Sentence(f"{spent}; {counted(study['epochs'], 'epoch')} in {_clock(study['seconds'])}."))
    if tried < study["num_trials"]:
        sentences.append(Sentence("The study is not complete; the same command goes on with it.", "warn"))
    if states["failed"] > SCREENED * tried:
        sentences.append(Sentence("Many trials failed: narrow the space where they did.", "warn"))
    judged = "the mean over its folds" if study["objective"] == "crossval" else "the validation part"
    held = counted(study["data"]["num_held_back"], "record")
    advice = "The best of many is flattered by chance: judge it on those with `ringlight train --config best.yaml`."
    return [*sentences, Sentence(f"Trials were judged by {judged}; {held} were held back and never seen. {advice}")]


def _sections(study: Mapping[str, Any]) -> list[Section]:
    metric = spoken(study["metric"])
    return [
        Section("trials", "Trials", (
            Picture("trials", f"{metric} of each trial in order, with the best so far",
                    f"{metric} of each trial; the line is the best so far."),
            Picture("courses", f"{metric} of each trial after every step",
                    "Trials after each step; those the pruner stopped are pale."),
        )),
        Section("importances", "What mattered", (
            Picture("importances", "share of the spread of scores that each key explains",
                    "Share of the scores' spread that each key explains, judged by a forest over the finished trials."),
            Picture("keys", f"{metric} against each searched key",
                    "Finished trials against each key, the most important first; the best trial in orange."),
            *_importances(study),
        )),
        Section("space", "What was searched", (_space(study), _settings(study))),
        Section("table", "Every trial", (_trials(study), *_failures(study)), folded=len(study["trials"]) > 60),
    ]  # fmt: skip


def _importances(study: Mapping[str, Any]) -> tuple[Table, ...]:
    methods = study["importances"]
    if not methods:
        return ()
    keys = sorted(next(iter(methods.values())), key=lambda key: -next(iter(methods.values()))[key])
    columns = ("key", *({"fanova": "fANOVA", "mdi": "impurity"}.get(name, name) for name in methods))
    rows = tuple((key, *(scores.get(key) for scores in methods.values())) for key in keys)
    return (Table("Importances", columns, rows),)


def _space(study: Mapping[str, Any]) -> Table:
    best = {} if study["best"] is None else study["best"]["values"]
    rows: list[tuple[Value, ...]] = []
    for key, entry in study["space"].items():
        if entry["type"] == "categorical":
            text = ", ".join(_shown(choice) for choice in entry["choices"])
        else:
            text = f"{entry['low']:g} to {entry['high']:g}" + (" (log)" if entry.get("log") else "")
        when = "; ".join(
            f"{other} is {' or '.join(map(_shown, values))}" for other, values in entry.get("when", {}).items()
        )
        rows.append((key, text, when or None, _shown(best[key]) if key in best else None))
    return Table("Search space", ("key", "values", "only when", "best"), tuple(rows))


def _settings(study: Mapping[str, Any]) -> Facts:
    data = study["data"]
    return Facts((
        ("recipe", study["recipe"]), ("metric", spoken(study["metric"])), ("judged on", study["objective"]),
        ("records judged", data["num_judged"]), ("records held back", data["num_held_back"]),
        ("method", study["method"]), ("pruner", study["pruner"]), ("epochs of a trial", study["num_epochs"]),
        ("seed", study["seed"]), ("device", study["device"]), ("storage", study["storage"]),
    ))  # fmt: skip


def _trials(study: Mapping[str, Any]) -> Table:
    keys = list(study["space"])
    rows = []
    for trial in study["trials"]:
        chosen = [_shown(trial["values"][key]) if key in trial["values"] else None for key in keys]
        last = trial["steps"][-1][1] if trial["value"] is None and trial["steps"] else trial["value"]
        state = Mark(WORDS[trial["state"]], STATES[trial["state"]])
        rows.append((trial["number"] + 1, state, last, trial["epochs"], *chosen))
    columns = ("trial", "end", study["metric"], "epochs", *keys)
    return Table("Trials", columns, tuple(rows), note="A pruned trial is shown with its last score.")


def _failures(study: Mapping[str, Any]) -> tuple[Table, ...]:
    rows = tuple((trial["number"] + 1, trial["reason"]) for trial in study["trials"] if trial["state"] == "failed")
    return (Table("Failed trials", ("trial", "reason"), rows),) if rows else ()


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
