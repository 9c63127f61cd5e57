"""The section on rare classes: what was done about them, and how `imbalance.method=auto` came to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringlight.evaluation.report_blocks import Block, Estimate, Facts, Mark, Section, Sentence, Table, Value

PLAIN_NAME = "plain cross-entropy"


def imbalance_section(results: Mapping[str, Any]) -> Section | None:
    """Return what was done about rare classes; None where nothing was, or where the results are older than the key."""
    entry = results.get("imbalance")
    if not entry or (entry["method"] == "none" and entry.get("auto") is None and entry["sampler"] == "shuffle"):
        return None
    seen = ", ".join(f"{name} {count}" for name, count in entry["seen_per_epoch"].items())
    facts: tuple[tuple[str, Value], ...] = (
        ("method", entry["method"]),
        ("loss", entry["loss"]),
        ("sampler", entry["sampler"]),
        ("records seen in the first epoch", seen),
    )
    blocks: list[Block] = [Facts(facts)]
    auto = entry.get("auto")
    if auto is not None:
        blocks.insert(0, Sentence(_capital(auto["sentence"]) + "."))
        if auto["tried"]:
            blocks.append(_tried(auto))
    return Section("imbalance", "Rare classes", tuple(blocks))


def _tried(auto: Mapping[str, Any]) -> Table:
    rows = []
    for one in auto["tried"]:
        name = PLAIN_NAME if one["method"] == "none" else str(one["method"])
        title = name if one["tau"] is None else f"{name}, tau {one['tau']:g}"
        chosen = (one["method"], one["tau"]) == (auto["method"], auto["tau"])
        gain = None if one["gain"] is None else Estimate(one["gain"], one["low"], one["high"])
        mark = Mark("chosen", "good") if chosen else None
        rows.append((title, Estimate(one["macro_f1"]), Estimate(one["recall_of_rarest"]), gain, mark))
    return Table(
        "What was tried",
        ("method", "macro-F1", f"recall of {auto['rarest']}", "gain in macro-F1", "choice"),
        tuple(rows),
        note="On held-out training records: a linear layer on frozen features, grouped folds drawn three times. "
        "Neither validation nor test records took part.",
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
