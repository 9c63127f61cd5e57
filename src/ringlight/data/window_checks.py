"""Checks of windows before anything is trained on them: gaps, dead, clipped and drifting channels, copies.

Shapes: N windows, T samples, C channels.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ringlight.data.faults import first_of
from ringlight.data.findings import Finding, Inspection, finding_of, in_order, label_findings
from ringlight.data.window_store import WindowReader, read_facts, require_signals
from ringlight.data.window_survey import LEVELS, Survey, survey
from ringlight.errors import DataError
from ringlight.types import Dataset, Signals

LARGEST = 1e12
"""Values of this size are marks of what is missing; sums of their squares leave single precision."""
CLIPPED = 0.005
"""From this share of samples that rest at the highest (or lowest) value on, a channel is called clipped."""
DRIFT = 1.0
"""A drift is a trend of the windows' means by more than so many deviations within a window ..."""
TREND = 0.5
"""... that explains at least this share of what the means vary by."""
FEW = 20
"""Fewer windows have no trend that says anything."""
LISTED = 5
"""How many contradictions are told one by one."""


def inspect_windows(dataset: Dataset, *, min_samples_per_class: int = 2) -> Inspection:
    """Look at every window once; the findings come with errors first, a line a channel and not a line a window.

    Errors: values that are not finite or of 1e12 and more, a store of other channels or another length, or one that is
    gone; an id that stands twice; no label, or several, in a multi-class data set. Warnings: a channel that stands
    still in every window, that is clipped or drifts; identical windows with different labels; rare classes. Notes:
    identical windows with the same labels; channels that stand still in some windows.
    """
    signals = require_signals(dataset)
    try:
        stores = list(_stores(dataset, signals))
        seen = None if stores else survey(dataset)
    except DataError as error:
        stores, seen = [finding_of("error", error)], None
    if seen is None:
        return Inspection(in_order([*stores, *label_findings(dataset, min_samples_per_class)]), dataset, {})
    findings = [
        *_not_finite(dataset, signals, seen),
        *_too_large(dataset, signals, seen),
        *label_findings(dataset, min_samples_per_class),
        *_still(dataset, signals, seen),
        *_clipped(dataset, signals, seen),
        *_drifting(dataset, signals, seen),
        *_identical(dataset, seen),
    ]
    return Inspection(in_order(findings), dataset.with_column("content", seen.contents), {})


def _stores(dataset: Dataset, signals: Signals) -> Iterator[Finding]:
    """Compare the stores with what the data set says of its windows."""
    for file in WindowReader.of(dataset).files:
        facts = read_facts(file.parent)
        if (facts.length, facts.channels) != (signals.length, signals.channels):
            yield Finding(
                severity="error",
                where=f"{dataset.name}: {file}",
                expected=f"windows of {signals.length} samples of {', '.join(signals.channels[:12])}",
                got=f"{facts.length} samples of {', '.join(facts.channels[:12])}",
                fix="cut all recordings alike: data.window_length, data.channels",
            )


def _not_finite(dataset: Dataset, signals: Signals, seen: Survey) -> Iterator[Finding]:
    for channel, name in enumerate(signals.channels):
        if seen.lost[channel] == seen.count:
            yield Finding(
                severity="error",
                where=f"{dataset.name}: channel `{name}`",
                expected="finite values",
                got=f"none in all {seen.count} windows",
                fix="leave the channel out, or look why it was not recorded",
            )
        elif seen.bad[channel]:
            row = int(seen.first_bad[channel])
            kind = "an infinite value" if seen.infinite[channel] else "NaN"
            yield Finding(
                severity="error",
                where=f"{dataset.name}: record `{dataset.ids[row]}`, channel `{name}`",
                expected="finite values",
                got=f"{kind} (in {seen.bad[channel]} of {seen.count} windows)",
                fix="fill the gaps, or leave these windows out",
            )


def _too_large(dataset: Dataset, signals: Signals, seen: Survey) -> Iterator[Finding]:
    for channel, name in enumerate(signals.channels):
        extreme = max(float(seen.high[channel]), -float(seen.low[channel]))
        if extreme >= LARGEST:
            yield Finding(
                severity="error",
                where=f"{dataset.name}: channel `{name}`",
                expected=f"values below {LARGEST:g} in size, whose squares single precision can hold",
                got=f"{extreme:g}",
                fix="give it in a larger unit, or mend the marks of missing values",
            )


def _still(dataset: Dataset, signals: Signals, seen: Survey) -> Iterator[Finding]:
    dead = seen.still == seen.count
    for channel in np.flatnonzero(dead):
        same = seen.low[channel] == seen.high[channel]
        if signals.length == 1 and not same:
            continue  # a vector: one sample cannot move
        yield Finding(
            severity="warning",
            where=f"{dataset.name}: channel `{signals.channels[channel]}`",
            expected="a channel that moves",
            got=f"{seen.low[channel]:g} throughout" if same else "one that stands still in every window",
            fix="check the sensor, or leave the channel out: it can tell nothing" if same else "is it a setting?",
        )
    some = [
        f"`{signals.channels[channel]}` in {seen.still[channel]} of {seen.count}"
        for channel in np.flatnonzero((seen.still > 0) & ~dead)
    ]
    if some:
        yield Finding(
            severity="note",
            where=dataset.name,
            expected="channels that move in every window",
            got=f"some that stand still: {', '.join(some)}",
            fix="look whether it is the process or the sensor",
        )


