"""Pictures of a study: scores of its trials in order, courses, importances, and scores against each searched key.

They are drawn from plain values, as `study.json` holds them; nothing of the search is computed here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ringlight.evaluation.lettering import printable, set_fonts
from ringlight.evaluation.plots import BLUE, GRAY, GREEN, ORANGE
from ringlight.evaluation.report_blocks import spoken

MOST_KEYS = 8
"""Keys that are drawn, the most important first."""


def study_figures(study: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures of a study by name; those that there is nothing for are left out."""
    done = [trial for trial in study["trials"] if trial["state"] == "complete" and trial["value"] is not None]
    figures = {}
    if study["trials"]:
        figures["trials"] = trials_figure(study)
    if any(len(trial["steps"]) > 1 for trial in study["trials"]):
        figures["courses"] = courses_figure(study)
    if study["importances"]:
        figures["importances"] = importance_figure(study)
    if len(done) > 1:
        figures["keys"] = keys_figure(study)
    return figures


def trials_figure(study: Mapping[str, Any]) -> Figure:
    """Draw the score of every trial in order, and the best so far; pruned and failed trials in marks of their own."""
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    trials = study["trials"]
    done = [(trial["number"] + 1, trial["value"]) for trial in trials if _finished(trial)]
    stopped = [(trial["number"] + 1, _last(trial)) for trial in trials if trial["state"] == "pruned"]
    stopped = [(number, value) for number, value in stopped if value is not None]
    failed = [trial["number"] + 1 for trial in trials if trial["state"] == "failed"]
    if done:
        axes.plot(*zip(*done, strict=True), "o", color=BLUE, markersize=4.5, label="finished")
        best = (np.minimum if study["direction"] == "minimize" else np.maximum).accumulate([value for _, value in done])
        axes.step([number for number, _ in done], best, where="post", color=ORANGE, linewidth=1.5, label="best so far")
    if stopped:
        axes.plot(*zip(*stopped, strict=True), "x", color=GRAY, markersize=4.5, alpha=0.8, label="pruned (last score)")
    if failed:
        low = axes.get_ylim()[0]
        axes.plot(failed, [low] * len(failed), "|", color=ORANGE, markersize=10, label="failed")
    axes.set_xlabel("trial")
    axes.set_ylabel(printable(spoken(study["metric"])))
    axes.set_xlim(0.5, max(study["num_trials"], len(trials)) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
    return set_fonts(figure)


def courses_figure(study: Mapping[str, Any]) -> Figure:
    """Draw the score of every trial after each of its steps; the best trial stands out, those pruned are pale."""
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    best = None if study["best"] is None else study["best"]["number"]
    for trial in sorted(study["trials"], key=lambda one: one["number"] == best):
        steps = [(step, value) for step, value in trial["steps"] if value is not None]
        if not steps:
            continue
        chosen, pruned = trial["number"] == best, trial["state"] == "pruned"
        colour = ORANGE if chosen else GRAY if pruned else BLUE
        end = ".-" if len(steps) < 30 else "-"
        axes.plot(*zip(*steps, strict=True), end, color=colour, linewidth=2 if chosen else 1, markersize=3,
                  alpha=1.0 if chosen else 0.35 if pruned else 0.5)  # fmt: skip
    for name, colour in (("best trial", ORANGE), ("finished", BLUE), ("pruned", GRAY)):
        axes.plot([], [], color=colour, label=name)
    axes.set_xlabel("fold" if study["objective"] == "crossval" else "epoch")
    axes.set_ylabel(printable(spoken(study["metric"])))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return set_fonts(figure)


def importance_figure(study: Mapping[str, Any]) -> Figure:
    """Draw how much of the scores' spread each key explains."""
    methods = study["importances"]
    first = next(iter(methods.values()))
    keys = sorted(first, key=lambda key: -first[key])[: 2 * MOST_KEYS]
    figure = Figure(figsize=(8.0, 1.0 + 0.45 * len(keys)), layout="constrained")
    axes = figure.add_subplot()
    height = 0.7 / len(methods)
    for index, (method, scores) in enumerate(methods.items()):
        places = np.arange(len(keys)) + (index - (len(methods) - 1) / 2) * height
        axes.barh(places, [scores.get(key, 0.0) for key in keys], height=height, color=(BLUE, GREEN)[index % 2],
                  label={"fanova": "fANOVA", "mdi": "mean decrease in impurity"}.get(method, method))  # fmt: skip
    axes.set_yticks(range(len(keys)), [printable(key) for key in keys])
    axes.set_ylim(len(keys) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the scores' spread")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return set_fonts(figure)


def keys_figure(study: Mapping[str, Any]) -> Figure:
    """Draw the finished trials' scores against the values of each key, the most important keys first."""
    order = _by_importance(study)[:MOST_KEYS]
    columns = min(4, len(order))
    rows = -(-len(order) // columns)
    figure = Figure(figsize=(2.6 * columns + 0.4, 2.5 * rows + 0.2), layout="constrained")
    for index, key in enumerate(order):
        axes = figure.add_subplot(rows, columns, index + 1)
        _against(axes, study, key)
        if index % columns == 0:
            axes.set_ylabel(printable(spoken(study["metric"])), fontsize=9)
    return set_fonts(figure)


def _against(axes: Axes, study: Mapping[str, Any], key: str) -> None:
    entry = study["space"][key]
    trials = [trial for trial in study["trials"] if _finished(trial) and key in trial["values"]]
    scores = [trial["value"] for trial in trials]
    if entry["type"] == "categorical":
        names = [_text(choice) for choice in entry["choices"]]
        places = [names.index(_text(trial["values"][key])) for trial in trials]
        axes.set_xticks(range(len(names)), [printable(name, 14) for name in names], rotation=30, ha="right", fontsize=8)
        axes.set_xlim(-0.5, len(names) - 0.5)
    else:
        places = [trial["values"][key] for trial in trials]
        if entry.get("log"):
            axes.set_xscale("log")
            _few_ticks(axes, entry["low"], entry["high"])
        axes.tick_params(labelsize=8)
    axes.plot(places, scores, "o", color=BLUE, markersize=4, alpha=0.6)
    best = study["best"]
    if best is not None and key in best["values"]:
        at = best["values"][key]
        place = [_text(choice) for choice in entry["choices"]].index(_text(at)) if "choices" in entry else at
        axes.plot([place], [best["value"]], "o", color=ORANGE, markersize=6)
    axes.set_title(printable(key, 26), fontsize=10)
    axes.grid(alpha=0.3)


def _few_ticks(axes: Axes, low: float, high: float) -> None:
    """Show the whole range that was searched; the labels between powers of ten would run into each other."""
    if low == high:
        return
    margin = (high / low) ** 0.05
    axes.set_xlim(low / margin, high * margin)
    axes.minorticks_off()
    if high / low < 100:
        places = [low, math.sqrt(low * high), high]
        axes.set_xticks(places, [f"{place:.2g}" for place in places])


def _by_importance(study: Mapping[str, Any]) -> list[str]:
    first: Mapping[str, float] = next(iter(study["importances"].values()), {})
    return sorted(study["space"], key=lambda key: -first.get(key, -1.0))


def _finished(trial: Mapping[str, Any]) -> bool:
    return trial["state"] == "complete" and trial["value"] is not None and math.isfinite(trial["value"])


def _last(trial: Mapping[str, Any]) -> float | None:
    steps: Sequence[Sequence[Any]] = trial["steps"]
    return steps[-1][1] if steps else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
