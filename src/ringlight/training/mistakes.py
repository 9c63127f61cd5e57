"""The worst mistakes of a model: the wrong decisions it was surest of, taken from every class in turn.

They teach more than a random pick: most are labels to correct, defects that nobody described, or a light gone bad.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ringlight.data.preprocess import read_image
from ringlight.training.rules import Ruling, truth_matrix
from ringlight.types import Dataset, Signals

LONGEST_SIDE = 960
"""Pixels of a picture in the report: enough to see a defect on a strip, and a page of a dozen stays some megabytes."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong decision: the row of the record, the class it was wrong about, and how sure it was, from 0 to 1."""

    row: int
    column: int
    sureness: float
    why: str


def worst_mistakes(decided: Ruling, count: int) -> list[Mistake]:
    """Return the `count` most confident mistakes, the classes taking turns, surest first within each class.

    Multi-class: a record given the wrong class; it belongs to the class it was given, and is as sure as that class's
    probability. Multi-label: a label that was given wrongly (sureness p) or withheld wrongly (1 - p); a record appears
    once, with its surest mistake.
    """
    truth = truth_matrix(decided.prediction)
    names, probabilities = decided.prediction.classes, decided.probabilities
    wrong = decided.decisions != truth
    if decided.prediction.task == "multiclass":
        wrong &= decided.decisions  # the class it was given is the mistake; the one it should have had follows
    sureness = np.where(decided.decisions, probabilities, 1 - probabilities)
    best: dict[int, Mistake] = {}
    for row, column in np.argwhere(wrong):
        sure = float(sureness[row, column])
        if int(row) not in best or sure > best[int(row)].sureness:
            given = bool(decided.decisions[row, column])
            told = f"{names[column]} {'given' if given else 'missed'} at {probabilities[row, column]:.2f}"
            best[int(row)] = Mistake(int(row), int(column), sure, told)
    by_class: dict[int, list[Mistake]] = defaultdict(list)
    for mistake in sorted(best.values(), key=lambda mistake: (-mistake.sureness, mistake.row)):
        by_class[mistake.column].append(mistake)
    chosen: list[Mistake] = []
    while len(chosen) < count and any(by_class.values()):
        turn = [queue.pop(0) for queue in by_class.values() if queue]
        chosen += sorted(turn, key=lambda mistake: -mistake.sureness)
    return chosen[:count]


def mistake_rows(mistakes: list[Mistake], decided: Ruling, data: Dataset) -> list[dict[str, Any]]:
    """Describe mistakes for the results: id, group, truth, decision, score, what was wrong, and the picture's name."""
    truth, names = truth_matrix(decided.prediction), decided.prediction.classes
    return [
        {
            "id": data[mistake.row].id,
            "group": data[mistake.row].group,
            "truth": [names[column] for column in np.flatnonzero(truth[mistake.row])],
            "predicted": [names[column] for column in np.flatnonzero(decided.decisions[mistake.row])],
            "score": mistake.sureness,
            "why": mistake.why,
            "picture": f"mistake-{number:02d}",
        }
        for number, mistake in enumerate(mistakes, 1)
    ]


def mistake_pictures(mistakes: list[Mistake], data: Dataset, *, in_chans: int) -> Mapping[str, bytes]:
    """Return the mistakes as PNG, by the names of :func:`mistake_rows`: images at most :data:`LONGEST_SIDE` long."""
    if data.signals is not None:
        return _window_pictures(mistakes, data, data.signals)
    from PIL import Image

    pictures = {}
    for number, mistake in enumerate(mistakes, 1):
        pixels = read_image(str(data[mistake.row].uri), in_chans=1 if in_chans == 1 else 3)
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        stream = io.BytesIO()
        image.save(stream, "PNG", optimize=True)
        pictures[f"mistake-{number:02d}"] = stream.getvalue()
    return pictures


def _window_pictures(mistakes: list[Mistake], data: Dataset, signals: Signals) -> Mapping[str, bytes]:
    """Return plots of the mistaken windows, a panel a channel."""
    from ringlight.data.window_store import WindowReader
    from ringlight.evaluation.plots_signals import signal_png

    windows = WindowReader.of(data).read([mistake.row for mistake in mistakes])
    return {
        f"mistake-{number:02d}": signal_png(window, signals.channels, signals.sampling_rate, title=mistake.why)
        for number, (mistake, window) in enumerate(zip(mistakes, windows, strict=True), 1)
    }
