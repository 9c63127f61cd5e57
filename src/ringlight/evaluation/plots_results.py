"""Every picture that results alone can give, so that a report is made again without data or model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ringlight.evaluation.metrics import Metrics
from ringlight.evaluation.plots import confusion_figure, history_figure, per_class_figure
from ringlight.evaluation.plots_curves import MOST_CURVES, energy_figure, reliability_figure, roc_pr_figure
from ringlight.evaluation.plots_decisions import MEASURES, operating_figure, reject_figure
from ringlight.evaluation.plots_folds import folds_figure
from ringlight.evaluation.plots_open_set import open_set_figure
from ringlight.types import History


def result_figures(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures that results (schema version 1 or 2) hold the numbers for, by the names a report knows.

    `confusion`, `per_class`, `history`, `roc_pr`, `reliability`, `operating`, `reject`, `energy`, `open_set`, and
    `folds` of a cross-validation; one whose numbers are missing is left out.
    """
    test = results["test"]
    figures: dict[str, Figure] = {}
    if test.get("confusion"):
        metrics = metrics_of(test)
        intervals = test.get("intervals") or {}
        figures["confusion"] = confusion_figure(metrics)
        figures["per_class"] = per_class_figure(
            metrics, intervals=intervals.get("per_class"), too_few=intervals.get("too_few") or ()
        )
    if results.get("history"):
        figures["history"] = history_figure(_history(results), monitor=(results.get("best") or {}).get("monitor"))
    if results.get("cross_validation"):
        figures["folds"] = folds_figure(results["cross_validation"])
    return figures | _curves(results) | _decisions(results)


def metrics_of(test: Mapping[str, Any]) -> Metrics:
    """Return the metrics that :meth:`Metrics.to_dict` has written."""
    threshold = test.get("threshold")
    return Metrics(
        task=test["task"],
        classes=tuple(test["classes"]),
        num_records=test["num_records"],
        scalars=dict(test["scalars"]),
        per_class={name: dict(row) for name, row in test["per_class"].items()},
        confusion=np.asarray(test["confusion"], np.int64),
        threshold=tuple(threshold) if isinstance(threshold, list) else threshold,
        notes=tuple(test.get("notes") or ()),
        num_groups=test.get("num_groups"),
    )


def _history(results: Mapping[str, Any]) -> History:
    rows = results["history"]
    return History([{name: value for name, value in row.items() if value is not None} for row in rows])


def _curves(results: Mapping[str, Any]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    curves = results.get("curves")
    if curves:
        rows = results["test"]["per_class"]
        hardest = sorted(curves, key=lambda name: _area(rows.get(name)))[:MOST_CURVES]
        chosen = {name: curves[name] for name in curves if name in hardest}
        figures["roc_pr"] = roc_pr_figure(chosen, total=len(curves))
    reliability = (results.get("calibration") or {}).get("reliability")
    if reliability:
        figures["reliability"] = reliability_figure(reliability["before"], reliability.get("after"))
    energy = results.get("energy")
    if energy and any(sum(counts) for counts in energy["counts"].values()):
        figures["energy"] = energy_figure(energy["edges"], energy["counts"])
    if results.get("open_set"):
        figures["open_set"] = open_set_figure(results["open_set"]["scores"])
    return figures


def _area(row: Mapping[str, Any] | None) -> float:
    value = (row or {}).get("auroc")
    return 1.0 if value is None else float(value)


def _decisions(results: Mapping[str, Any]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    points = results.get("operating_points") or ()
    if any((point.get("test") or {}).get(name) is not None for point in points for name in MEASURES):
        figures["operating"] = operating_figure(points)
    reject = results.get("reject")
    if reject and any(share is not None for share in reject.get("coverage") or ()):
        figures["reject"] = reject_figure(reject)
    return figures
