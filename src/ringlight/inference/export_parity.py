"""Is the exported model the trained model? Scores of both on the same real records, and what would be decided by them.

The reference is PyTorch, eager, in single precision (:class:`~ringlight.inference.engines.TorchEngine`), one view of
each record. Every batch goes through both; the first records go through the export once more by themselves, since a
graph may have kept the number of records it was traced with.

**Tolerance.** The largest difference of a (calibrated) probability. Two runtimes add the same products in another
order; over the families that Ringlight ships this moved probabilities by up to 2e-6 (a contract test), so 1e-4 in
single precision leaves room for deep models and none for a wrong layer. Half precision has 11 bits of mantissa: 1e-2.

Shapes: N records, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.evaluation.decided import decided
from ringlight.evaluation.metrics import classification_metrics
from ringlight.evaluation.paired import paired_differences
from ringlight.inference.decisions import Decider, Result
from ringlight.inference.engines import Engine, Scored
from ringlight.types import Prediction

METRIC = "macro_f1"
ALONE = 4
"""Records that go through an export a second time, by themselves."""
NUM_RECORDS = 200
"""Records that an export is checked on unless the user says otherwise: enough for a wrong layer, minutes at most."""
TOLERANCES = {"f32": 1e-4, "f16": 1e-2}
"""By precision: how far a probability may move."""

Inputs = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Labelled records to check an export on, which the model was not fitted to.

    `batches` yields their prepared inputs (B, C, H, W) or (B, C, T) in order, anew at each call; `targets` are class
    numbers (N,) or a binary matrix (N, K); `source` says where they come from.
    """

    ids: Sequence[str]
    targets: npt.NDArray[Any]
    batches: Callable[[], Iterator[Inputs]]
    source: str
    groups: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far an export is the model it was made of.

    `max_difference` and `mean_difference` are of calibrated probabilities, 0 to 1, `worst_record` is where the largest
    is; `feature_difference` is the largest of what reaches the classifier, as a share of the largest value there
    (None: no such output). `label_agreement` and `human_agreement` are the shares of the records on which both decide
    alike at `operating_point`, and send alike to a human. `metric` is `reference` for PyTorch and `exported` for the
    export; `interval` (low, high; 95 %) is that of their difference on the same resamples, None where both decide
    alike on every record.
    """

    source: str
    num_records: int
    batch_sizes: tuple[int, ...]
    tolerance: float
    max_difference: float
    mean_difference: float
    worst_record: str
    label_agreement: float
    human_agreement: float
    operating_point: str
    metric: str
    reference: float | None
    exported: float | None
    interval: tuple[float, float] | None
    feature_difference: float | None = None
    worst_input: Inputs | None = field(default=None, repr=False, compare=False)

    @property
    def is_within(self) -> bool:
        """Whether the export may be written."""
        return max(self.max_difference, self.feature_difference or 0.0) <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {key: value for key, value in asdict(self).items() if key != "worst_input"}
        interval = None if self.interval is None else list(self.interval)
        return {**values, "batch_sizes": list(self.batch_sizes), "interval": interval}


def lines_of(report: Mapping[str, Any]) -> list[str]:
    """Return a report, as :meth:`Parity.to_dict` gives it, in a few lines of text."""
    interval, scores = report["interval"], ""
    if report["reference"] is not None and report["exported"] is not None:
        scores = f" {report['reference']:.4f} -> {report['exported']:.4f}"
    told = ", both decide alike on every record" if report["label_agreement"] == 1 else ""
    if interval is not None:
        told = f", difference {interval[0]:+.4f} to {interval[1]:+.4f} (95 %)"
    sizes = " and ".join(map(str, report["batch_sizes"]))
    return [
        f"checked on {report['num_records']} records ({report['source']}), in batches of {sizes}",
        f"probabilities: at most {report['max_difference']:.2g} apart (`{report['worst_record']}`; tolerance "
        f"{report['tolerance']:g}), {report['mean_difference']:.2g} on average",
        f"labels at `{report['operating_point']}`: {report['label_agreement']:.2%} alike",
        f"{report['metric']}{scores}{told}",
    ]


def check_parity(
    reference: Engine, exported: Engine, decider: Decider, sample: Sample, *, tolerance: float, seed: int = 0
) -> Parity:
    """Score a sample with both engines and compare.

    Raises:
        DataError: no record, or inputs that do not fit.
        UserError: what the engines refuse.
    """
    found = _Compared()
    for inputs in sample.batches():
        start = found.num_records
        found.add(inputs, reference.run(inputs), exported.run(inputs), decider)
        for row in range(start, min(found.num_records, ALONE)):
            found.add_alone(row, inputs[row - start : row - start + 1], exported, decider)
    if not found.num_records or found.num_records != len(sample.ids):
        raise DataError(
            f"{len(sample.ids) or 'some'} records to check the export on", got=str(found.num_records),
            where=sample.source, fix="name labelled records with --data SOURCE",
        )  # fmt: skip
    return found.judged(sample, decider, tolerance, seed)


class _Compared:
    """What both engines said so far; of the inputs only the worst one is kept."""

    def __init__(self) -> None:
        self.scores: tuple[list[Scored], list[Scored]] = ([], [])
        self.batch_sizes: list[int] = []
        self.apart: list[npt.NDArray[np.float64]] = []
        self.alone: list[tuple[int, float]] = []
        self.feature_difference: float | None = None
        self.worst: tuple[float, int, Inputs | None] = (-1.0, 0, None)

    @property
    def num_records(self) -> int:
        """Records that were compared."""
        return sum(len(one) for one in self.apart)

    def add(self, inputs: Inputs, reference: Scored, exported: Scored, decider: Decider) -> None:
        """Compare a batch."""
        start = self.num_records
        for kept, scored in zip(self.scores, (reference, exported), strict=True):
            kept.append(scored)
        apart = _apart(reference[0], exported[0], decider)
        self.apart.append(apart)
        self.batch_sizes.append(len(inputs))
        if reference[1] is not None:
            self._add_features(reference[1], exported[1])
        row = int(apart.argmax())
        self._note(float(apart[row]), start + row, inputs[row : row + 1])

    def add_alone(self, row: int, one: Inputs, exported: Engine, decider: Decider) -> None:
        """Compare a record that went through the export by itself with what it was in its batch, in PyTorch."""
        logits = np.concatenate([scored[0] for scored in self.scores[0]])[row : row + 1]
        apart = float(_apart(logits, exported.run(one)[0], decider)[0])
        self.batch_sizes.append(1)
        self.alone.append((row, apart))
        self._note(apart, row, one)

    def _note(self, apart: float, row: int, one: Inputs) -> None:
        if apart > self.worst[0]:
            self.worst = (apart, row, np.array(one))

    def _add_features(self, reference: Inputs, exported: Inputs | None) -> None:
        if exported is None or exported.shape != reference.shape:
            self.feature_difference = np.inf
            return
        largest = max(float(np.abs(reference).max()), 1e-6)
        apart = float(np.nan_to_num(np.abs(exported - reference), nan=np.inf).max()) / largest
        self.feature_difference = max(self.feature_difference or 0.0, apart)

    def judged(self, sample: Sample, decider: Decider, tolerance: float, seed: int) -> Parity:
        """Return the verdict over all records."""
        apart = np.concatenate(self.apart)
        first, second = (_decided(scores, sample, decider) for scores in self.scores)
        metric = _metric(first, second, sample, seed)
        humans = [one.rejected if one.rejected is not None else np.zeros(len(apart), bool) for one in (first, second)]
        return Parity(
            source=sample.source, num_records=len(apart), batch_sizes=tuple(sorted(set(self.batch_sizes))),
            tolerance=tolerance, max_difference=self.worst[0], mean_difference=float(apart.mean()),
            worst_record=str(sample.ids[self.worst[1]]),
            label_agreement=float((first.decisions == second.decisions).all(axis=1).mean()),
            human_agreement=float((humans[0] == humans[1]).mean()), operating_point=first.operating_point,
            metric=METRIC, feature_difference=self.feature_difference, worst_input=self.worst[2], **metric,
        )  # fmt: skip


def _apart(reference: Inputs, exported: Inputs, decider: Decider) -> npt.NDArray[np.float64]:
    """Return the largest difference of a record's probabilities, (B,); 1 where the export gives no finite scores."""
    if exported.shape != reference.shape:
        raise DataError(
            f"scores {reference.shape}", got=f"{exported.shape}", where="the exported model", fix="export it again"
        )
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(exported).all(axis=1))
    first, second = (
        probabilities_of(np.where(finite[:, None], logits, np.float32(0)), decider) for logits in (reference, exported)
    )
    return np.where(finite, np.abs(first - second).max(axis=1), 1.0)


