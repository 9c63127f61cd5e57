"""What a watch looks at, and what it compares the line with: the same functions measure the reference and the line.

    score/CLASS    the calibrated probability of a class            value
    rate/CLASS     whether the class was decided                    rate
    confidence     how sure the decision was                        value
    rejected       whether the record went to a human               rate, where the model has such a limit
    unknown        whether it was taken for one of no known class   rate, where the model has an open-set rule
    ood/energy     the energy of its raw scores                     value
    ood/distance   from the nearest class mean, by embedding        value, where the open-set rule has it
    input/...      what its input looks like                        value; see :mod:`ringlight.data.input_statistics`
    confirmed/...  `escape`, `overkill`, `error`                    fault, of records whose truth became known later

Shapes: B records, K classes, Q quantities.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ringlight.data.input_statistics import input_statistics
from ringlight.errors import DataError
from ringlight.evaluation.drift_reference import Kind, Quantity
from ringlight.evaluation.energy import energy_score
from ringlight.inference.decisions import Result
from ringlight.types import Task

Column = npt.NDArray[np.float64]
Measured = dict[str, Column]
"""Values (B,) by the name of their quantity; NaN where a record has none."""

FEWEST = 50
"""Records below which a reference allows so much that nothing would be found."""
SHORTEST_BLOCK = 10
"""Records whose mean is one observation, at the least: parts that follow one another are often alike."""
SCORE_DECIMALS = 3
"""A probability of 1e-9 that becomes 1e-7 is nobody's drift."""
CONFIRMED = "confirmed/"
TAKE = "take one from good production: `ringlight watch MODEL IMAGES --take-reference FILE`"
"""What to do without a reference."""


def kind_of(name: str) -> Kind:
    """Return how a quantity is watched, by its name."""
    if name.startswith(CONFIRMED):
        return "fault"
    return "rate" if name.startswith("rate/") or name in ("rejected", "unknown") else "value"


def measure(
    result: Result, inputs: npt.NDArray[np.float32] | None = None, channels: Sequence[str] | None = None
) -> Measured:
    """Return what can be watched of B records: what was decided, and what their inputs looked like.

    Args:
        result: of the records.
        inputs: what the model was given, (B, C, H, W) or (B, C, T); None leaves the input statistics out.
        channels: what the channels of windows are called.

    Raises:
        DataError: inputs of another shape or number.
    """
    classes, logits = result.prediction.classes, result.prediction.logits
    finite = np.isfinite(logits).all(axis=1)
    energy = np.full(len(logits), np.nan)
    if finite.any():
        energy[finite] = energy_score(logits[finite])
    found: Measured = {"confidence": np.round(result.scores, SCORE_DECIMALS), "ood/energy": energy}
    if "distance" in result.strangeness:
        found["ood/distance"] = np.asarray(result.strangeness["distance"])
    for name, flags in (("rejected", result.rejected), ("unknown", result.unknown)):
        if flags is not None:
            found[name] = flags.astype(np.float64)
    for column, name in enumerate(classes):
        found[f"score/{name}"] = np.round(result.probabilities[:, column], SCORE_DECIMALS)
        found[f"rate/{name}"] = result.decisions[:, column].astype(np.float64)
    if inputs is None:
        return found
    if len(inputs) != len(logits):
        fix = "pass what these records were predicted from"
        raise DataError(f"inputs of {len(logits)} records", got=str(len(inputs)), where="watch", fix=fix)
    return found | {f"input/{name}": values for name, values in input_statistics(inputs, channels).items()}


def outcomes(
    decisions: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], strangers: npt.NDArray[np.bool_],
    rejected: npt.NDArray[np.bool_] | None, *, classes: Sequence[str], task: Task, good_class: str | None,
) -> Measured:  # fmt: skip
    """Return what became of B records whose truth is known: `escape`, `overkill` and `error`, 1 or 0.

    NaN where it could not happen (a good part cannot escape), and for records that went to a human: nobody relied on
    the model. Without a class of good parts a multi-class model has errors only.

    Args:
        decisions: what was decided, (B, K).
        truth: what is true, (B, K).
        strangers: whether a record is of a class the model does not know, (B,): a defect, and a wrong decision.
        rejected: which went to a human, (B,); None: none did.
        classes: the K class names.
        task: multi-class or multi-label.
        good_class: the class of good parts, if there is one.
    """
    relied = np.ones(len(decisions), bool) if rejected is None else ~rejected
    wrong = (decisions != truth).any(axis=1) | strangers
    found = {"error": np.where(relied, wrong, np.nan)}
    if good_class is not None or task == "multilabel":
        defects = [column for column, name in enumerate(classes) if name != good_class]
        called, is_bad = decisions[:, defects].any(axis=1), truth[:, defects].any(axis=1) | strangers
        found["escape"] = np.where(relied & is_bad, ~called, np.nan)
        found["overkill"] = np.where(relied & ~is_bad, called, np.nan)
    return {CONFIRMED + name: values.astype(np.float64) for name, values in found.items()}


@dataclass(frozen=True, slots=True)
class WatchReference:
    """The quantities of known records; `block` records that follow one another count as one observation."""

    quantities: tuple[Quantity, ...]
    block: int = SHORTEST_BLOCK

    @classmethod
    def of(cls, parts: Iterable[tuple[Measured, Sequence[Hashable] | None]]) -> Self | None:
        """Describe measured records; None where they are too few (:data:`FEWEST`) for any quantity.

        Args:
            parts: sets of quantities with the group of each record (N,); sets may be of different records.
        """
        quantities = []
        for measured, groups in parts:
            for name, values in measured.items():
                there = ~np.isnan(values)
                if np.count_nonzero(there) < FEWEST:
                    continue
                kept = None if groups is None else [groups[row] for row in np.flatnonzero(there).tolist()]
                quantities.append(Quantity.of(name, kind_of(name), values[there], groups=kept))
        if not quantities:
            return None
        alike = max(one.num_records / one.effective for one in quantities)
        return cls(tuple(quantities), max(SHORTEST_BLOCK, ceil(alike - 1e-9)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: the section `watch` of a bundle."""
        return {"block": self.block, "quantities": [one.to_dict() for one in self.quantities]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build from what :meth:`to_dict` returns.

        Raises:
            DataError: there is nothing, or it is no reference; `where` names it.
        """
        if not values:
            raise DataError("a reference to compare with", got="none in the model", where=where, fix=TAKE)
        try:
            quantities = tuple(Quantity.from_dict(one) for one in values["quantities"])
            block = int(values["block"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError("a reference as Ringlight writes it", got=str(error), where=where, fix=TAKE) from error
        names = [one.name for one in quantities]
        if block < 1 or not names or len(set(names)) != len(names):
            got = f"block {block}, quantities {', '.join(names) or 'none'}"
            raise DataError("a block of 1 or more, each quantity once", got=got, where=where, fix=TAKE)
        return cls(quantities, block)
