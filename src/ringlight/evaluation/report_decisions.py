"""The sections on how the scores become decisions: calibration, operating points, plant measures, reject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ringlight.evaluation.report_blocks import (
    Block,
    Estimate,
    Mark,
    Picture,
    Section,
    Sentence,
    Style,
    Table,
    Value,
    counted,
    estimate,
    listed,
)

_PLANT: tuple[tuple[str, str, Style], ...] = (
    ("escape_rate", "escape rate: defective parts called good (%)", "percent"),
    ("overkill_rate", "overkill rate: good parts called defective (%)", "percent"),
    ("first_pass_yield", "first-pass yield (%)", "percent"),
    ("escapes_ppm", "escapes per million parts", "ppm"),
    ("overkill_ppm", "overkill per million parts", "ppm"),
    ("cost_per_part", "expected cost per part", "number"),
    ("prevalence", "share of defective parts assumed (%)", "percent"),
)

_POINT_COLUMNS: tuple[tuple[str, str, Style], ...] = (
    ("recall", "recall", "number"),
    ("precision", "precision", "number"),
    ("macro_f1", "macro-F1", "number"),
    ("escape_rate", "escape %", "percent"),
    ("overkill_rate", "overkill %", "percent"),
    ("cost_per_part", "cost per part", "number"),
)


SHARES_SHOWN = (1.0, 0.98, 0.95, 0.9, 0.8, 0.7)
"""Shares of decided parts that the table of the reject option shows."""


_AIMS = {
    "max_f1": "highest F1",
    "recall_at_least": "recall of at least",
    "precision_at_least": "precision of at least",
    "min_cost": "lowest cost",
}


def calibration_section(results: Mapping[str, Any]) -> Section | None:
    """Return whether probabilities can be believed: before and after calibration, and why it was kept or refused."""
    calibration = results.get("calibration")
    if not calibration:
        return None
    kind = (calibration.get("calibrator") or {}).get("kind") or calibration.get("kind") or "none"
    accepted = bool(calibration.get("accepted"))
    reason = str(calibration.get("reason") or "").rstrip(".")
    text = f"Calibration ({kind}, fitted on validation) is kept" if accepted else "Calibration is refused"
    blocks: list[Block] = [Sentence(f"{text}{': ' + reason if reason else ''}.", "good" if accepted else "warn")]
    rows = tuple(
        (name, calibration.get(f"{key}_before"), calibration.get(f"{key}_after"))
        for key, name in (("nll", "negative log-likelihood"), ("ece", "expected calibration error"))
    )
    if any(value is not None for row in rows for value in row[1:]):
        note = "On validation records held out from the fit."
        blocks.append(Table("Before and after", ("measure", "before", "after"), rows, note=note, sortable=False))
    caption = f"Reliability of the {results['judged_part']} part: on the diagonal, 80 % sure is right in 80 %."
    blocks.append(Picture("reliability", caption, caption))
    return Section("calibration", "Calibration", tuple(blocks))


def operating_section(results: Mapping[str, Any]) -> Section | None:
    """Return the operating points: rule and thresholds fixed on validation, certificate, and what the test shows."""
    points = results.get("operating_points")
    if not points:
        return None
    blocks: list[Block] = [
        Sentence(f"`{point['name']}` is refused: {str(point.get('reason') or '').rstrip('.')}.", "warn")
        for point in points
        if point.get("status") == "refused"
    ]
    used = results["test"].get("operating_point") or "default"
    blocks.append(Sentence(f"The scores of this report were decided with the operating point `{used}`."))
    caption = "What each operating point reaches on the judged data, with intervals."
    blocks.append(Picture("operating", caption, caption))
    blocks += [_reached(points, results["judged_part"]), _thresholds(points)]
    return Section("operating", "Operating points", tuple(blocks))


def _reached(points: Sequence[Mapping[str, Any]], part: str) -> Table:
    reached = [point.get("test") or {} for point in points]
    columns = [row for row in _POINT_COLUMNS if any(test.get(row[0]) is not None for test in reached)]
    rows: list[tuple[Value, ...]] = []
    for point, test in zip(points, reached, strict=True):
        cells = [estimate(test, test.get("intervals"), key, style) for key, _, style in columns]
        status = Mark("refused", "warn") if point.get("status") == "refused" else Mark("fixed", "good")
        rows.append((point["name"], _aim(point), *cells, status))
    head = ("point", "aim", *(name for _, name, _ in columns), "status")
    note = "Recall and precision of the point's class, or means over all. Thresholds come from validation alone."
    return Table(f"Reached on the {part} part", head, tuple(rows), note=note)


def _aim(point: Mapping[str, Any]) -> str:
    kind = str(point.get("kind") or "")
    text = _AIMS.get(kind, kind.replace("_", " "))
    if point.get("target") is not None:
        text += f" {point['target']:g}"
    return f"{text} for {point['label']}" if point.get("label") else text


def _thresholds(points: Sequence[Mapping[str, Any]]) -> Table:
    rows = tuple((point["name"], _rule(point), _certificate(point)) for point in points)
    return Table("Thresholds and certificates", ("point", "threshold", "certificate"), rows, sortable=False)


def _rule(point: Mapping[str, Any]) -> str:
    values = list(point.get("thresholds") or ())
    names = list(point.get("classes") or ())
    if len(names) != len(values):
        names = [str(index) for index in range(len(values))]
    told = [(name, value) for name, value in zip(names, values, strict=True) if value is not None]
    if not told:
        return str(point.get("rule") or "default")
    if len({value for _, value in told}) == 1 and len(told) > 1:
        return f"{told[0][1]:.3g} for every class"
    return listed([f"{name} {value:.3g}" for name, value in told], 12)


def _certificate(point: Mapping[str, Any]) -> Value:
    certificate = point.get("certificate")
    if certificate and point.get("status") != "refused":
        return str(certificate["sentence"])
    return Mark("not given", "warn") if point.get("status") == "refused" else None


def plant_section(results: Mapping[str, Any]) -> Section | None:
    """Return escapes and overkill in the plant's words."""
    plant = results["test"].get("plant")
    if not plant:
        return None
    rows = tuple(
        (name, estimate(plant, plant.get("intervals"), key, style))
        for key, name, style in _PLANT
        if plant.get(key) is not None
    )
    good = results["test"].get("good_class")
    meaning = f"`{good}` is the class of good parts." if good else "A good part carries no class."
    if plant.get("num_good") is not None and plant.get("num_defective") is not None:
        judged = f"{counted(plant['num_good'], 'good record')} and {counted(plant['num_defective'], 'defective one')}"
        meaning += f" Judged: {judged}."
    table = Table("The plant's measures", ("measure", results["judged_part"]), rows, note=meaning, sortable=False)
    return Section("plant", "Escapes and overkill", (table,))


