"""From labels to the rows of train, val and test: arguments checked, classes that are too rare for a part named.

How records are assigned is told in :mod:`ringlight.data.stratify`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.split_file import PARTS
from ringlight.data.stratify import BoolArray, FloatArray, IntArray, group_codes, stratify
from ringlight.errors import SplitError


class StratifiedSplitter:
    """Splits labels into train, val and test by iterative stratification (Sechidis et al. 2011).

    Examples:
        >>> labels = np.array([[1, 0], [0, 1], [0, 0], [0, 0]] * 25)
        >>> train, val, test = StratifiedSplitter(random_state=42).split(labels, split_ratios=(0.6, 0.2, 0.2))
        >>> [labels[part].sum(axis=0).tolist() for part in (train, val, test)]
        [[15, 15], [5, 5], [5, 5]]
    """

    def __init__(self, random_state: int = 42) -> None:
        self.random_state = random_state

    def split(
        self,
        labels: npt.ArrayLike,
        split_ratios: Sequence[float] = (0.7, 0.15, 0.15),
        groups: Sequence[Any] | None = None,
    ) -> tuple[IntArray, IntArray, IntArray]:
        """Return the sorted rows of train, val and test; disjoint and complete.

        A class too rare to reach every part is named in a `UserWarning`; one that a single record carries is in train.

        Args:
            labels: binary matrix (N, K), multi-label (rows without a label are stratified too), or (N,) integers.
            split_ratios: shares of (train, val, test), summing to 1, val or test may be 0; two shares are
                (train, test) and leave val empty.
            groups: what each record belongs to, (N,); no group is divided. A record with None stands alone.

        Raises:
            SplitError: shares that are negative or do not sum to 1; labels of another shape, or not binary or whole;
                fewer records or groups than parts.
        """
        ratios = _checked_ratios(split_ratios)
        matrix = _label_matrix(labels)
        codes = None if groups is None else group_codes(groups)
        if codes is not None and len(codes) != len(matrix):
            raise _wrong("groups", f"{len(matrix)} groups, one per record", f"{len(codes)}", "pass one for each label")
        part = fresh_parts(matrix, ratios, codes, self.random_state, where="split")
        names = [f"{column}" for column in range(matrix.shape[1])]
        for line in rare_classes(matrix, part, ratios, names):
            warnings.warn(line, stacklevel=2)
        train, val, test = (np.flatnonzero(part == index) for index in range(3))
        return train, val, test


def fresh_parts(matrix: BoolArray, ratios: FloatArray, codes: IntArray | None, seed: int, *, where: str) -> IntArray:
    """Return the part of every record, (N,); each part with a share holds records.

    `codes` are the groups that stay whole, None without any; `where` begins the message of an error.

    Raises:
        SplitError: fewer records or groups than parts, or a part that only the last example of a class could fill.
    """
    wanted = np.flatnonzero(ratios > 0)
    units = len(matrix) if codes is None else len(np.unique(codes))
    if units < len(wanted):
        kind = "records" if units == len(matrix) else "groups"
        raise _wrong(where, f"at least {len(wanted)} {kind} for {len(wanted)} parts", f"{units}", "add data")
    part = stratify(matrix, ratios, seed=seed, groups=codes)
    empty = [PARTS[index] for index in wanted if not (part == index).any()]
    if empty:
        raise _wrong(
            where,
            f"records for every part ({', '.join(PARTS[index] for index in wanted)})",
            f"none for {' and '.join(empty)} without taking the last example of a class from train",
            "add records to the rare classes or choose a strategy with fewer parts",
        )
    return part


def _checked_ratios(ratios: Sequence[float]) -> FloatArray:
    got = tuple(float(ratio) for ratio in ratios)
    shares = (got[0], 0.0, got[1]) if len(got) == 2 else got
    fix = "use e.g. (0.7, 0.15, 0.15), or (0.8, 0.2) without validation"
    if len(shares) != 3:
        raise _wrong("split_ratios", "shares of train, val and test", str(got), fix)
    if not all(np.isfinite(shares)) or min(shares) < 0 or shares[0] == 0 or shares[1] + shares[2] == 0:
        raise _wrong("split_ratios", "a share above 0 for train and for val or test, none negative", str(got), fix)
    if abs(sum(shares) - 1) > 1e-6:
        raise _wrong("split_ratios", "shares that sum to 1", f"{got}, which sum to {sum(got):g}", fix)
    return np.array(shares) / sum(shares)


def _label_matrix(labels: npt.ArrayLike) -> BoolArray:
    """Return binary labels as they are and class numbers one-hot, after checking shape and values."""
    fix = "pass a binary matrix (N, K) or class numbers (N,)"
    try:
        values = np.asarray(labels)
    except ValueError:  # rows of different lengths
        raise _wrong("labels", "rows of equal length", "rows of different lengths", fix) from None
    if values.ndim not in (1, 2) or not values.size or values.dtype.kind not in "biuf":
        raise _wrong("labels", "numbers of shape (N, K) or (N,)", f"{values.dtype} of shape {values.shape}", fix)
    if not np.isfinite(values).all():
        raise _wrong("labels", "finite numbers", f"NaN or infinity in row {_first(~np.isfinite(values))}", fix)
    if values.ndim == 1:
        fractions = values != np.floor(values)
        if fractions.any():
            row = _first(fractions)
            raise _wrong("labels", "whole class numbers", f"{values[row]:g} in row {row}", fix)
        return np.asarray(values[:, None] == np.unique(values))
    other = (values != 0) & (values != 1)
    if other.any():
        row = _first(other)
        raise _wrong("labels", "only 0 and 1 in a label matrix", f"{values[row].tolist()} in row {row}", fix)
    return values.astype(bool)


def _first(mask: npt.NDArray[np.bool_]) -> int:
    return int(np.argmax(mask.reshape(len(mask), -1).any(axis=1)))


def rare_classes(matrix: BoolArray, part: IntArray, ratios: FloatArray, names: Sequence[str]) -> list[str]:
    """Name every class (a column of `matrix`) that a part with a share has no record of, one line each."""
    wanted = [index for index in range(3) if ratios[index] > 0]
    lines = []
    for column, name in enumerate(names):
        missing = [PARTS[index] for index in wanted if not matrix[part == index, column].any()]
        total = int(matrix[:, column].sum())
        if missing and total:
            records = "1 record" if total == 1 else f"{total} records"
            lines.append(f"class {name}: {records}, none in {' and '.join(missing)}; its scores there mean nothing")
    return lines


def unequal_sizes(part: IntArray, ratios: FloatArray) -> list[str]:
    """Say, in one line or none, how far the parts are from their shares (as groups and rare classes make them)."""
    sizes = np.bincount(part, minlength=3)
    if np.abs(sizes - ratios * len(part)).max() <= max(2.0, 0.05 * len(part)):
        return []
    told = ", ".join(f"{PARTS[i]} {sizes[i] / len(part):.0%} instead of {ratios[i]:.0%}" for i in range(3))
    return [f"the parts are far from their shares ({told}): groups are large or classes rare"]


def _wrong(where: str, expected: str, got: str, fix: str) -> SplitError:
    return SplitError(expected, got=got, where=where, fix=fix)
