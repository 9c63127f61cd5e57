"""Calibration: scores become probabilities one can believe, fitted on the validation part and kept only if it helps.

Every method is z' = scale * z + offset on the logits, before soft-max (multi-class) or sigmoid (multi-label):

- `temperature`: one scale 1/T for all classes, no offset (Guo et al. 2017, "On calibration of modern neural networks",
  arXiv 1706.04599, equation 9); the best class stays the best
- `vector`: a scale and an offset per class (Guo et al. 2017, section 4.2), multi-class
- `platt`: a scale and an offset per label (Platt 1999, "Probabilistic outputs for support vector machines"),
  multi-label

The fit minimises the negative log-likelihood (convex in scale and offset), with scales from 0.01 to 100, so that T is
positive and no class's order is turned round. One thing is added to Guo et al.: the targets carry one record more whose
class could be any, spread evenly ((1 - e) one-hot + e/K, e = 1/(N + 1)), as Platt's own targets (N+ + 1)/(N+ + 2) and
1/(N- + 2) do per label. A model without a mistake on validation would otherwise be told to be infinitely sure.

**Held out.** Whether it helps is measured by cross-fitting: the records (with groups: whole groups) are dealt to five
folds, each fold is scored by a fit on the other four. When the likelihood so found does not improve, the calibration is
refused. What is kept is then fitted on all of validation.

Shapes: N records, K classes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError, did_you_mean
from ringlight.evaluation.likelihood import most_likely
from ringlight.evaluation.probabilities import calibration_error, log_loss
from ringlight.evaluation.units import find_units
from ringlight.types import Prediction, Task

Kind = Literal["none", "temperature", "vector", "platt"]
KINDS: tuple[str, ...] = ("auto", "none", "temperature", "vector", "platt")
"""What :func:`fit_calibration` can be asked for."""

AUTOMATIC: dict[Task, Kind] = {"multiclass": "temperature", "multilabel": "platt"}
"""What `auto` means."""

FloatArray = npt.NDArray[np.float64]

NUM_FOLDS = 5
MIN_RECORDS = 20
"""Fewer say nothing about a likelihood that was not fitted to them."""


@dataclass(frozen=True, slots=True)
class Calibrator:
    """z' = scale * z + offset; one scale or one per class, no offset or one per class."""

    kind: Kind = "none"
    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = ()

    def apply(self, logits: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return calibrated logits (N, K); of kind `none` the same numbers.

        Raises:
            DataError: it was fitted for another number of classes.

        Examples:
            >>> Calibrator("temperature", (0.5,)).apply([[4.0, -2.0]]).tolist()
            [[2.0, -1.0]]
        """
        values = np.asarray(logits)
        if self.kind == "none":
            return np.asarray(values, np.float32)
        sizes = {len(self.scale), len(self.offset)} - {0, 1}
        if values.ndim != 2 or sizes - {values.shape[1]}:
            raise DataError(
                f"logits (N, {max(sizes, default=1)})", got=str(values.shape), where="calibration",
                fix="apply a calibration to the model it was fitted for",
            )  # fmt: skip
        moved = values.astype(np.float64) * np.array(self.scale) + (np.array(self.offset) if self.offset else 0.0)
        return np.asarray(moved, np.float32)

    @property
    def temperature(self) -> float | None:
        """T of temperature scaling, None for another kind."""
        return 1.0 / self.scale[0] if self.kind == "temperature" else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"kind": self.kind, "scale": list(self.scale), "offset": list(self.offset)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from what :meth:`to_dict` returns.

        Raises:
            DataError: it is not that.
        """
        try:
            made = cls(values["kind"], tuple(map(float, values["scale"])), tuple(map(float, values["offset"])))
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(f"{type(error).__name__}: {error}") from error
        if made.kind not in KINDS[1:] or not made.scale or not np.isfinite([*made.scale, *made.offset]).all():
            raise _unreadable(str(dict(values)))
        if min(made.scale) <= 0:
            raise _unreadable(f"a scale of {min(made.scale):g}")
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was tried, whether it was kept, and why.

    `calibrator` is the identity unless `accepted`. `nll_before` and `nll_after` (mean negative log-likelihood),
    `ece_before` and `ece_after` (expected calibration error, 15 bins) are held out; None where nothing was measured.
    """

    kind: Kind
    calibrator: Calibrator
    accepted: bool
    reason: str
    num_records: int = 0
    nll_before: float | None = None
    nll_after: float | None = None
    ece_before: float | None = None
    ece_after: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {"calibrator": self.calibrator.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from what :meth:`to_dict` returns; keys beside those are left aside.

        Raises:
            DataError: it is not that.
        """
        try:
            known = {name: values[name] for name in cls.__dataclass_fields__}
        except (KeyError, TypeError) as error:
            raise _unreadable(f"{type(error).__name__}: {error}") from error
        return cls(**known | {"calibrator": Calibrator.from_dict(known["calibrator"])})


def _unreadable(got: str) -> DataError:
    return DataError("a calibration as Ringlight writes it", got=got, where="calibration", fix="fit it again")


def fit_calibration(
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    task: Task,
    *,
    kind: str = "auto",
    classes: Sequence[str] | None = None,
    seed: int = 0,
    groups: Sequence[Hashable] | npt.NDArray[Any] | None = None,
) -> Calibration:
    """Fit a calibration on validation scores; refused, with the reason, when it cannot be fitted or does not help.

    Args:
        logits: raw scores (N, K) of the validation part.
        targets: class numbers (N,) when multi-class, a binary matrix (N, K) when multi-label.
        task: of the data set.
        kind: `temperature`, `vector`, `platt`, `none`, or `auto`: temperature (multi-class), platt (multi-label).
        classes: the K class names, for the reason; numbers by default.
        seed: of the folds.
        groups: what each record belongs to, (N,); a group is never on both sides of a fold.

    Raises:
        DataError: an unknown kind, or logits and targets that cannot be.
    """
    if kind not in KINDS:
        fix = did_you_mean(kind, KINDS)
        raise DataError("a kind of calibration", got=f"`{kind}`", where="evaluation.calibration", fix=fix)
    wanted: Any = AUTOMATIC[task] if kind == "auto" else kind
    scores, truth = _checked(logits, targets, task)
    units = find_units(groups, len(scores))
    names = tuple(classes) if classes is not None else tuple(f"class {k}" for k in range(scores.shape[1]))
    reason = _refusal(wanted, task, truth, names) or _too_few(len(scores), units.num_units, units.kind)
    if reason:
        return Calibration(kind=wanted, calibrator=Calibrator(), accepted=False, reason=reason, num_records=len(scores))
    held_out = np.empty(scores.shape, np.float32)
    folds = _folds(truth, units.codes, seed)
    for fold in range(NUM_FOLDS):
        inside = folds == fold
        held_out[inside] = _fitted(scores[~inside], truth[~inside], task, wanted).apply(scores[inside])
    nll, ece = zip(*(_measured(part, truth, task) for part in (scores, held_out)), strict=True)
    accepted = bool(nll[1] < nll[0])
    change = f"held-out negative log-likelihood {nll[0]:.4f} before, {nll[1]:.4f} after"
    return Calibration(
        kind=wanted,
        calibrator=_fitted(scores, truth, task, wanted) if accepted else Calibrator(),
        accepted=accepted,
        reason=change if accepted else f"it does not improve: {change}",
        num_records=len(scores),
        nll_before=nll[0], nll_after=nll[1], ece_before=ece[0], ece_after=ece[1],
    )  # fmt: skip


def _checked(logits: npt.ArrayLike, targets: npt.ArrayLike, task: Task) -> tuple[FloatArray, FloatArray]:
    """Return logits and the truth as a binary matrix, both (N, K)."""
    scores, truth = np.asarray(logits, np.float64), np.asarray(targets)
    if scores.ndim != 2 or not np.isfinite(scores).all():
        got = str(scores.shape) if scores.ndim != 2 else "numbers that are not finite"
        raise DataError("finite logits (N, K)", got=got, where="calibration", fix="check the model for NaN")
    shape = scores.shape[:1] if task == "multiclass" else scores.shape
    top = scores.shape[1] - 1 if task == "multiclass" else 1
    if truth.shape != shape or (truth.size and not np.isin(truth, np.arange(top + 1)).all()):
        raise DataError(
            f"targets of shape {shape} with whole numbers from 0 to {top}", got=f"shape {truth.shape}",
            where="calibration", fix="pass class numbers (N,) when multi-class, a binary matrix when multi-label",
        )  # fmt: skip
    return scores, np.eye(scores.shape[1])[truth.astype(int)] if task == "multiclass" else truth.astype(np.float64)


def _refusal(kind: str, task: Task, truth: FloatArray, names: tuple[str, ...]) -> str:
    if kind == "none":
        return "not asked for"
    if not len(truth):
        return "the validation part is empty"
    if (kind, task) in (("platt", "multiclass"), ("vector", "multilabel")):
        other, words = ("vector", "multi-class") if task == "multiclass" else ("platt", "multi-label")
        return f"{kind} is not made for {words} data; choose {other} or temperature"
    if kind == "temperature":
        return ""
    counts = truth.sum(axis=0)
    for name, count in zip(names, counts.tolist(), strict=True):
        if count == 0 or (kind == "platt" and count == len(truth)):
            found = "has no example" if count == 0 else "is in every record"
            return f"{kind} needs every class, and {name} {found} in validation; temperature does not need it"
    return ""


def _too_few(num_records: int, num_units: int, unit: str) -> str:
    if num_records < MIN_RECORDS:
        return f"validation has {num_records} records; {MIN_RECORDS} are the least that can be judged held out"
    if num_units < NUM_FOLDS:
        return f"validation has {num_units} {unit}s; {NUM_FOLDS} are needed, one for each fold"
    return ""


def _folds(truth: FloatArray, codes: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Deal units to folds as cards, those with the rarest class first, so that each fold gets its share of it."""
    rarity = np.where(truth > 0, 1.0 / np.maximum(truth.sum(axis=0), 1.0), 0.0)
    num_units = int(codes.max()) + 1
    rarest = np.zeros(num_units)
    np.maximum.at(rarest, codes, rarity.max(axis=1))
    shuffled = np.random.default_rng(seed).permutation(num_units)
    dealt = np.empty(num_units, np.int64)
    dealt[shuffled[np.argsort(-rarest[shuffled], kind="stable")]] = np.arange(num_units) % NUM_FOLDS
    return dealt[codes]


def _measured(logits: npt.NDArray[Any], truth: FloatArray, task: Task) -> tuple[float, float]:
    names = tuple(str(k) for k in range(logits.shape[1]))
    probabilities = Prediction([], logits, names, task).probabilities
    targets = truth.argmax(axis=1) if task == "multiclass" else truth.astype(np.int64)
    return log_loss(targets, probabilities), calibration_error(targets, probabilities)


def _fitted(logits: FloatArray, truth: FloatArray, task: Task, kind: Kind) -> Calibrator:
    shared = kind == "temperature"
    scale, offset = most_likely(logits, _smoothed(truth, task, kind), task, shared=shared)
    if kind == "vector":
        offset = offset - offset.mean()  # soft-max does not feel a common shift
    return Calibrator(kind, tuple(scale.tolist()), tuple(offset.tolist()))


def _smoothed(truth: FloatArray, task: Task, kind: Kind) -> FloatArray:
    """Return the targets of the fit, (N, K): never 0 or 1."""
    if kind == "platt":
        positives = truth.sum(axis=0)
        negatives = len(truth) - positives
        return np.asarray(np.where(truth > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2)))
    share = 1.0 / (len(truth) + 1)
    even = 1.0 / truth.shape[1] if task == "multiclass" else 0.5
    return np.asarray((1 - share) * truth + share * even)
