"""One model, trained and judged as an ordinary run: the seed's `ModelTrainer`.

Shapes: N records, T samples, C channels, D features, K classes.
"""

# ruff: noqa: N803 - X is what scikit-learn, and the whole field, calls the records
from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from ringlight.config.seed_layout import SeedSettings
from ringlight.data.window_spec import WindowSpec
from ringlight.data.window_store import WindowReader
from ringlight.errors import DataError, RunError
from ringlight.files import unwritable
from ringlight.inference.bundle import INDEX
from ringlight.inference.predictor import Predictor
from ringlight.models.adapters import CUSTOM, PROBED, Adapted, adapt, tried
from ringlight.models.scikit_adapters import check_estimator
from ringlight.runtime import LOGGER, workspace_folder
from ringlight.services.array_runs import train_arrays
from ringlight.services.evaluations import Evaluation, evaluate_records
from ringlight.services.runs import Run
from ringlight.trainers.arrays import Naming, parts_of, records, windows_of
from ringlight.trainers.builders import model_of, part_of
from ringlight.trainers.losses import LossFunction, weights_of
from ringlight.trainers.rates import OptimizerFactory
from ringlight.trainers.settings import config_of, settings_of, with_model
from ringlight.types import Dataset, RunControl

Floats = npt.NDArray[np.float64]


class TrainingHistory(Mapping[str, list[float]]):
    """What each epoch told: `history["val_loss"]`, or as Keras has it `history.history["val_loss"]`.

    `loss` is the training's, `val_NAME` every metric of the validation part; an estimator has one row. `rows` are the
    run's own rows, `run` is where everything else lies.
    """

    def __init__(self, rows: Sequence[Mapping[str, float]], run: Run) -> None:
        self.rows = [dict(row) for row in rows]
        self.run = run
        names = dict.fromkeys(name for row in self.rows for name in row if name != "epoch")
        self.history: dict[str, list[float]] = {
            _keras_name(name): [row[name] for row in self.rows if name in row] for name in names
        }
        self.epoch = [int(row["epoch"]) for row in self.rows]

    def __getitem__(self, name: str) -> list[float]:
        return self.history[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.history)

    def __len__(self) -> int:
        return len(self.history)


