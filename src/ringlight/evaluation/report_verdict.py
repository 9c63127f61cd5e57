"""The verdict of a report: what an engineer would say of the run, in plain words, the worst of it in red."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ringlight.evaluation.report_blocks import Sentence, counted, estimate, listed, said
from ringlight.evaluation.report_folds import fold_sentences

POINTS_SHOWN = 1.0
"""Percentage points between a random and a grouped split worth a red sentence, where the probe does not say itself."""

_PARTS = {"test": "test data", "val": "validation data", "out-of-fold": "out-of-fold predictions"}
"""The parts of a run in words; what else was judged (new data) has its own."""

_UNCHECKED = ("not possible", "no leak check")


def verdict(results: Mapping[str, Any]) -> tuple[Sentence, ...]:
    """Return the opening sentences: the overall score, the weakest class, what cannot be judged, leaks, decisions."""
    scores = (*_judged(results), *fold_sentences(results), *_weakest(results), *_too_few(results))
    leaks = tuple(leak_sentences(results))
    opening = (*leaks, *scores) if results["split"].get("leaky") else (*scores, *leaks)  # a leak voids what follows
    return (*opening, *_decisions(results))


def unit_of(results: Mapping[str, Any]) -> str:
    """Return what counts as one independent observation: `part` where records have groups, else `record`."""
    test = results["test"]
    unit = (test.get("intervals") or {}).get("unit") or ("group" if test.get("num_groups") else "record")
    return "part" if unit == "group" else "record"


def support_of(results: Mapping[str, Any], label: str) -> str:
    """Return the size of a class in the judged part, in independent parts where they are known."""
    row = results["test"]["per_class"][label]
    groups = row.get("support_groups")
    if unit_of(results) == "part" and groups is not None:
        return counted(int(groups), "part")
    return counted(int(row["support"] or 0), "record")


def judged_size(results: Mapping[str, Any]) -> str:
    """Return how much was judged: records, and the parts they come from."""
    part = results["judged_part"]
    card = results["split"]["parts"].get(part, {})
    number = int(results["test"].get("num_records") or card.get("num_records") or 0)
    groups = results["test"].get("num_groups") or card.get("num_groups")
    if groups is None or int(groups) == number:
        return counted(number, "record" if groups is None else "part")
    return f"{counted(number, 'record')} of {counted(int(groups), 'part')}"


def _judged(results: Mapping[str, Any]) -> Iterator[Sentence]:
    test = results["test"]
    intervals = (test.get("intervals") or {}).get("scalars")
    name, word = ("macro_f1", "Macro-F1")
    if test["scalars"].get(name) is not None:
        score = said(estimate(test["scalars"], intervals, name))
        data = _PARTS.get(results["judged_part"], results["judged_part"])
        yield Sentence(f"{word} is {score} on {judged_size(results)} of the {data}.")
    if results["judged_part"] == "val":
        yield Sentence(
            f"There is no test part: the {judged_size(results)} judged here also chose the weights, "
            "so the scores are too kind.",
            "bad",
        )


def _weakest(results: Mapping[str, Any]) -> Iterator[Sentence]:
    test = results["test"]
    rows = {name: row for name, row in test["per_class"].items() if row["support"] and row.get("recall") is not None}
    sure = {name: row for name, row in rows.items() if name not in too_few(results)}
    if not rows:
        return
    name, row = min((sure or rows).items(), key=lambda item: item[1]["recall"])
    intervals = ((test.get("intervals") or {}).get("per_class") or {}).get(name)
    recall = said(estimate(row, intervals, "recall"))
    among = ", the lowest of the classes that can be judged" if sure and len(sure) < len(rows) else ", the lowest"
    yield Sentence(f"Recall of {name} is {recall} on {support_of(results, name)}{among if len(rows) > 1 else ''}.")


def too_few(results: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the classes that carry too few independent parts to be judged."""
    return tuple((results["test"].get("intervals") or {}).get("too_few") or ())


