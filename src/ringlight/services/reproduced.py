"""How far two runs of one configuration differ: weights, predictions, history, scores; each with its largest gap."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ringlight.errors import RunError
from ringlight.inference.bundle import INDEX
from ringlight.services.run_history import flat


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far one part of two runs differs.

    `largest` is the largest absolute difference of its numbers, at `where`; None where the part cannot be subtracted:
    other names, other sizes, bytes that are no numbers.
    """

    part: str
    num_compared: int
    num_different: int
    largest: float | None = 0.0
    where: str = ""

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        return self.num_different > 0

    def __str__(self) -> str:
        """Say it in a phrase."""
        if not self.differs:
            return f"{self.part}: the same ({self.num_compared} compared)"
        size = "not to be subtracted" if self.largest is None else f"by {self.largest:.3g} at most"
        return f"{self.part}: {self.num_different} of {self.num_compared} differ, {size} ({self.where})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def compare_folders(before: Path, after: Path) -> list[Difference]:
    """Compare two finished runs; a cross-validation has no weights.

    Raises:
        RunError: what one of them left cannot be read.
    """
    found = []
    if (before / "bundle").is_dir() or (after / "bundle").is_dir():
        found.append(_weights(before / "bundle", after / "bundle"))
    found.append(_predictions(before, after))
    first, second = (_results(folder) for folder in (before, after))
    return [
        *found,
        numbers("history", _history(first), _history(second)),
        numbers("scores", _judged(first), _judged(second)),
    ]  # fmt: skip


def numbers(part: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Difference:
    """Compare the leaves of two trees: numbers to the bit, anything else by equality.

    Examples:
        >>> print(numbers("scores", {"f1": 0.5, "auroc": None}, {"f1": 0.75, "auroc": None}))
        scores: 1 of 2 differ, by 0.25 at most (f1)
    """
    first, second = (dict(_leaves(flat(tree))) for tree in (before, after))
    names = list(dict.fromkeys([*first, *second]))
    gaps = {name: _gap(first.get(name), second.get(name)) for name in names}
    return _difference(part, {name: gap for name, gap in gaps.items() if gap != 0.0}, len(names))


def _difference(part: str, gaps: Mapping[str, float | None], num_compared: int) -> Difference:
    if not gaps:
        return Difference(part=part, num_compared=num_compared, num_different=0)
    odd = next((name for name, gap in gaps.items() if gap is None), None)
    where = odd if odd is not None else max(gaps, key=lambda name: gaps[name] or 0.0)
    return Difference(
        part=part, num_compared=num_compared, num_different=len(gaps), largest=gaps[where], where=where
    )  # fmt: skip


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a flat mapping holds, lists taken apart."""
    for name, value in values.items():
        if isinstance(value, list):
            yield from _leaves(flat({f"{name}[{index}]": one for index, one in enumerate(value)}))
        else:
            yield name, value


def _gap(before: Any, after: Any) -> float | None:
    """Return the absolute difference, 0.0 for the same, None for what cannot be subtracted."""
    if before == after:
        return 0.0
    if not all(isinstance(value, int | float) for value in (before, after)):
        return None
    if math.isnan(before) and math.isnan(after):
        return 0.0
    gap = abs(float(before) - float(after))
    return gap if math.isfinite(gap) else None


def _weights(before: Path, after: Path) -> Difference:
    """Compare the files of two bundles: tensors by their numbers, others by their bytes; the index names the run."""
    names = sorted({path.name for folder in (before, after) for path in folder.iterdir()} - {INDEX})
    gaps: dict[str, float | None] = {}
    count = 0
    for name in names:
        if not all((folder / name).is_file() for folder in (before, after)):
            gaps[name] = None
            count += 1
        elif name.endswith(".safetensors"):
            count += _compare_tensors(before / name, after / name, gaps)
        else:
            count += 1
            if (before / name).read_bytes() != (after / name).read_bytes():
                gaps[name] = None
    return _difference("weights", gaps, count)


def _compare_tensors(before: Path, after: Path, gaps: dict[str, float | None]) -> int:
    """Add the tensors that differ to `gaps`; return how many there are."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        first, second = (load_file(path) for path in (before, after))
    except (OSError, SafetensorError) as error:
        raise RunError(
            "weights that can be read", got=str(error), where=str(before.parent), fix="copy the run again"
        ) from error
    names = {*first, *second}
    for name in names:
        one, other = first.get(name), second.get(name)
        if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
            gaps[name] = None
        elif not one.equal(other):
            gap = float((one.double() - other.double()).abs().max())
            gaps[name] = gap if math.isfinite(gap) else None
    return len(names)


def _predictions(before: Path, after: Path) -> Difference:
    """Compare the tables of predictions column by column."""
    try:
        first, second = (pq.read_table(folder / "predictions.parquet") for folder in (before, after))
    except (OSError, ValueError) as error:
        raise RunError(
            "the predictions of both runs", got=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            where=str(before), fix="a run without predictions.parquet cannot be compared record by record",
        ) from error  # fmt: skip
    gaps: dict[str, float | None] = {}
    names = list(dict.fromkeys([*first.column_names, *second.column_names]))
    for name in names:
        if not all(name in table.column_names for table in (first, second)):
            gaps[name] = None
        elif not first[name].equals(second[name]):
            gaps[name] = _column_gap(first[name], second[name])
    gaps = {name: gap for name, gap in gaps.items() if gap != 0.0}  # undefined on both sides is the same
    return _difference("predictions", gaps, len(names))


def _column_gap(before: Any, after: Any) -> float | None:
    one, other = before.to_numpy(), after.to_numpy()
    if one.shape != other.shape or not all(np.issubdtype(column.dtype, np.floating) for column in (one, other)):
        return None
    if np.array_equal(one, other, equal_nan=True):
        return 0.0
    gap = float(np.max(np.abs(one - other)))
    return gap if math.isfinite(gap) else None


def _results(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "results.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise RunError(
            "readable results", got=str(error), where=str(folder / "results.json"), fix="is the run whole?"
        ) from error


def _history(results: Mapping[str, Any]) -> dict[str, Any]:
    return {f"epoch {index + 1}": row for index, row in enumerate(results.get("history", []))}


def _judged(results: Mapping[str, Any]) -> dict[str, Any]:
    test = results.get("test") or {}
    parts = ("loss", "scalars", "per_class", "confusion", "intervals")
    found = {name: test.get(name) for name in parts}
    folds = (results.get("cross_validation") or {}).get("folds", [])
    return {**found, **{f"fold{index}": fold.get("scores", {}) for index, fold in enumerate(folds)}}