class Evaluated(dict[str, float]):
    """Scores by name (`accuracy`, `macro_f1`, `recall/CLASS`, `loss`, ...).

    `intervals` holds (low, high) of each score that has one, `folder` the results, predictions and report.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        test = evaluation.results["test"]
        super().__init__(_flat(test))
        self.results = evaluation.results
        self.folder = evaluation.folder
        told = test.get("intervals") or {}
        found = dict(told.get("scalars") or {})
        for label, row in (told.get("per_class") or {}).items():
            found |= {f"{name}/{label}": bounds for name, bounds in row.items()}
        self.intervals: dict[str, tuple[float, float]] = {name: (low, high) for name, (low, high) in found.items()}


class ModelTrainer:
    """Trains a network or an estimator on arrays; each training is a run in the workspace.

    Args:
        model: a network that takes (B, C, T), or (B, D) for vectors, and gives raw scores or probabilities (B, K); a
            Keras 3 model on its PyTorch backend, which takes (B, T, C); an estimator of scikit-learn, which is given
            the features of windows, standardised, and vectors as they are; or what a builder built. A network holds
            the best weights afterwards; an estimator is cloned and stays as it is.
        config: the seed's dictionary (:mod:`ringlight.config.seed_layout`).
        experiment_name: what the run is called.
        workspace: where runs are kept; `./workspace` unless given here or in `RINGLIGHT_WORKSPACE`.
        channels: what the columns of X are called.
        sampling_rate: of windows, in hertz.

    Raises:
        ModelError: what is no model, or an estimator that gives classes alone.
        Problems: keys of the dictionary that are not known, a line each.
    """

    def __init__(
        self, model: Any, config: Mapping[str, Any] | None = None, experiment_name: str = "model", *,
        workspace: Path | str | None = None, channels: Sequence[str] | None = None, sampling_rate: float | None = None,
    ) -> None:  # fmt: skip
        self.model = model_of(model)
        if not isinstance(self.model, nn.Module):
            check_estimator(self.model)
        self.experiment_name = experiment_name
        self.history: TrainingHistory | None = None
        self.run: Run | None = None
        self._config = config
        self._changes: dict[str, Any] = {}
        self._workspace = workspace
        self._naming = Naming(channels=channels, sampling_rate=sampling_rate)
        self._criterion: nn.Module | None = None
        settings_of(config)

    def compile(
        self, optimizer: OptimizerFactory | str | None = None, loss: LossFunction | str | None = None,
        metrics: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        """Check the configuration; what is given here stands in the place of its keys. `train` needs no call of it.

        Raises:
            Problems: names, parameters or values that cannot be used, a line each.
        """
        self._changes = {"optimizer": optimizer, "loss": loss, "metrics": metrics}
        config_of(settings_of(self._config, **self._changes), name=self.experiment_name)

    def train(
        self, X: npt.ArrayLike, y: npt.ArrayLike, X_val: npt.ArrayLike | None = None,
        y_val: npt.ArrayLike | None = None, *, epochs: int | None = None, batch_size: int | None = None,
        groups: npt.ArrayLike | None = None, control: RunControl | None = None,
    ) -> TrainingHistory:  # fmt: skip
        """Train on X and judge on X_val: one run, with its report and its saved model.

        A network goes on from the weights it has. Without `X_val`, `training.validation_split` of X is held out, for a
        run is judged, calibrated and stopped by records it did not learn from; a note of the run says how many.

        Args:
            X: windows (N, T, C) or vectors (N, D), in physical units: a network's are normalised by the training
                records (`data.normalize`).
            y: classes (N,) as whole numbers, text or booleans, or one-hot rows (N, K).
            X_val: as X.
            y_val: as y.
            epochs: instead of the configured ones.
            batch_size: instead of the configured one.
            groups: (N,) what belongs together in X, for what is held out of it.
            control: may stop it.

        Raises:
            UserError: the configuration, the arrays or the model cannot be used; no run was begun.
            InterruptedRunError: it was stopped.
        """
        settings = settings_of(self._config, **self._changes, epochs=epochs, batch_size=batch_size)
        config_of(settings, name=self.experiment_name)  # refused before the arrays are written
        folder = workspace_folder(self._workspace) / "cache"
        dataset, split = parts_of(
            X, y, X_val, y_val, groups=groups, naming=self._naming, share=settings.values["cv.val_share"],
            seed=settings.values["experiment.seed"], folder=folder, name=self.experiment_name,
        )  # fmt: skip
        vectors = np.ndim(X) == 2
        made = self._adapted(dataset.take(split.train), settings, vectors=vectors)
        config = with_model(
            config_of(settings, name=self.experiment_name, classes=dataset.classes),
            _model_section(made),
            vectors=vectors,
        )
        for note in (*settings.notes, *made.notes):
            LOGGER.info("note: %s", note)
        self.run, plan = train_arrays(
            config, dataset, split, make_module=lambda: made.module, workspace=self._workspace, control=control
        )
        self._criterion = plan.criterion
        self.history = TrainingHistory(self.run.results["history"], self.run)
        return self.history

    def evaluate(self, X: npt.ArrayLike, y: npt.ArrayLike, *, groups: npt.ArrayLike | None = None) -> Evaluated:
        """Judge the trained model on other records; results and report lie in the run's `evaluations/`.

        Args:
            X: as in training, of the same length and channels.
            y: their classes; each was in training.
            groups: (N,) what belongs together, for intervals that know of it.

        Raises:
            DataError: arrays the model cannot be judged on.
            RunError: it was not trained.
        """
        run = self._trained("evaluate")
        folder = workspace_folder(self._workspace) / "cache"
        self._fitting(X, "evaluate")
        data = records(X, y, naming=self._naming, groups=groups, folder=folder, name="arrays")
        return Evaluated(
            evaluate_records(
                run.folder, data, module=self._passed(), criterion=self._criterion, workspace=self._workspace
            )
        )

    def predict(self, X: npt.ArrayLike, *, channels: Sequence[str] | None = None) -> Floats:
        """Return probabilities (N, K), calibrated as was fixed on validation; the order of `classes`.

        Args:
            X: as in training, of the same length and channels.
            channels: their names, where they are known: another order than in training is refused.

        Raises:
            DataError: windows of another shape, with other channels or with values that are not finite.
            RunError: it was not trained.
        """
        self._trained("predict")
        return self.predictor.predict(windows_of(X), channels=channels).probabilities

    @property
    def predictor(self) -> Predictor:
        """The saved model as it serves: labels, operating points and decisions beside probabilities."""
        return Predictor.from_path(self._trained("predictor").bundle, module=self._passed())

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the columns of `predict`."""
        return tuple(self._trained("classes").results["dataset"]["classes"])

    def save_model(self, path: Path | str | None = None) -> Path:
        """Return the saved model's folder, copied to `path` where that is given; `ringlight.load` takes it.

        A network of one's own is passed along: `ringlight.load(path, module=MyNet())`.

        Raises:
            WorkspaceError: it cannot be written.
            RunError: it was not trained, or there is something else at `path`.
        """
        bundle = self._trained("save_model").bundle
        if path is None:
            return bundle
        target = Path(path)
        if target.exists() and not (target / INDEX).is_file() and (not target.is_dir() or any(target.iterdir())):
            raise RunError(
                "a new folder, or a saved model to replace", got="something else", where=str(path), fix="name another"
            )
        try:
            shutil.copytree(bundle, target, dirs_exist_ok=True)
        except OSError as error:
            raise unwritable(target, error) from error
        return target

    def _adapted(self, train: Dataset, settings: SeedSettings, *, vectors: bool) -> Adapted:
        """Put the model behind the interface of windows, and try it on some of its records."""
        few = train.take(np.arange(min(PROBED, len(train))))
        probe = WindowSpec.fit(few, normalize="channel").apply(WindowReader.of(few).read(np.arange(len(few))))
        num_classes, seed = len(train.classes), int(settings.values["experiment.seed"])
        part = part_of(self.model)
        if part is not None:
            if vectors:
                raise DataError(
                    "windows (N, T, C)", got=f"vectors for {part.name}", where="X", fix="pass windows, or another model"
                )
            if not getattr(self.model, "is_ensemble", False):
                tried(self.model, probe, num_classes)
            params = {"name": part.name, "drop_rate": part.drop_rate, **part.params}
            return Adapted(self.model, params)
        weights = settings.class_weights
        by_class = dict(enumerate(weights_of(weights, num_classes, train.classes))) if weights else None
        return adapt(
            self.model, probe, num_classes=num_classes, vectors=vectors, task=train.task, seed=seed,
            class_weight=None if isinstance(self.model, nn.Module) else by_class,
        )  # fmt: skip

    def _fitting(self, X: npt.ArrayLike, where: str) -> None:
        """Refuse records of another shape before they are written anywhere."""
        spec = self.predictor.bundle.input_spec
        shape = windows_of(X).shape
        if isinstance(spec, WindowSpec) and len(shape) == 3 and shape[1:] != (spec.length, spec.in_chans):
            self.predictor.predict(windows_of(X)[:1])
            raise DataError(
                f"records (N, {spec.length}, {spec.in_chans})", got=f"shape {shape}", where=where, fix="cut them alike"
            )

    def _passed(self) -> nn.Module | None:
        """Return the model, where its bundle does not say how to build it."""
        return self.model if isinstance(self.model, nn.Module) and part_of(self.model) is None else None

    def _trained(self, what: str) -> Run:
        if self.run is None:
            raise RunError("a trained model", got="one that was not trained", where=what, fix="call train(X, y) first")
        return self.run


def _model_section(made: Adapted) -> dict[str, Any]:
    """Return the section `model` of the configuration; a model of one's own has its parameters told by `adapt`."""
    return made.params if "name" in made.params else {"name": CUSTOM, **made.params}


def _keras_name(name: str) -> str:
    part, _, rest = name.partition("/")
    return {"train": rest, "val": f"val_{rest}"}.get(part, name)


def _flat(test: Mapping[str, Any]) -> dict[str, float]:
    found = {name: value for name, value in test["scalars"].items() if value is not None}
    if test.get("loss") is not None:
        found["loss"] = test["loss"]
    for label, row in test["per_class"].items():
        found |= {f"{name}/{label}": value for name, value in row.items() if value is not None}
    return found
