"""What a verdict leaves for people: figures, pictures of the mistakes, the report and its tables."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ringlight.data.duplicates import duplicate_sheet
from ringlight.data.preprocess import InputSpec, fit_size, read_image
from ringlight.errors import DataError
from ringlight.evaluation.metrics import classification_metrics
from ringlight.evaluation.plots import confusion_figure, sample_figure
from ringlight.evaluation.plots_results import result_figures
from ringlight.evaluation.report import run_report
from ringlight.files import whole_file, write_json, write_text
from ringlight.training.rules import truth_of
from ringlight.training.splitting import duplicate_search
from ringlight.types import Dataset, Prediction, Tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ringlight.training.plan import Plan

THRESHOLD = 0.5
"""While a model is being trained, a multi-label record is given each class with at least this probability."""

FIGURES = "figures"
MISTAKES = "mistakes"


def write_pages(
    results: Mapping[str, Any], mistakes: Mapping[str, bytes], folder: Path, tracker: Tracker | None = None
) -> None:
    """Write the figures, the pictures of the mistakes, and the report as page, JSON, Markdown and tables.

    Args:
        results: what `results.json` holds; nothing else is needed to draw them.
        mistakes: PNG bytes by name.
        folder: of the run or of the evaluation.
        tracker: receives the figures as well.
    """
    step = len(results["history"])
    for name, figure in result_figures(results).items():
        drawn = io.BytesIO()  # drawn once for the file, the report and the tracker: drawing takes the most time here
        figure.savefig(drawn, format="png", dpi=120)
        with whole_file(folder / FIGURES / f"{name}.png") as part:
            part.write_bytes(drawn.getvalue())
        if tracker is not None:
            tracker.log_figure(f"{results['judged_part']}/{name}", drawn.getvalue(), step)
    for name, data in mistakes.items():
        with whole_file(folder / MISTAKES / f"{name}.png") as part:
            part.write_bytes(data)
    write_report(results, folder)


def write_report(results: Mapping[str, Any], folder: Path) -> None:
    """Write the report of a run from its results and the pictures in its folder."""
    pictures = {
        path.stem: path.read_bytes() for kind in (FIGURES, MISTAKES) for path in sorted((folder / kind).glob("*.png"))
    }
    report = run_report(results, pictures)
    write_json(folder / "report.json", report.to_dict())
    write_text(folder / "report.html", report.to_html())
    write_text(folder / "report.md", report.to_markdown())
    for name, text in report.csv_files().items():
        write_text(folder / name, text)


def write_sheet(plan: Plan, folder: Path) -> None:
    """Draw the near-duplicates that the split kept together into the figures; nothing where none were looked for.

    The search was made for the split and is remembered, or quick.
    """
    if plan.config.split.groups != "duplicates" or plan.given.signals is not None:
        return
    found = duplicate_search(plan.config, plan.cache)(plan.given)
    if found.links:
        duplicate_sheet(plan.given, found, folder / FIGURES / "duplicates.png")


def epoch_pictures(plan: Plan, validation: Prediction) -> dict[str, Figure]:
    """Return the confusion matrix and the worst predictions of the validation part, while the training goes on."""
    data = plan.part("val")
    rows = _most_wrong(validation, plan.config.training.num_sample_predictions)
    metrics = classification_metrics(
        truth_of(validation), validation.probabilities, validation.classes, validation.task, threshold=THRESHOLD
    )
    figures = {"confusion": confusion_figure(metrics)}
    if len(rows) and data.signals is not None:
        figures["samples"] = _worst_window(data, rows[0], _caption(validation, rows[0]))
    elif len(rows) and isinstance(plan.spec, InputSpec):
        images = [fit_size(read_image(str(data[row].uri), in_chans=plan.spec.in_chans), plan.spec) for row in rows]
        figures["samples"] = sample_figure(images, [_caption(validation, row) for row in rows])
    return figures


def _worst_window(data: Dataset, row: int, caption: str) -> Figure:
    from ringlight.data.window_store import WindowReader
    from ringlight.evaluation.plots_signals import signal_figure

    signals = data.signals
    if signals is None:
        raise DataError("windows", got="images", where=data.name, fix="draw them with sample_figure")
    (window,) = WindowReader.of(data).read([row])
    return signal_figure(window, signals.channels, signals.sampling_rate, title=caption)


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
