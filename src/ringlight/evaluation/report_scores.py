"""The sections on how good the scores are: headlines, confusion, classes, curves, learning, energy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ringlight.evaluation.report_blocks import (
    Block,
    Mark,
    Picture,
    Section,
    Sentence,
    Share,
    Table,
    Value,
    counted,
    estimate,
    listed,
    spoken,
)
from ringlight.evaluation.report_verdict import too_few, unit_of

HEADLINES = (
    "macro_f1", "micro_f1", "weighted_f1", "accuracy", "balanced_accuracy", "subset_accuracy", "macro_precision",
    "macro_recall", "auroc", "ap", "mcc", "log_loss", "ece",
)  # fmt: skip
"""The scores that are named first, in order; the rest stand beside them."""

_SAME_AS_ACCURACY = ("micro_precision", "micro_recall", "micro_f1", "subset_accuracy", "hamming_loss")
"""In multi-class data these say the same as the accuracy; `metrics.csv` has them."""

CLASS_COLUMNS = ("precision", "recall", "f1", "auroc", "ap")
FURTHER_CLASS_COLUMNS = ("specificity", "brier", "ece", "ece_mass", "mcc")
_SHORT = {"ap": "AP", "brier": "Brier", "ece": "ECE"}

MATRIX_LIMIT = 12
"""Classes beyond which the page shows the confusion as a picture; `confusion.csv` has every number."""


def scores_section(results: Mapping[str, Any]) -> Section:
    """Return the headline metrics with their intervals."""
    test = results["test"]
    part, scalars = results["judged_part"], test["scalars"]
    intervals = (test.get("intervals") or {}).get("scalars")
    known = [name for name, value in scalars.items() if value is not None]
    same = _SAME_AS_ACCURACY if test.get("task") == "multiclass" else ()
    first = [name for name in HEADLINES if name in known and name not in same]
    further = [name for name in known if name not in (*HEADLINES, *same)]
    blocks = []
    for title, names, note in ((f"On the {part} part", first, interval_note(results)), ("Further scores", further, "")):
        rows = tuple((spoken(name), estimate(scalars, intervals, name)) for name in names)
        blocks += [Table(title, ("metric", part), rows, note=note, sortable=False)] if rows else []
    return Section("scores", "Scores", tuple(blocks))


def interval_note(results: Mapping[str, Any]) -> str:
    """Return how the intervals were made, in a sentence; empty without intervals."""
    intervals = results["test"].get("intervals")
    if not intervals:
        return ""
    unit = unit_of(results)
    return (
        f"In brackets: {intervals['confidence']:.0%} interval, bootstrap over {counted(intervals['num_units'], unit)}, "
        f"{counted(intervals['num_resamples'], 'resample')}; Wilson or Clopper-Pearson for plain rates."
    )


def confusion_section(results: Mapping[str, Any]) -> Section:
    """Return the confusion matrix, counts with rates: a table while it is small, else a picture."""
    test = results["test"]
    counts = test.get("confusion")
    caption = f"Confusion matrix of the {results['judged_part']} part: rows are the truth, columns the prediction."
    told = _worst_confusions(results)
    block: Block = Picture("confusion", f"{caption} {told}".strip(), caption)
    if counts and len(counts) <= MATRIX_LIMIT:
        table = _matrix_table if test.get("task", "multiclass") == "multiclass" else _label_table
        block = table(list(test["per_class"]), counts)
    return Section("confusion", "Confusion matrix", (*([Sentence(told)] if told else []), block))


def _matrix_table(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for index, (name, row) in enumerate(zip(names, counts, strict=True)):
        total = sum(row)
        cells = (Share(count, count / total if total else None, place == index) for place, count in enumerate(row))
        rows.append((name, *cells, total))
    note = "Each cell: records, and their share of the true class."
    return Table("Truth (rows) and prediction (columns)", ("truth", *names, "records"), tuple(rows), note=note)


def _label_table(names: Sequence[str], counts: Sequence[Sequence[Sequence[int]]]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name, ((tn, fp), (fn, tp)) in zip(names, counts, strict=True):
        cells = ((tp, tp + fn, True), (fn, tp + fn, False), (fp, fp + tn, False), (tn, fp + tn, True))
        rows.append((name, *(Share(count, count / whole if whole else None, right) for count, whole, right in cells)))
    note = "Each cell: records, and their share of those with (found, missed) or without the class."
    head = ("class", "found", "missed", "false alarm", "rightly not")
    return Table("Each class against the rest", head, tuple(rows), note=note)


def _worst_confusions(results: Mapping[str, Any]) -> str:
    test = results["test"]
    if test.get("task", "multiclass") != "multiclass" or not test.get("confusion"):
        return ""
    names = list(test["per_class"])
    wrong = [
        (count, names[row], names[column])
        for row, line in enumerate(test["confusion"])
        for column, count in enumerate(line)
        if count and row != column
    ]
    if not wrong:
        return "No record is confused."
    count, truth, guess = max(wrong, key=lambda item: item[0])
    return f"Most frequent confusion: {truth} taken for {guess}, {counted(count, 'record')}."


def classes_section(results: Mapping[str, Any]) -> Section:
    """Return the scores of each class with intervals, and which classes carry too little to be judged."""
    test = results["test"]
    rows, few = test["per_class"], too_few(results)
    grouped = any(row.get("support_groups") is not None for row in rows.values())
    text = "Precision, recall and F1 of each class with their intervals, the most frequent class first."
    blocks: list[Block] = [Picture("per_class", text, text)]
    for lead, known in ((True, CLASS_COLUMNS), (False, FURTHER_CLASS_COLUMNS)):
        columns = [name for name in known if any(row.get(name) is not None for row in rows.values())]
        if not columns:
            continue
        head = ["class", *(["records", *(["parts"] if grouped else [])] if lead else [])]
        head += [_SHORT.get(name, spoken(name)) for name in columns]
        cells = [_class_row(results, name, columns, lead=lead, grouped=grouped) for name in rows]
        if lead and few:
            head.append("judgement")
            cells = [(*cell, _judgement(cell[0], rows[str(cell[0])], few)) for cell in cells]
        title, note = ("Scores of each class", interval_note(results)) if lead else ("Further scores of each class", "")
        blocks.append(Table(title, tuple(head), tuple(cells), note=note))
    return Section("classes", "Classes", tuple(blocks))


def _class_row(
    results: Mapping[str, Any], name: str, columns: Sequence[str], *, lead: bool, grouped: bool
) -> tuple[Value, ...]:
    row = results["test"]["per_class"][name]
    intervals = ((results["test"].get("intervals") or {}).get("per_class") or {}).get(name)
    support = [row["support"], *([row.get("support_groups")] if grouped else [])] if lead else []
    return (name, *support, *(estimate(row, intervals, column) for column in columns))


def _judgement(name: Value, row: Mapping[str, Any], few: Sequence[str]) -> Value:
    if not row["support"]:
        return Mark("no example", "warn")
    return Mark("too few to judge", "warn") if name in few else Mark("enough", "good")


def curves_section(results: Mapping[str, Any]) -> Section:
    """Return the ROC and precision-recall curves."""
    per_class = results["test"]["per_class"]
    areas = [f"{name} {row['auroc']:.2f}" for name, row in per_class.items() if row.get("auroc") is not None]
    caption = "ROC and precision-recall curve of each class against the rest."
    alt = f"{caption} Area under the ROC curve: {listed(areas, 12)}." if areas else caption
    return Section("curves", "ROC and precision-recall", (Picture("roc_pr", alt, caption),))


def learning_section(results: Mapping[str, Any]) -> Section:
    """Return the learning curves, and which epoch's weights were kept."""
    caption = "Learning curves: loss and monitored metric after each epoch."
    picture = Picture("history", f"{caption} {_course(results)}".strip(), caption)
    return Section("learning", "Learning curves", (*_best_epoch(results), picture))


