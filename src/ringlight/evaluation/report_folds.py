"""The section on a cross-validation: its scores with the interval of their mean, and every fold with its leak check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ringlight.evaluation.report_blocks import (
    Block,
    Estimate,
    Mark,
    Picture,
    Section,
    Sentence,
    Table,
    Value,
    counted,
    said,
    spoken,
)

SCORES = (
    "macro_f1", "accuracy", "balanced_accuracy", "weighted_f1", "subset_accuracy", "auroc", "ap", "mcc", "log_loss",
    "ece",
)  # fmt: skip
"""The scores whose means are shown, in order, behind the headline."""

FIGURE = "folds"
"""The name of the picture of the folds' scores."""

CLASSES = 8
"""Classes beyond which the table of folds does not count each; `results.json` does."""

MANY = 60
"""Folds beyond which the section is folded."""


def fold_sentences(results: Mapping[str, Any]) -> Iterator[Sentence]:
    """Say the mean over the folds with its interval, and when it tells little; nothing for a single run."""
    card = results.get("cross_validation")
    if not card or card["mean"] is None or card["std"] is None:
        return
    number = card["num_folds"] * card["repeats"]
    score = said(Estimate(card["mean"], card["low"], card["high"]))
    name = spoken(str(card["metric"]))
    spread = f"; it varies by {card['std']:.2f} from fold to fold" if card["std"] else " in every one"
    yield Sentence(f"Over {counted(number, 'fold')} the mean {name} is {score}{spread}.")
    lacking, whole = _lacking(card), card.get("out_of_fold")
    if lacking and whole is not None and str(card["metric"]).startswith("macro_"):
        yield Sentence(
            f"In {counted(lacking, 'fold')} a class has no record to test on and counts 0, which lowers that mean: the "
            f"{name} of all out-of-fold predictions together, {whole:.2f}, tells more.", "warn",
        )  # fmt: skip


def _lacking(card: Mapping[str, Any]) -> int:
    """Return how many folds have no record of a class to test on that others have."""
    counts = [fold["test"]["class_counts"] for fold in card["folds"]]
    known = {name for one in counts for name, number in one.items() if number}
    return sum(any(not one.get(name) for name in known) for one in counts)


def folds_section(results: Mapping[str, Any]) -> Section | None:
    """Return the section of a cross-validation; None for a single run."""
    card = results.get("cross_validation")
    if not card:
        return None
    text = "Every record was scored once a repeat, by a model that was not trained on it; a class that a fold has no "
    text += "record of counts 0 in its macro-F1."
    name = spoken(str(card["metric"]))
    caption = f"{name[:1].upper()}{name[1:]} of each fold, their mean and its interval."
    blocks: tuple[Block, ...] = (
        Sentence(text), _means(card), Picture(FIGURE, caption, caption), _folds(card, results["dataset"]["classes"]),
    )  # fmt: skip
    number = card["num_folds"] * card["repeats"]
    return Section("folds", "Cross-validation", blocks, folded=number > MANY)


def _means(card: Mapping[str, Any]) -> Table:
    names = dict.fromkeys((card["metric"], *(name for name in SCORES if name in card["scores"])))
    rows = tuple(
        (spoken(name), Estimate(found["mean"], found["low"], found["high"]), found["std"])
        for name in names
        if (found := card["scores"].get(name)) is not None and found["mean"] is not None
    )
    number = counted(card["num_folds"] * card["repeats"], "fold")
    note = (
        f"In brackets: {card['confidence']:.0%} interval of the mean, the corrected resampled t of Nadeau and Bengio "
        "(2003), which knows that the folds' training records overlap."
    )
    return Table(f"Mean over {number}", ("metric", "mean", "standard deviation"), rows, note=note, sortable=False)


def _folds(card: Mapping[str, Any], classes: list[str]) -> Table:
    repeated = card["repeats"] > 1
    several = any(_num_groups(fold) not in (None, fold["test"]["num_records"]) for fold in card["folds"])
    named = classes if len(classes) <= CLASSES else []
    columns = (
        *(("repeat",) if repeated else ()), "fold", spoken(str(card["metric"])), "leak check", "trained", "held out",
        "tested", *(("groups tested",) if several else ()), *(f"of {name}" for name in named),
    )  # fmt: skip
    rows = tuple(
        (
            *((fold["repeat"] + 1,) if repeated else ()), fold["fold"] + 1, fold["scores"].get(card["metric"]),
            _mark(fold), *(fold[part]["num_records"] for part in ("train", "val", "test")),
            *((_told_groups(fold),) if several else ()), *(fold["test"]["class_counts"].get(name) for name in named),
        )
        for fold in card["folds"]
    )  # fmt: skip
    note = "The last columns count the tested records of each class." if named else ""
    return Table(f"The folds: {card['method']}", columns, rows, note=note)


def _told_groups(fold: Mapping[str, Any]) -> str | int | None:
    """Return the group a fold tests on by its name, several by their number."""
    names = fold.get("test_groups")
    return str(names[0]) if names and len(names) == 1 else _num_groups(fold)


def _num_groups(fold: Mapping[str, Any]) -> int | None:
    groups: int | None = fold["test"].get("num_groups")
    return groups


def _mark(fold: Mapping[str, Any]) -> Value:
    if fold["leaks"]:
        return Mark("leaks", "bad")
    return Mark("no leak found", "good") if "no leak found" in fold["leak_check"] else Mark("not checked", "warn")
