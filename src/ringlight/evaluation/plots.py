"""Pictures of an evaluation: confusion, learning curves, sample predictions, scores per class.

Figures are built without pyplot: no global state, no window, safe in threads; `figure.savefig(path)` writes one.
Colours keep their order in gray and for colour-blind eyes (matplotlib's `Blues`; Okabe and Ito's palette).

Shapes: K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ringlight.errors import DataError
from ringlight.evaluation.lettering import class_labels, printable, set_fonts
from ringlight.evaluation.metrics import Metrics, monitor_mode
from ringlight.types import History

BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#555555"
LEGIBLE = 40
"""Classes beyond which a matrix shows colours alone, and a figure with a panel or bar per class those most frequent."""

_CLASS_MARKS = (("precision", BLUE, "o"), ("recall", ORANGE, "D"), ("f1", GREEN, "s"))


def confusion_figure(metrics: Metrics) -> Figure:
    """Draw the confusion matrix: counts, shaded by the share of the true class.

    Multi-class: one K x K matrix. Multi-label: one 2 x 2 matrix per class.
    """
    return _matrix(metrics) if metrics.task == "multiclass" else _small_multiples(metrics)


def _matrix(metrics: Metrics) -> Figure:
    counts, names = metrics.confusion, metrics.classes
    size = len(names)
    side = 2.6 + 0.55 * min(max(size, 3), LEGIBLE)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    _cells(axes, counts)
    ticks = class_labels(names)
    places = range(0, size, -(-size // LEGIBLE))  # every class, or every second, third, ... of very many
    ticks = [ticks[place] for place in places]
    axes.set_xticks(places, ticks, rotation=45, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(places, ticks, fontsize=9)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    right = int(np.trace(counts))
    title = f"{right} of {metrics.num_records} right ({right / metrics.num_records:.1%})"
    axes.set_title(title if metrics.num_groups is None else f"{title}, {metrics.num_groups:,} parts", fontsize=11)
    return set_fonts(figure)


def _small_multiples(metrics: Metrics) -> Figure:
    shown = _most_frequent(metrics)
    names = class_labels(metrics.classes)
    size = len(shown)
    columns = min(size, 5)
    rows = -(-size // columns)
    # Square cells: a figure taller than they are would leave a gap above the label of its columns.
    figure = Figure(figsize=(1.55 * columns + 0.75, 1.85 * rows + 0.85), layout="compressed")
    for index, column in enumerate(shown):
        axes = figure.add_subplot(rows, columns, index + 1)
        _cells(axes, metrics.confusion[column])
        axes.set_title(names[column], fontsize=10)
        axes.set_xticks([0, 1], ["no", "yes"], fontsize=8)
        axes.set_yticks([0, 1], ["no", "yes"] if index % columns == 0 else ["", ""], fontsize=8)
    figure.suptitle(_judged(metrics), fontsize=11)
    figure.supxlabel("predicted" + _left_out(metrics, size), fontsize=10)
    figure.supylabel("truth", fontsize=10)
    return set_fonts(figure)


def _judged(metrics: Metrics) -> str:
    groups = "" if metrics.num_groups is None else f" of {metrics.num_groups:,} parts"
    return f"{metrics.num_records:,} records{groups}"


def _most_frequent(metrics: Metrics) -> list[int]:
    """Return the columns of the classes to show, in order of the classes."""
    support = [metrics.per_class[name]["support"] or 0 for name in metrics.classes]
    return sorted(sorted(range(len(support)), key=lambda column: -support[column])[:LEGIBLE])


def _left_out(metrics: Metrics, shown: int) -> str:
    total = len(metrics.classes)
    return "" if shown == total else f"   (the {shown} most frequent of {total} classes)"


def _cells(axes: Axes, counts: npt.NDArray[Any]) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.tick_params(length=0)
    if len(counts) > LEGIBLE:
        return
    for (row, column), count in np.ndenumerate(counts):
        if not totals[row, 0] or (not count and len(counts) > 4):
            continue  # zeros of a large matrix only hide the numbers that matter
        share = shares[row, column]
        text = f"{count}\n{share:.0%}" if len(counts) <= 15 else f"{count}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="w" if share > 0.55 else "k")
    for row in np.flatnonzero(totals[:, 0] == 0):
        axes.text((len(counts) - 1) / 2, float(row), "no example", ha="center", va="center", fontsize=8, color=GRAY)


def history_figure(history: History, *, monitor: str | None = None) -> Figure:
    """Draw the curves of a training: losses, the monitored validation metric with its best epoch, learning rate.

    Phases are drawn apart, with a dashed line between them; the best epoch is one of the last.

    Args:
        history: rows with `train/loss`, and where there are any, `val/loss`, `val/<monitor>`, `lr`.
        monitor: a validation metric; None leaves its panel out.

    Raises:
        DataError: the history has no row.
    """
    if not history.rows:
        raise DataError("an epoch", got="an empty history", where="history", fix="train for one epoch or more")
    panels = [("loss", ["train/loss", "val/loss"])]
    panels += [(monitor, [f"val/{monitor}"])] if monitor is not None and monitor != "loss" else []
    panels += [("learning rate", ["lr"])] if any("lr" in row for row in history.rows) else []
    figure = Figure(figsize=(3.6 * len(panels) + 0.6, 3.2), layout="constrained")
    for index, (title, names) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        for name, colour in zip(names, (BLUE, ORANGE), strict=False):
            _curves(axes, history, name, colour)
        axes.set_title(printable(title), fontsize=11)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if len(history.rows) == 1:
            axes.set_xlim(history.rows[0]["epoch"] - 0.5, history.rows[0]["epoch"] + 0.5)
        axes.grid(alpha=0.3)
        _widen(axes)
        if len(axes.get_legend_handles_labels()[1]) > 1:
            axes.legend(frameon=False, fontsize=9)
        for phase in history.phases()[1:]:
            axes.axvline(phase.rows[0]["epoch"] - 0.5, color="0.6", linewidth=0.8, linestyle="--")
        if title == monitor:
            _mark_best(axes, history.phases()[-1], f"val/{monitor}")
    return set_fonts(figure)


def _curves(axes: Axes, history: History, name: str, colour: str) -> None:
    """Draw a column, a line of its own for each phase: what they minimise is not the same."""
    # A dot on each epoch while they are few: one epoch alone draws no line.
    marker = "o" if sum(name in row for row in history.rows) <= 30 else None
    label: str | None = name.partition("/")[0]
    for phase in history.phases():
        points = [(row["epoch"], row[name]) for row in phase.rows if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=3, label=label)
            label = None


def _widen(axes: Axes) -> None:
    """Give curves that hardly move room around them: noise in the sixth digit is no course of a training."""
    values = [float(value) for line in axes.get_lines() for value in np.asarray(line.get_ydata(), float)]
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return
    low, high = min(finite), max(finite)
    room = 0.05 * max(abs(low), abs(high)) or 0.05
    if high - low < room:
        axes.set_ylim(low - room, high + room)


def _mark_best(axes: Axes, history: History, name: str) -> None:
    best = history.best(name, monitor_mode(name.partition("/")[2]))
    if best is not None:
        axes.axvline(best["epoch"], color=GRAY, linestyle=":", linewidth=1)
        axes.set_xlabel(f"epoch   (best: {best[name]:.3f} in epoch {best['epoch']:.0f})")


def sample_figure(
    images: Sequence[npt.NDArray[np.uint8]], titles: Sequence[str], *, columns: int | None = None
) -> Figure:
    """Draw images with a title each (truth and prediction), in a grid.

    Args:
        images: 8-bit pictures (H, W), (H, W, 1) or (H, W, 3), of any sizes.
        titles: one per image; line breaks are kept.
        columns: pictures in a row; by default one for long strips, up to four for squares.

    Raises:
        DataError: no image, or another number of titles.
    """
    if not images or len(images) != len(titles):
        raise DataError(
            "images and a title for each", got=f"{len(images)} images and {len(titles)} titles", where="samples",
            fix="pass one title per image",
        )  # fmt: skip
    ratio = float(np.median([image.shape[1] / image.shape[0] for image in images]))
    count = min(columns or (4 if ratio < 1.8 else 2 if ratio < 4 else 1), len(images))
    width = {1: 9.0, 2: 5.0}.get(count, 2.8)
    rows = -(-len(images) // count)
    lines = max(title.count("\n") + 1 for title in titles)
    figure = Figure(figsize=(width * count, rows * (width / ratio + 0.2 + 0.17 * lines)), layout="constrained")
    for index, (image, title) in enumerate(zip(images, titles, strict=True)):
        axes = figure.add_subplot(rows, count, index + 1)
        axes.imshow(
            image.squeeze(-1) if image.ndim == 3 and image.shape[2] == 1 else image, cmap="gray", vmin=0, vmax=255
        )
        axes.set_title("\n".join(printable(line, 40) for line in title.split("\n")), fontsize=8)
        axes.set_axis_off()
    return set_fonts(figure)


def per_class_figure(
    metrics: Metrics,
    *,
    intervals: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    too_few: Collection[str] = (),
) -> Figure:
    """Draw precision, recall and F1 of each class as dots, rarest class last, with its number of examples.

    Args:
        metrics: the scores.
        intervals: `[low, high]` by class and measure; drawn as whiskers.
        too_few: classes that carry too little to be judged; they are drawn pale.
    """
    rows, bounds = metrics.per_class, intervals or {}
    support = [rows[name]["support"] or 0 for name in metrics.classes]
    order = sorted(_most_frequent(metrics), key=lambda index: -support[index])
    labels = class_labels(metrics.classes)
    figure = Figure(figsize=(8.0, 1.2 + 0.45 * len(order)), layout="constrained")
    axes = figure.add_subplot()
    for offset, (key, colour, marker) in zip((-0.24, 0.0, 0.24), _CLASS_MARKS, strict=True):
        for place, index in enumerate(order):
            name = metrics.classes[index]
            pale = 0.4 if name in too_few else 1.0
            value, bound = rows[name][key], bounds.get(name, {}).get(key)
            if bound is not None:
                axes.hlines(place + offset, bound[0], bound[1], color=colour, alpha=0.6 * pale, linewidth=2)
            if value is not None:
                axes.plot(value, place + offset, marker, color=colour, alpha=pale, markersize=5.5)
        axes.plot([], [], marker, color=colour, label=key)
    axes.set_yticks(range(len(order)), [_class_tick(metrics, labels, index, too_few) for index in order])
    axes.set_ylim(len(order) - 0.5, -0.5)
    if len(order) < len(metrics.classes):
        axes.set_xlabel(_left_out(metrics, len(order)).strip())
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="x", alpha=0.3)
    for line in range(1, len(order)):
        axes.axhline(line - 0.5, color=GRAY, alpha=0.2, linewidth=0.6)
    axes.legend(frameon=False, ncols=3, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1))
    return set_fonts(figure)


def _class_tick(metrics: Metrics, labels: Sequence[str], index: int, too_few: Collection[str]) -> str:
    row = metrics.per_class[metrics.classes[index]]
    few = ", too few" if metrics.classes[index] in too_few else ""
    groups = row.get("support_groups")
    parts = "" if groups is None else f" of {groups:.0f} parts"
    return f"{labels[index]}  ({row['support'] or 0:.0f}{parts}{few})"