def _best_epoch(results: Mapping[str, Any]) -> Iterator[Sentence]:
    best = results.get("best") or {}
    if best.get("monitor") and best.get("epoch") is not None:
        value = (best.get("metrics") or {}).get(f"val/{best['monitor']}")
        reached = "" if value is None else f", validation {spoken(best['monitor'])} {value:.3f}"
        yield Sentence(f"The weights judged here are those of epoch {best['epoch']}{reached}.")


def _course(results: Mapping[str, Any]) -> str:
    losses = [row["train/loss"] for row in results.get("history") or () if row.get("train/loss") is not None]
    if not losses:
        return ""
    return f"Training loss from {losses[0]:.3f} to {losses[-1]:.3f} in {counted(len(losses), 'epoch')}."


def energy_section(results: Mapping[str, Any]) -> Section:
    """Return the histogram of energy scores."""
    energy = results.get("energy") or {}
    names = list(energy.get("counts") or {})
    caption = "Energy score (minus log-sum-exp of the raw scores) of the judged records."
    alt = f"{caption} Histograms of {listed(names)}." if names else caption
    text = "The lower the energy, the more familiar a record is to the model; what lies far to the right is new to it."
    apart = tuple((name, float(value)) for name, value in (energy.get("separation") or {}).items())
    note = "Probability that a record from outside has the higher energy: 0.5 is chance, 1 is certain."
    table = Table("Told apart from the judged records", ("set from outside", "AUROC"), apart, note=note)
    return Section("energy", "Energy", (Sentence(text), Picture("energy", alt, caption), *([table] if apart else [])))