def reject_section(results: Mapping[str, Any]) -> Section | None:
    """Return what is gained when the least sure parts go to a human."""
    curve = results.get("reject")
    if not curve or not curve.get("coverage"):
        return None
    picked = (_at_coverage(curve, share) for share in SHARES_SHOWN)
    rows = tuple(dict.fromkeys(row for row in picked if row is not None))
    columns = ("decided by the model (%)", "wrong among them (%)", "a human sees scores below")
    start, end = 100 * curve["error"][0], 100 * curve["error"][-1]
    caption = "Share of wrong decisions against the share of parts the model decides itself."
    blocks: list[Block] = [
        Sentence("Parts whose highest score is low can go to a human: fewer are decided, and fewer of those wrongly."),
        *_limit(curve, results["judged_part"]),
        Picture("reject", f"{caption} From {start:.1f} % to {end:.1f} % along the curve.", caption),
        Table("Coverage and error", columns, rows, sortable=False),
    ]
    return Section("reject", "Reject option", tuple(blocks))


def _limit(curve: Mapping[str, Any], part: str) -> list[Block]:
    """Tell the limit that was fixed on validation, if any, and what it reaches on the judged part."""
    if curve.get("limit") is None:
        return []
    reached = curve.get("reached") or {}
    text = f"Fixed on validation: parts with a score below {curve['limit']:.3g} go to a human."
    if reached.get("error") is not None:
        decided = f"the model decides {reached['coverage']:.1%}, {reached['error']:.1%} of them wrongly"
        text += f" Of the {part} part {decided}."
    return [Sentence(text)]


def _at_coverage(curve: Mapping[str, Any], share: float) -> tuple[Value, ...] | None:
    places = [index for index, coverage in enumerate(curve["coverage"]) if coverage is not None]
    place = min(places, key=lambda index: abs(curve["coverage"][index] - share), default=None)
    if place is None or abs(curve["coverage"][place] - share) > 0.03:
        return None
    thresholds = curve.get("threshold") or []
    threshold = thresholds[place] if place < len(thresholds) else None
    shares = (Estimate(curve[name][place], style="percent") for name in ("coverage", "error"))
    return (*shares, threshold)
