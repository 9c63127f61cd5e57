"""The sections that look closer: the worst mistakes as pictures, and what test-time augmentation and ensembles gain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringlight.evaluation.report_blocks import (
    Block,
    Card,
    Estimate,
    Facts,
    Gallery,
    Picture,
    Section,
    Sentence,
    Value,
    listed,
    spoken,
)


def gains_section(results: Mapping[str, Any]) -> Section | None:
    """Return what test-time augmentation and an ensemble gain, and what they cost."""
    blocks: list[Block] = []
    for key, title in (("tta", "Test-time augmentation"), ("ensemble", "Ensemble")):
        entry = results.get(key)
        if not entry:
            continue
        gain = entry.get("gain") or {}
        facts: list[tuple[str, Value]] = [
            ("views of each image", _views(entry.get("runs"))),
            ("members", listed([_member(row) for row in entry.get("members") or ()], 12) or None),
            ("averaged in", entry.get("space")),
            (
                f"gain in {spoken(str(gain.get('metric', 'score')))}",
                Estimate(gain.get("value"), gain.get("low"), gain.get("high")),
            ),
            ("cost", None if entry.get("cost") is None else f"{entry['cost']:.1f} times the plain prediction"),
        ]
        blocks += [Sentence(_gained(title, gain)), Facts(tuple(row for row in facts if row[1] is not None))]
    return Section("gains", "Test-time augmentation and ensembles", tuple(blocks)) if blocks else None


def _views(runs: int | None) -> Value:
    """Tell the views that were asked for; a quarter turn does not fit an image that is not square."""
    return f"{runs} (4 where it is not square)" if runs is not None and runs > 4 else runs


def _member(row: Mapping[str, Any] | str) -> str:
    """Return a member's name with the score that is told of it, if any."""
    if isinstance(row, str):
        return row
    scores = [f"{value:.3f}" for key, value in row.items() if key != "name"]
    return f"{row['name']} ({', '.join(scores)})" if scores else str(row["name"])


def _gained(title: str, gain: Mapping[str, Any]) -> str:
    low, high = gain.get("low"), gain.get("high")
    if low is None or high is None or low <= 0 <= high:
        return f"{title}: no difference shown."
    return f"{title} {'gains' if low > 0 else 'loses'}: the interval of the difference leaves zero out."


def mistakes_section(results: Mapping[str, Any]) -> Section:
    """Return the most confident errors as pictures with their facts; the plain worst records where none are listed."""
    plotted = (results.get("model", {}).get("input") or {}).get("kind") == "windows"
    cards = tuple(_mistake(row, chart=plotted) for row in results.get("mistakes") or ())
    text = f"Records of the {results['judged_part']} part whose scores are farthest from the truth, worst first."
    block = Gallery(cards) if cards else Picture("samples", text, text, chart=False)
    return Section("mistakes", "Worst mistakes", (block,))


def _mistake(row: Mapping[str, Any], *, chart: bool) -> Card:
    truth, guess = listed(list(row["truth"])) or "none", listed(list(row["predicted"])) or "none"
    facts = [("truth", truth), ("predicted", guess)]
    facts += [("sureness", f"{row['score']:.2f}")] if row.get("score") is not None else []
    facts += [(name, str(row[name])) for name in ("group", "why") if row.get(name)]
    name = str(row.get("picture") or "")
    text = f"{row['id']}: truth {truth}, predicted {guess}"
    return Card(str(row["id"]), Picture(name, text, "", chart=chart) if name else None, tuple(facts))