def probabilities_of(logits: Inputs, decider: Decider) -> npt.NDArray[np.float64]:
    """Return calibrated probabilities (B, K), decided on nothing."""
    bundle = decider.bundle
    ids = [str(row) for row in range(len(logits))]
    return Prediction(ids, decider.calibrator.apply(logits), bundle.classes, bundle.task).probabilities


def _decided(scores: list[Scored], sample: Sample, decider: Decider) -> Result:
    logits = np.nan_to_num(np.concatenate([one[0] for one in scores]))
    kept = [one[1] for one in scores if one[1] is not None]
    return decider.decide(list(sample.ids), logits, np.nan_to_num(np.concatenate(kept)) if kept else None)


def _metric(first: Result, second: Result, sample: Sample, seed: int) -> dict[str, Any]:
    """Return the metric of both, and the interval of its difference."""
    classes, task = first.prediction.classes, first.prediction.task
    pair = [
        decided(sample.targets, one.probabilities, classes, task, decisions=one.decisions, groups=sample.groups)
        for one in (first, second)
    ]
    values = [
        classification_metrics(sample.targets, one.probabilities, classes, task, decisions=one.decisions).scalars[
            METRIC
        ]
        for one in (first, second)
    ]
    interval = paired_differences(*pair, num_resamples=1000, seed=seed).get(METRIC, (0.0, None))[1]
    alike = bool((first.decisions == second.decisions).all())
    return {
        "reference": values[0], "exported": values[1],
        "interval": None if interval is None or alike else (float(interval.low), float(interval.high)),
    }  # fmt: skip