def _too_few(results: Mapping[str, Any]) -> Iterator[Sentence]:
    rows, few = results["test"]["per_class"], too_few(results)
    absent = [name for name, row in rows.items() if not row["support"]]
    scarce = [name for name in few if name not in absent]
    if scarce:
        total = counted(len(rows), "class", "classes")
        have = "has" if len(scarce) == 1 else "have"
        text = f"{len(scarce)} of {total} {have} too few {unit_of(results)}s to judge: {listed(scarce)}."
        yield Sentence(text, "warn")
    if absent:
        have, them = ("has", "it") if len(absent) == 1 else ("have", "them")
        yield Sentence(f"{listed(absent)} {have} no example in the judged data: nothing is known of {them}.", "warn")


def leak_sentences(results: Mapping[str, Any]) -> Iterator[Sentence]:
    """Say whether training and judged records share parts, and what a random split would have pretended."""
    split = results["split"]
    probe = split.get("probe")
    own = results["judged_part"] in _PARTS
    if split.get("leaky"):
        told = "This run is leaky: records of the same part lie on both sides of the split."
        yield Sentence(told if own else "The model has seen records that it is judged on: the scores leak.", "bad")
        yield from (Sentence(leak, "bad") for leak in split.get("leaks") or ())
    if probe and probe.get("shown", probe["points"] >= POINTS_SHOWN):
        yield Sentence(_probed(probe, bool(split.get("leaky"))), "bad")
    elif probe:
        scores = f"random split {_short(probe['random'])}, grouped split {_short(probe['grouped'])}"
        yield Sentence(f"The leak probe shows no leakage beyond chance: {scores}.", "good")
    if split.get("leaky") or "leak_check" not in split:
        return
    checked = str(split["leak_check"] or "").rstrip(".").replace(": no leak found", "")
    if not checked or any(words in checked for words in _UNCHECKED):
        yield Sentence(f"Leakage was not checked{': ' + checked if checked else ''}.", "warn")
    elif own and str(split.get("groups") or "").startswith("none"):  # split.groups=none
        yield Sentence(f"Records were divided one by one: leakage is not ruled out (looked at: {checked}).", "warn")
    elif own:
        yield Sentence(f"No leakage found in this split (looked at: {checked}).", "good")
    else:  # a copy that was encoded again is no file of the training part: no reason for a green tick
        yield Sentence(f"None of these files is known to the model (looked at: {checked}).")


def _probed(probe: Mapping[str, Any], leaky: bool) -> str:
    points = f"{probe['points']:.0f} points are leakage"
    if round(probe["points"]) == 1:
        points = "1 point is leakage"
    sentence = f"random split {_short(probe['random'])}, grouped split {_short(probe['grouped'])}: {points}"
    if leaky:
        return f"Measured on this data: {sentence}."
    return f"A random split of this data would deceive: {sentence}. This run keeps parts together."


def _short(value: Mapping[str, Any]) -> str:
    text = f"{value['value']:.2f}"
    return text[1:] if text.startswith("0.") else text


def _decisions(results: Mapping[str, Any]) -> Iterator[Sentence]:
    points = results.get("operating_points") or ()
    refused = [str(point["name"]) for point in points if point.get("status") == "refused"]
    plant = results["test"].get("plant")
    if plant and plant.get("escape_rate") is not None and plant.get("overkill_rate") is not None:
        intervals = plant.get("intervals")
        escape = estimate(plant, intervals, "escape_rate", "percent")
        overkill = estimate(plant, intervals, "overkill_rate", "percent")
        yield Sentence(f"Escape rate {escape}, overkill rate {overkill}.")
    if refused:
        are = "point is refused and decides" if len(refused) == 1 else "points are refused and decide"
        yield Sentence(f"{len(refused)} operating {are} as the default: {listed(refused)}.", "warn")
    calibration = results.get("calibration")
    if calibration and calibration.get("accepted") is False and calibration.get("kind") != "none":
        yield Sentence(f"Probabilities are not calibrated: {str(calibration.get('reason', '')).rstrip('.')}.", "warn")
