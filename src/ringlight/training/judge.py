"""Scores and pictures of a trained model: the test part is touched here, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ringlight.data.preprocess import fit_size, read_image
from ringlight.errors import DataError
from ringlight.evaluation.metrics import Metrics, classification_metrics, flatten
from ringlight.evaluation.plots import confusion_figure, history_figure, sample_figure
from ringlight.evaluation.report import run_report
from ringlight.files import whole_file, write_json, write_text
from ringlight.types import History, Learner, Prediction, Tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from ringlight.training.plan import Plan

THRESHOLD = 0.5
"""A multi-label record is given each class with at least this probability."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Raw scores, metrics and loss of the judged part (`test`, or `val` where a source prescribes no test part)."""

    part: str
    prediction: Prediction
    metrics: Metrics
    loss: float

    def scores(self) -> dict[str, float]:
        """Return the loss and every defined metric by its flat name."""
        return {"loss": self.loss, **flatten(self.metrics)}


def judge(plan: Plan, learner: Learner) -> Verdict:
    """Score the test part; without one, the validation part, and the verdict says so.

    Raises:
        DataError: the split leaves neither.
    """
    for part in ("test", "val"):
        if len(plan.split.parts()[part]):
            prediction = learner.predict(plan.part(part))
            return Verdict(part, prediction, score(prediction), mean_loss(plan.criterion, prediction))
    raise DataError("a test or validation part", got="only training records", where="split", fix="use another strategy")


def mean_loss(criterion: nn.Module, prediction: Prediction) -> float:
    """Return the training's loss over a whole part at once, on the CPU."""
    import torch

    kind = torch.int64 if prediction.task == "multiclass" else torch.float32
    targets = torch.tensor(prediction.targets, dtype=kind)
    with torch.inference_mode():
        return float(criterion.to("cpu").eval()(torch.tensor(prediction.logits), targets))


def score(prediction: Prediction) -> Metrics:
    """Return the metrics of a prediction whose truth is known."""
    if prediction.targets is None:
        raise DataError("labelled records", got="none with a label", where="judge", fix="label them first")
    return classification_metrics(
        prediction.targets, prediction.probabilities, prediction.classes, prediction.task, threshold=THRESHOLD
    )


def write_predictions(path: Path, verdict: Verdict) -> None:
    """Write ids, truth, raw scores and probabilities, one row a record, as Parquet."""
    prediction = verdict.prediction
    truth = prediction.targets
    columns: dict[str, Any] = {"id": list(prediction.ids)}
    if truth is not None:
        rows = truth[:, None] if truth.ndim == 1 else None
        columns["truth"] = rows.tolist() if rows is not None else [np.flatnonzero(row).tolist() for row in truth]
    probabilities = prediction.probabilities
    for column, name in enumerate(prediction.classes):
        columns[f"logit/{name}"] = prediction.logits[:, column]
        columns[f"probability/{name}"] = probabilities[:, column]
    with whole_file(path) as part:
        pq.write_table(pa.table(columns).replace_schema_metadata({"part": verdict.part}), part)


def write_figures(plan: Plan, verdict: Verdict, history: History, folder: Path, tracker: Tracker) -> None:
    """Save confusion matrix, learning curves and sample predictions as PNG, and hand them to the tracker."""
    figures = {"history": history_figure(history, monitor=plan.monitor)}
    figures |= pictures(plan, verdict.prediction, verdict.part)
    for name, figure in figures.items():
        with whole_file(folder / f"{name}.png") as part:
            figure.savefig(part, format="png", dpi=120)
        tracker.log_figure(f"{verdict.part}/{name}", figure, len(history.rows))


def write_report(results: Mapping[str, Any], folder: Path) -> None:
    """Write `report.html` and `report.json` of a run from its results and the pictures in its folder."""
    pictures = {path.stem: path.read_bytes() for path in sorted((folder / "figures").glob("*.png"))}
    report = run_report(results, pictures)
    write_json(folder / "report.json", report.to_dict())
    write_text(folder / "report.html", report.to_html())


def pictures(plan: Plan, prediction: Prediction, part: str) -> dict[str, Figure]:
    """Return the confusion matrix and the worst predictions of a part, with their truth."""
    data = plan.part(part)
    rows = _most_wrong(prediction, plan.config.training.num_sample_predictions)
    figures = {"confusion": confusion_figure(score(prediction))}
    if len(rows):
        images = [fit_size(read_image(str(data[row].uri), in_chans=plan.spec.in_chans), plan.spec) for row in rows]
        figures["samples"] = sample_figure(images, [_caption(prediction, row) for row in rows])
    return figures


def _most_wrong(prediction: Prediction, count: int) -> list[int]:
    """Return the rows whose scores are farthest from the truth, worst first: they teach more than a random pick."""
    truth = np.asarray(prediction.targets)
    matrix = np.eye(len(prediction.classes))[truth] if truth.ndim == 1 else truth
    distance = np.abs(matrix - prediction.probabilities).max(axis=1)
    return [int(row) for row in np.argsort(-distance, kind="stable")[:count]]


def _caption(prediction: Prediction, row: int) -> str:
    probabilities = prediction.probabilities[row]
    truth = np.asarray(prediction.targets)[row]
    true = [int(truth)] if np.ndim(truth) == 0 else [int(column) for column in np.flatnonzero(truth)]
    names = ", ".join(prediction.classes[column] for column in true) or "none"
    top = int(probabilities.argmax())
    best = f"{prediction.classes[top]} {probabilities[top]:.2f}"
    if prediction.task == "multiclass":
        return f"truth: {names}\npredicted: {best}"
    chosen = np.flatnonzero(probabilities >= THRESHOLD)
    found = ", ".join(f"{prediction.classes[column]} {probabilities[column]:.2f}" for column in chosen)
    return f"truth: {names}\npredicted: {found or f'none (highest: {best})'}"
