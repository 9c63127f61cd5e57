"""From results of batches to the answer of one request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ringlight.web.serving.metrics import Metrics

if TYPE_CHECKING:
    from ringlight.inference.decisions import Result
    from ringlight.services.serving import Served


def decisions_of(outcomes: Sequence[tuple[Result, int]], ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return a plain decision for each outcome, in the order of the request.

    Args:
        outcomes: for each the result of its batch, and its row there.
        ids: what each is called.
    """
    verdicts = {id(result): result.verdicts for result, _ in outcomes}
    found = []
    for (result, row), name in zip(outcomes, ids, strict=True):
        to_human = result.rejected is not None and bool(result.rejected[row])
        chances = zip(result.prediction.classes, result.probabilities[row].tolist(), strict=True)
        found.append(
            {
                "id": name, "verdict": verdicts[id(result)][row], "labels": result.labels[row],
                "score": float(result.scores[row]), "probabilities": dict(chances), "to_human": to_human,
                "unknown": None if result.unknown is None else bool(result.unknown[row]),
            }
        )  # fmt: skip
    return found


def answer_of(
    served: Served, outcomes: Sequence[tuple[Result, int]], ids: Sequence[str], request_id: str
) -> dict[str, Any]:
    """Return the whole answer of a request."""
    return {
        "model": served.name, "version": served.version, "checksum": served.checksum, "engine": served.engine,
        "operating_point": outcomes[0][0].operating_point, "request_id": request_id,
        "results": decisions_of(outcomes, ids),
    }  # fmt: skip


def count(metrics: Metrics, model: str, decisions: Sequence[dict[str, Any]]) -> None:
    """Tell the metrics what was decided."""
    for decision in decisions:
        metrics.decisions.labels(model, decision["verdict"] or "none").inc()
        for label in decision["labels"]:
            metrics.labels.labels(model, label).inc()
        if decision["unknown"]:
            metrics.unknown.labels(model).inc()
