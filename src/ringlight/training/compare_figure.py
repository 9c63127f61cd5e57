"""The picture of a comparison of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringlight.errors import RunError
from ringlight.evaluation.metric_names import LOWER_IS_BETTER
from ringlight.evaluation.plots_compare import Whisker, differences_figure
from ringlight.training.compare import Comparison
from ringlight.training.compare_pairs import Difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CLASSES = 12
"""Classes whose recall is drawn; of more, those with the largest differences."""


def comparison_figure(comparison: Comparison) -> Figure:
    """Draw the difference of each run from the reference: the headline metrics, then the recall of each class.

    Raises:
        RunError: no two of the runs compare.
    """
    panels = []
    for pair in comparison.pairs:
        recalls = [row["recall"] for row in pair.per_class.values() if "recall" in row]
        recalls.sort(key=lambda one: -abs(one.value))
        kept = {one.metric for one in recalls[:MAX_CLASSES]}
        higher = [one for one in pair.differences if one.metric not in LOWER_IS_BETTER]  # right is better throughout
        rows = [*higher, *(row["recall"] for row in pair.per_class.values() if "recall" in row)]
        rows = [one for one in rows if "/" not in one.metric or one.metric in kept]
        panels.append(
            (f"{pair.run} (leaky)" if pair.run in comparison.leaky else pair.run, [_whisker(one) for one in rows])
        )
    if not any(rows for _, rows in panels):
        raise RunError(
            "two runs that were judged on the same records",
            got=comparison.pairs[0].refused if comparison.pairs else "one run",
            where="comparison_figure",
            fix="compare runs of one data set and one split",
        )
    return differences_figure(panels, comparison.reference)


def _whisker(one: Difference) -> Whisker:
    metric, _, label = one.metric.partition("/")
    return Whisker(f"{metric} of {label}" if label else metric, one.value, one.low, one.high, one.verdict)
