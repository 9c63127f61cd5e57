"""The embedding of a trained model, judged: retrieval scores, a picture of the plane, sheets of nearest neighbours.

The judged part asks the training part, as a new part on the line would; within the judged part
records ask each other, as the metric-learning literature does. Records of one group never see each other.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ringlight.evaluation.nearest import gallery_of, knn_accuracy, nearest
from ringlight.evaluation.plots_embedding import embedding_figure
from ringlight.evaluation.projection import MOST_POINTS, choose_points, project
from ringlight.evaluation.retrieval import retrieval_metrics
from ringlight.files import whole_file
from ringlight.runtime import LOGGER
from ringlight.training.embedding import Embeddings, Embeds, embeddings_of
from ringlight.training.neighbors import NUM_NEIGHBORS, choose_queries, neighbor_rows, neighbors_sheet
from ringlight.training.pages import FIGURES
from ringlight.types import Dataset, Tracker

if TYPE_CHECKING:
    from ringlight.training.judge import Verdict
    from ringlight.training.plan import Plan

VOTERS, TEMPERATURE = 20, 0.07
"""Neighbours that vote, and how sharply: fewer than the 200 of Wu et al., whose training set had 1.3 million images."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What is known of an embedding: the section `retrieval` of the results, and pictures as PNG by name."""

    section: dict[str, Any]
    pictures: dict[str, bytes]


def retrieval_of(plan: Plan, learner: Embeds, verdict: Verdict) -> Embedded:
    """Judge the embedding of a trained model on the part that was judged, with the training part as its gallery."""
    started = time.perf_counter()
    data, train = verdict.data, plan.part("train")
    mine, known = embeddings_of(learner, data), embeddings_of(learner, train)
    settings, seed = plan.config.evaluation, plan.config.experiment.seed
    truth, labels = data.targets(), train.targets()
    groups = (None, None) if data.groups is None and train.groups is None else (_groups(data), _groups(train))
    drawn: dict[str, Any] = {
        "classes": data.classes, "num_resamples": settings.num_resamples, "confidence": settings.confidence,
        "seed": seed,
    }  # fmt: skip
    against = retrieval_metrics(mine, truth, known, labels, groups=groups[0], gallery_groups=groups[1], **drawn)
    within = retrieval_metrics(mine, truth, groups=groups[0], **drawn)
    found = nearest(gallery_of(mine, known, groups=groups[0], gallery_groups=groups[1]), NUM_NEIGHBORS)
    right = labels[found.rows] == truth[:, None]
    queries = choose_queries(right, found, groups=data.groups, seed=seed)
    plane, picture = _plane(mine, known, verdict, train, seed)
    section = {
        "part": verdict.part,
        "gallery": "train",
        "num_features": mine.shape[1],
        **against.to_dict(),
        "within": within.to_dict(),
        "knn": {
            "k": VOTERS, "temperature": TEMPERATURE,
            "accuracy": knn_accuracy(known, labels, mine, truth, k=VOTERS, temperature=TEMPERATURE),
        },
        "projection": plane,
        "neighbors": neighbor_rows(queries, data, train, found, right),
    }  # fmt: skip
    pictures = {"embedding": picture}
    if len(queries):
        pictures["neighbors"] = neighbors_sheet(
            queries, data, train, found, right, in_chans=plan.spec.in_chans
        )  # fmt: skip
    LOGGER.info("embedding judged in %.1f s", time.perf_counter() - started)
    return Embedded(section, pictures)


def write_embedding(
    plan: Plan, learner: Embeds, verdict: Verdict, folder: Path, tracker: Tracker, step: int
) -> dict[str, Any]:
    """Judge the embedding where that was asked for, and write its figures; return what results hold of it."""
    if not plan.config.evaluation.embedding:
        return {}
    judged = retrieval_of(plan, learner, verdict)
    for name, picture in judged.pictures.items():
        with whole_file(folder / FIGURES / f"{name}.png") as part:
            part.write_bytes(picture)
        tracker.log_figure(f"{verdict.part}/{name}", picture, step)
    return {"retrieval": judged.section}


def _groups(data: Dataset) -> list[str]:
    """Return the group of every record; its own where the part has none."""
    return data.groups or [f"record:{key}" for key in data.ids]


def _plane(
    mine: Embeddings, known: Embeddings, verdict: Verdict, train: Dataset, seed: int
) -> tuple[dict[str, Any], bytes]:
    """Lay out the judged and the training part together; the judged part has half of the points, or more."""
    data = verdict.data
    rows = choose_points(data.targets(), MOST_POINTS // 2, seed=seed)
    others = choose_points(train.targets(), MOST_POINTS - len(rows), seed=seed)
    laid = project(np.concatenate([mine[rows], known[others]]), seed=seed)
    labels = np.concatenate([data.targets()[rows], train.targets()[others]])
    faint = np.repeat([False, True], [len(rows), len(others)])
    wrong = np.concatenate([~verdict.assessment.decided.right[rows], np.zeros(len(others), bool)])
    figure = embedding_figure(laid.points, labels, data.classes, method=laid.method, faint=faint, wrong=wrong)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    card = {
        "method": laid.method, "explained": laid.explained, "num_judged": len(rows), "num_train": len(others),
    }  # fmt: skip
    return card, drawn.getvalue()
