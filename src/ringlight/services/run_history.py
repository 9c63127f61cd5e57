"""List the runs of a workspace from its store, and say in what their configurations differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.errors import UserError, did_you_mean
from ringlight.services.run_lookup import open_history
from ringlight.store.tables import RUN_STATES

if TYPE_CHECKING:
    from ringlight.store.session import UnitOfWork
    from ringlight.store.tables import RunRow

HEADLINES = ("macro_f1", "micro_f1", "balanced_accuracy", "accuracy", "subset_accuracy", "auroc", "ap")
"""The score that a run is told by: the first of these that it has, as in a comparison."""

KINDS = ("train", "crossval", "tune")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCard:
    """A run as a list shows it; `metric` and `score` are its headline, or what the list was sorted by."""

    name: str
    kind: str
    status: str
    recipe: str | None
    metric: str | None
    score: float | None
    started: datetime | None
    finished: datetime | None
    device: str | None
    seed: int | None
    error: str | None
    metrics: Mapping[str, float]

    @property
    def seconds(self) -> float | None:
        """From its beginning to its end, or to now."""
        if self.started is None:
            return None
        return max(0.0, ((self.finished or datetime.now(UTC)) - self.started).total_seconds())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        seconds = self.seconds
        return {
            **values, "started": iso(self.started), "finished": iso(self.finished), "metrics": dict(self.metrics),
            "seconds": None if seconds is None else round(seconds, 3),
        }  # fmt: skip


def list_runs(
    *,
    status: Sequence[str] = (),
    recipe: str | None = None,
    kind: str | None = None,
    metric: str | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    limit: int | None = None,
    workspace: Path | str | None = None,
) -> list[RunCard]:
    """List runs, the latest first, or with `metric` the best first.

    Args:
        status: one of these.
        recipe: trained from it.
        kind: train, crossval or tune.
        metric: a final score, such as `macro_f1` or `recall/leak`; runs without it are left out.
        at_least: the least value of `metric`.
        at_most: the greatest value of `metric`.
        limit: no more than this many, at least 1.
        workspace: where the runs are.

    Raises:
        UserError: a status, kind, recipe or metric that no run has or can have; limits without a metric.
    """
    _require_known(status, RUN_STATES, "status")
    _require_known([kind] if kind is not None else [], KINDS, "kind")
    if metric is None and not (at_least is None and at_most is None):
        raise UserError(
            "a metric with a limit", got="a limit alone", where="runs list", fix="name it: --metric macro_f1"
        )
    with open_history(workspace) as store, store.reading() as unit:
        rows = unit.runs.find(
            status=status, recipe=recipe, kind=kind, metric=metric, at_least=at_least, at_most=at_most, limit=limit
        )
        if not rows:
            _explain_nothing(unit, recipe, metric)
        return [card_of(row, metric) for row in rows]


def _require_known(given: Iterable[str], known: Sequence[str], where: str) -> None:
    for word in given:
        if word not in known:
            raise UserError(f"a known {where}", got=f"`{word}`", where=f"--{where}", fix=did_you_mean(word, known))


def _explain_nothing(unit: UnitOfWork, recipe: str | None, metric: str | None) -> None:
    """Refuse words that name nothing: an empty list would be taken for an answer."""
    if metric is not None:
        names = unit.runs.metric_names()
        if names and metric not in names:
            plain = {name for name in names if "/" not in name}
            fix = did_you_mean(metric, names if "/" in metric else plain or names)
            raise UserError("a score that a run has", got=f"`{metric}`", where="--metric", fix=fix)
    if recipe is not None:
        recipes = {row.recipe for row in unit.runs.find() if row.recipe is not None}
        if recipes and recipe not in recipes:
            raise UserError(
                "a recipe that a run came of", got=f"`{recipe}`", where="--recipe", fix=did_you_mean(recipe, recipes)
            )


def card_of(row: RunRow, metric: str | None = None) -> RunCard:
    """Return a run as a list shows it."""
    metrics = row.metrics or {}
    if metric is None:
        metric = next((name for name in HEADLINES if name in metrics), next(iter(metrics), None))
    return RunCard(
        name=row.name, kind=row.kind, status=row.status, recipe=row.recipe, metric=metric,
        score=None if metric is None else metrics.get(metric), started=row.started, finished=row.finished,
        device=row.device, seed=row.seed, error=row.error, metrics=metrics,
    )  # fmt: skip


def iso(moment: datetime | None) -> str | None:
    """Return a moment for JSON, in UTC to the second."""
    return None if moment is None else moment.isoformat(timespec="seconds")


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a configuration's values by their dotted keys.

    Examples:
        >>> flat({"loss": {"name": "focal_loss", "params": {"gamma": 2.0}}, "recipe": "demo"})
        {'loss.name': 'focal_loss', 'loss.params.gamma': 2.0, 'recipe': 'demo'}
    """
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return found


def differing(trees: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the keys in which configurations differ, with the value of each, None where it has none.

    Examples:
        >>> differing([{"optimizer": {"lr": 0.1}, "seed": 1}, {"optimizer": {"lr": 0.2}, "seed": 1}])
        {'optimizer.lr': [0.1, 0.2]}
    """
    columns = [flat(tree) for tree in trees]
    keys = dict.fromkeys(key for column in columns for key in column)
    values = {key: [column.get(key) for column in columns] for key in keys}
    return {key: row for key, row in values.items() if len({json.dumps(one, sort_keys=True) for one in row}) > 1}
