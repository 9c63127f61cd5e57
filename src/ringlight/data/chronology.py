"""Splitting by time: train on the oldest records, test on the newest, as a line will use the model.

The two boundaries lie where the parts have their shares, moved to the edge of a group where one is near: a record that
is left out costs twice a record that changes its part. A group that lies across a boundary all the same goes to the
part that holds most of it, and its records on the other side are left out: so no group is in two parts, and every
training record is older than every validation record, and those than every test record.
"""

from __future__ import annotations

import numpy as np

from ringlight.data.faults import first_of
from ringlight.data.groups import times_of
from ringlight.data.split_file import LEFT_OUT, PARTS
from ringlight.data.stratify import FloatArray, IntArray
from ringlight.errors import SplitError
from ringlight.types import Dataset

_LEFT_OUT_COSTS = 2.0
"""Records that may change their part so that one is not left out. At 1, a boundary in the middle of a group would be as
good as one at its edge."""


def split_by_time(
    data: Dataset, units: IntArray | None, ratios: FloatArray, *, gap: float = 0.0
) -> tuple[IntArray, list[str]]:
    """Return the part (0, 1, 2, or 3 for left out) of every record, (N,), and what there is to say about it.

    Args:
        data: the records, each with a time.
        units: code of what each record belongs to, (N,); None when each stands alone.
        ratios: shares of train, val and test.
        gap: records closer than this (seconds) to the next part are left out, too.

    Raises:
        SplitError: a record without a time, too few different times, a part that nothing is left for.
    """
    if not (np.isfinite(gap) and gap >= 0):
        raise SplitError("seconds from 0", got=f"{gap:g}", where="split.time_gap", fix="set split.time_gap=0")
    times = times_of(data, where="split.strategy=time_70_15_15")
    codes = np.arange(len(times)) if units is None else units
    part = _apart_in_time(times, codes, ratios, where=data.name)
    for index in (0, 1):
        later = times[part == index + 1]
        if len(later) and gap:
            part[(part == index) & (times > later.min() - gap)] = LEFT_OUT
    empty = [name for index, name in enumerate(PARTS) if not (part == index).any()]
    if empty:
        raise SplitError(
            "records for every part (train, val, test)",
            got=f"none for {' and '.join(empty)} once groups across a boundary and split.time_gap={gap:g} are left out",
            where=f"{data.name}: split.strategy=time_70_15_15",
            fix="shorten split.time_gap, use groups that end in time (split.groups=time), or another strategy",
        )
    ids = data.ids
    out = [ids[row] for row in np.flatnonzero(part == LEFT_OUT)]
    why = "their group is in another part, or the next part is nearer than split.time_gap"
    return part, [f"left out at the boundaries in time: {first_of(out)}; {why}"] if out else []


def cut_in_time(times: FloatArray, num_spans: int) -> IntArray:
    """Return the span of time, 0 for the oldest, that each record is in, (N,); spans are as equal as ties let them be.

    Records of one time are in one span. There are fewer spans when there are fewer different times.

    Examples:
        >>> cut_in_time(np.array([3.0, 1.0, 1.0, 2.0, 9.0, 4.0]), 3).tolist()
        [1, 0, 0, 1, 2, 2]
    """
    _, rank, sizes = np.unique(times, return_inverse=True, return_counts=True)
    if len(sizes) <= num_spans:
        return np.asarray(rank, np.int64)
    starts = np.cumsum(sizes) - sizes
    span = np.zeros(len(sizes), np.int64)
    for index in range(1, num_spans):
        left = np.arange(int(np.flatnonzero(span == index - 1)[0]) + 1, len(sizes) - (num_spans - 1 - index))
        first = left[np.argmin(np.abs(starts[left] - index * len(times) / num_spans))]
        span[first:] = index
    return np.asarray(span[rank], np.int64)


def _apart_in_time(times: FloatArray, codes: IntArray, ratios: FloatArray, *, where: str) -> IntArray:
    order = np.argsort(times, kind="stable")
    cuts = np.flatnonzero(np.diff(times[order]) > 0) + 1
    if len(cuts) < 2:
        raise SplitError(
            "at least 3 different times for 3 parts",
            got=f"{len(cuts) + 1}",
            where=f"{where}: split.strategy=time_70_15_15",
            fix="check data.time_column, or choose another strategy",
        )
    lost = _lost_at(codes[order])
    ends = np.cumsum(ratios) * len(times)
    first = _best(cuts[:-1], ends[0], lost)
    second = _best(cuts[cuts > first], ends[1], lost)
    part = np.empty(len(times), np.int64)
    part[order] = np.repeat([0, 1, 2], [first, second - first, len(times) - second])
    share = np.zeros((int(codes.max()) + 1, len(PARTS)), np.int64)
    np.add.at(share, (codes, part), 1)
    part[part != share.argmax(axis=1)[codes]] = LEFT_OUT
    return part


def _best(cuts: IntArray, wanted: float, lost: IntArray) -> int:
    return int(cuts[np.argmin(np.abs(cuts - wanted) + _LEFT_OUT_COSTS * lost[cuts])])


def _lost_at(codes: IntArray) -> IntArray:
    """Return, for a boundary before each position, the records on the smaller side of the groups it cuts, (N + 1,)."""
    after = np.bincount(codes).tolist()
    before = [0] * len(after)
    lost = [0]
    for code in codes.tolist():
        was = min(before[code], after[code])
        before[code] += 1
        after[code] -= 1
        lost.append(lost[-1] + min(before[code], after[code]) - was)
    return np.array(lost, np.int64)