def _clipped(dataset: Dataset, signals: Signals, seen: Survey) -> Iterator[Finding]:
    for channel, name in enumerate(signals.channels):
        if seen.levels[channel] <= LEVELS:
            continue
        samples = max(1, int(seen.count - seen.still[channel]) * seen.length)
        for counts, value, end in ((seen.top, seen.high, "highest"), (seen.bottom, seen.low, "lowest")):
            share = int(counts[channel]) / samples
            # Many quantities end at 0 by their nature: a flow, a speed, a rectified signal.
            if share >= CLIPPED and value[channel] != 0:
                yield Finding(
                    severity="warning",
                    where=f"{dataset.name}: channel `{name}`",
                    expected=f"less than {CLIPPED:.1%} of the samples resting at its {end} value",
                    got=f"{share:.1%} at {value[channel]:g}",
                    fix="it looks clipped: check the range of the sensor or converter",
                )


def _drifting(dataset: Dataset, signals: Signals, seen: Survey) -> Iterator[Finding]:
    times = np.array(dataset.table.column("time").to_pylist(), np.float64)  # None becomes NaN
    timed = bool(np.isfinite(times).all())
    order = times if timed else np.arange(seen.count, dtype=np.float64)
    if seen.count < FEW or np.ptp(order) == 0:
        return
    changes, explained = _trend(seen.means.astype(np.float64), order, _classes(dataset))
    inside = np.sqrt(seen.inside)
    ratios = np.abs(changes) / np.where(inside > 0, inside, np.inf)
    drifting = [int(channel) for channel in np.argsort(-ratios) if ratios[channel] > DRIFT]
    drifting = [channel for channel in drifting if explained[channel] >= TREND]
    if drifting:
        told = [f"`{signals.channels[channel]}` by {changes[channel]:.3g}" for channel in drifting]
        yield Finding(
            severity="warning",
            where=dataset.name,
            expected=f"channels whose offset stays, over {'time' if timed else 'the rows'}",
            got=f"a drift of more than the deviation within a window in {first_of(told)}",
            fix="a split by time or group judges it honestly; data.normalize=window takes offsets out",
        )


def _classes(dataset: Dataset) -> npt.NDArray[np.int64]:
    """Return a class for each window, so that rows which are sorted by class are no drift; (N,)."""
    if dataset.task != "multiclass":
        return np.zeros(len(dataset), np.int64)
    return np.asarray(dataset.targets(), np.int64)


def _trend(
    means: npt.NDArray[np.float64], order: npt.NDArray[np.float64], classes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return by how much the means change over the whole order, and which share of their variance that explains.

    A straight line through the means of each class, with one slope and an offset a class.
    """
    known = np.isfinite(means).all(axis=1)
    if not known.any():
        return np.zeros(means.shape[1]), np.zeros(means.shape[1])
    values, place, labels = means[known], order[known][:, None], classes[known]
    span = float(np.ptp(order))
    values, place = (_without_class_means(array, labels) for array in (values, place / span))
    spread = float(np.square(place).sum())
    if spread < 1e-9 * len(place):
        return np.zeros(means.shape[1]), np.zeros(means.shape[1])
    slope = (place * values).sum(axis=0) / spread
    variance = np.square(values).sum(axis=0)
    return slope, np.where(variance > 0, slope**2 * spread / np.where(variance > 0, variance, 1), 0)


def _without_class_means(values: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    counts = np.maximum(np.bincount(labels), 1)
    sums = np.stack([np.bincount(labels, column, len(counts)) for column in values.T], axis=1)
    return np.asarray(values - (sums / counts[:, None])[labels])


def _identical(dataset: Dataset, seen: Survey) -> Iterator[Finding]:
    copied = {content for content, count in Counter(seen.contents).items() if count > 1}
    rows: dict[str, list[int]] = defaultdict(list)
    for row, content in enumerate(seen.contents):
        if content in copied:
            rows[content].append(row)
    ids, labels = dataset.ids, dataset.table.column("labels").to_pylist()
    names = {
        row: " + ".join(dataset.classes[label] for label in labels[row]) or "(none)"
        for found in rows.values()
        for row in found
    }
    torn = [found for found in rows.values() if len({names[row] for row in found}) > 1]
    for found in torn[:LISTED]:
        yield Finding(
            severity="warning",
            where=f"{dataset.name}: record `{ids[found[0]]}`",
            expected="the same labels on identical windows",
            got=", ".join(f"`{ids[row]}`: {names[row]}" for row in found[:5]),
            fix="keep the window whose label is right",
        )
    if len(torn) > LISTED:
        yield Finding(
            severity="warning",
            where=dataset.name,
            expected="the same labels on identical windows",
            got=f"{len(torn) - LISTED} more sets of identical windows with different labels",
            fix="look where the windows come from",
        )
    alike = [ids[row] for found in rows.values() for row in found[1:] if len({names[row] for row in found}) == 1]
    if alike:
        yield Finding(
            severity="note",
            where=dataset.name,
            expected="every window once",
            got=f"copies of other windows: {first_of(alike)}",
            fix="keep one of each; no split puts copies on two sides",
        )
