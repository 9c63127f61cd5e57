"""Several models on the same records, compared with the best of them on the same resamples: `MultiModelTrainer`."""

# ruff: noqa: N803 - X is what scikit-learn, and the whole field, calls the records
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ringlight.errors import RunError, UserError, did_you_mean
from ringlight.evaluation.metric_names import LOWER_IS_BETTER
from ringlight.trainers.model_trainer import Evaluated, ModelTrainer, TrainingHistory
from ringlight.trainers.settings import metric_name
from ringlight.training.compare import Comparison, compare_results, load_results


class ModelComparison(dict[str, dict[str, Any]]):
    """Models by name, the best first, each with `value`, and against the best `difference`, `low`, `high`, `verdict`.

    `best` is the first name, `metric` what was compared, `table` the whole comparison: every score, class by class.
    """

    def __init__(self, rows: Mapping[str, dict[str, Any]], metric: str, table: Comparison) -> None:
        super().__init__(rows)
        self.metric = metric
        self.table = table

    @property
    def best(self) -> str:
        """The name of the best model."""
        return next(iter(self))

    def __str__(self) -> str:
        return str(self.table)


class MultiModelTrainer:
    """Trains models side by side, each an ordinary run, and compares them.

    Args:
        config: the seed's dictionary for every model that brings none of its own.
        workspace: where runs are kept.
        channels: what the columns of X are called.
        sampling_rate: of windows, in hertz.
    """

    def __init__(
        self, config: Mapping[str, Any] | None = None, *, workspace: Path | str | None = None,
        channels: list[str] | None = None, sampling_rate: float | None = None,
    ) -> None:  # fmt: skip
        self.trainers: dict[str, ModelTrainer] = {}
        self._config = config
        self._workspace = workspace
        self._channels = channels
        self._sampling_rate = sampling_rate
        self._evaluated: dict[str, Evaluated] = {}

    def add_model(self, name: str, model: Any, config: Mapping[str, Any] | None = None) -> None:
        """Add a model under a name of its own; see :class:`ModelTrainer`.

        Raises:
            UserError: the name is taken.
            ModelError: what is no model.
        """
        if name in self.trainers:
            raise UserError("a name of its own", got=f"`{name}` again", where="add_model", fix="call it otherwise")
        trainer = ModelTrainer(
            model, self._config if config is None else config, name, workspace=self._workspace,
            channels=self._channels, sampling_rate=self._sampling_rate,
        )  # fmt: skip
        trainer.compile()
        self.trainers[name] = trainer

    def train_all(
        self, X: npt.ArrayLike, y: npt.ArrayLike, X_val: npt.ArrayLike | None = None,
        y_val: npt.ArrayLike | None = None, *, epochs: int | None = None, batch_size: int | None = None,
        groups: npt.ArrayLike | None = None,
    ) -> dict[str, TrainingHistory]:  # fmt: skip
        """Train every model on the same records; the arguments are those of :meth:`ModelTrainer.train`.

        Raises:
            UserError: there is no model, or a model or the arrays cannot be used.
        """
        self._evaluated = {}
        return {
            name: trainer.train(X, y, X_val, y_val, epochs=epochs, batch_size=batch_size, groups=groups)
            for name, trainer in self._all("train_all").items()
        }

    def evaluate_all(
        self, X: npt.ArrayLike, y: npt.ArrayLike, *, groups: npt.ArrayLike | None = None
    ) -> dict[str, Evaluated]:
        """Judge every model on the same records; the arguments are those of :meth:`ModelTrainer.evaluate`.

        Raises:
            UserError: a model was not trained, or the arrays cannot be used.
        """
        self._evaluated = {
            name: trainer.evaluate(X, y, groups=groups) for name, trainer in self._all("evaluate_all").items()
        }
        return self._evaluated

    def compare_models(self, metric: str = "accuracy") -> ModelComparison:
        """Compare the models on what `evaluate_all` judged them on, before that on their validation part.

        The differences are paired: each is the model minus the best on the same records, with the interval of the
        bootstrap on them; None for a score that has no such interval.

        Raises:
            RunError: a model was not trained.
            UserError: an unknown metric.
        """
        trainers, name = self._all("compare_models"), metric_name(metric)
        folders = {key: self._folder(key, trainer) for key, trainer in trainers.items()}
        results = {key: load_results(folder)[0] for key, folder in folders.items()}
        values = {key: _value(one["test"], name) for key, one in results.items()}
        known = dict.fromkeys(known for one in results.values() for known in _names(one["test"]))
        if name not in known:
            raise UserError("a metric of the runs", got=f"`{metric}`", where="metric", fix=did_you_mean(name, known))
        sign = -1.0 if name in LOWER_IS_BETTER else 1.0
        order = sorted(values, key=lambda key: (values[key] is None, -sign * (values[key] or 0.0)))
        table = compare_results([results[key] for key in order])
        rows: dict[str, dict[str, Any]] = {
            order[0]: {"value": values[order[0]], "difference": 0.0, "low": None, "high": None, "verdict": "the best"}
        }
        for key, pair in zip(order[1:], table.pairs, strict=True):
            told = next((one for one in pair.differences if one.metric == name), None)
            here, best = values[key], values[order[0]]
            gap = None if here is None or best is None else here - best
            rows[key] = {
                "value": here, "difference": gap if told is None else told.value,
                "low": None if told is None else told.low, "high": None if told is None else told.high,
                "verdict": pair.verdict if told is None else told.verdict,
            }  # fmt: skip
        return ModelComparison(rows, name, table)

    def _folder(self, name: str, trainer: ModelTrainer) -> Path:
        if name in self._evaluated:
            return self._evaluated[name].folder
        if trainer.run is None:
            raise RunError("trained models", got=f"`{name}`, not trained", where="compare_models", fix="call train_all")
        return trainer.run.folder

    def _all(self, where: str) -> dict[str, ModelTrainer]:
        if not self.trainers:
            raise UserError("a model or more", got="none", where=where, fix="call add_model first")
        return self.trainers


def _names(test: Mapping[str, Any]) -> list[str]:
    rates = [f"{name}/{label}" for label, row in test["per_class"].items() for name in row]
    return [*test["scalars"], *(["loss"] if test.get("loss") is not None else []), *rates]


def _value(test: Mapping[str, Any], name: str) -> float | None:
    rate, _, label = name.partition("/")
    scores: Mapping[str, float | None] = (
        test["per_class"].get(label, {}) if label else {**test["scalars"], "loss": None}
    )
    return test.get("loss") if name == "loss" else scores.get(rate)
