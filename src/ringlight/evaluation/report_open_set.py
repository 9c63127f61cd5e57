"""The section on parts of no known class: what the limit does to known parts and to the class that was held out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringlight.evaluation.report_blocks import Block, Estimate, Picture, Section, Sentence, Table, Value, counted, said


def open_set_section(results: Mapping[str, Any]) -> Section | None:
    """Return what the open-set rule reaches; None where there is none."""
    found = results.get("open_set")
    if not found:
        return None
    caption = (
        f"How strange records look, {found['part']} part and held out; right of a limit they are flagged for a human."
    )
    told = ", ".join(f"{name} limit {limit:.3g}" for name, limit in found["thresholds"].items())
    blocks: tuple[Block, ...] = (
        _kept(found),
        _flagged(found),
        *_not_told(found),
        _table(found),
        Picture("open_set", f"{caption} {told}.", caption),
    )
    return Section("open_set", "Parts of no known class", blocks)


def _kept(found: Mapping[str, Any]) -> Sentence:
    kept = _estimate(found["reached"]["known_accepted"])
    base = found["validation"]
    text = (
        f"The limit was fixed to accept {found['accept']:.0%} of {counted(base['num_records'], 'validation record')}; "
        f"of the {found['part']} data it accepts {said(kept)}."
    )
    missed = kept.high is not None and kept.high < found["accept"]
    return Sentence(text, "warn" if missed else "plain")


def _flagged(found: Mapping[str, Any]) -> Sentence:
    if not found["num_unknown"]:
        return Sentence(
            "No class was held out of training (split.held_out_class): what the limit finds is not known.", "warn"
        )
    share = said(_estimate(found["reached"]["unknown_flagged"]))
    held = counted(found["num_unknown"], "record")
    return Sentence(f"Of the {held} of `{found['held_out_class']}`, which the model never saw, it flags {share}.")


def _not_told(found: Mapping[str, Any]) -> list[Sentence]:
    """Return a warning for each score that does not show the held-out class to be stranger than the known ones."""
    lows = {name: (one["auroc"] or {}).get("low") for name, one in found["scores"].items()}
    return [
        Sentence(f"By {name} it is not shown to look stranger than the known classes.", "warn")
        for name, low in lows.items()
        if found["num_unknown"] and (low is None or low <= 0.5)
    ]


def _table(found: Mapping[str, Any]) -> Table:
    rows: list[tuple[Value, ...]] = [
        (name, f"{one['threshold']:.4g}", _estimate(one["auroc"]), _estimate(one["fpr_at_95"]))
        for name, one in found["scores"].items()
    ]
    note = (
        "AUROC: probability that a record of the held-out class looks stranger than a known one. FPR at 95: share of "
        "the held-out class that passes where 95% of the known records do. In brackets: "
        f"{found['confidence']:.0%} interval."
    )
    return Table("Told apart by", ("score", "limit", "AUROC", "FPR at 95"), tuple(rows), note=note, sortable=False)


def _estimate(value: Mapping[str, float | None] | None) -> Estimate:
    return Estimate(None) if value is None else Estimate(value["value"], value["low"], value["high"])
