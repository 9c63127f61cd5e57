"""What studies need of Optuna: where it keeps trials, how a trial is stopped, and its silence.

It and `tune.py` are the files that import it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial

from ringlight.errors import ConfigError, MissingExtraError
from ringlight.training.tune_places import hidden
from ringlight.training.tune_trials import PrunedTrial, StudySettings

BUSY_SECONDS = 60
"""How long a process waits for another one that is writing into the same file."""


class Told:
    """Is told the scores of one trial and stops it: where it is to wait, or when Optuna's pruner says so."""

    def __init__(self, trial: Trial, done: int, *, stop: int | None, halves: bool) -> None:
        self.done = done
        self._trial = trial
        self._stop = stop
        self._halves = halves

    def __call__(self, step: int, value: float, *, final: bool = False) -> None:
        """Keep a score; a step that was told before it waited is known already.

        Raises:
            PrunedTrial: the trial is to be stopped.
        """
        with quiet():
            if step > self.done:
                self._trial.report(value, step)
            stops = self._stop is not None and step >= self._stop if self._halves else self._trial.should_prune()
        if stops and not final:
            raise PrunedTrial


class Given(optuna.samplers.BaseSampler):
    """Chooses what it was given: a point of the grid. The arguments of its methods are those that Optuna passes."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        self._point = point

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:  # noqa: ARG002
        """Nothing is chosen together."""
        return {}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:  # noqa: ARG002
        """Nothing is chosen together."""
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:  # noqa: ARG002
        """Return the point's value."""
        return self._point[param_name]


def pruner_of(settings: StudySettings) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner; halving is this package's own, and knows trials that wait."""
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=settings.min_steps)
    return optuna.pruners.NopPruner()


def storage_at(address: str | None) -> optuna.storages.BaseStorage | None:
    """Open a storage; None keeps trials in memory.

    Raises:
        ConfigError: it cannot be opened.
        MissingExtraError: its driver is not installed.
    """
    if address is None:
        return None
    options = {"connect_args": {"timeout": BUSY_SECONDS}} if address.startswith("sqlite") else {}
    try:
        return optuna.storages.RDBStorage(address, engine_kwargs=options)
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or "its driver"
        raise MissingExtraError(
            f"the package {missing}, which speaks to {address.partition(':')[0]}", got="none", where="tune.storage",
            fix=f"install it with: pip install {missing}",
        ) from error  # fmt: skip
    # SQLAlchemy's and the driver's own errors have no common base but Exception; none of them is a fault of ours.
    except Exception as error:
        said = " ".join(str(error).partition("\n")[0].split())
        raise ConfigError(
            "a database that can be opened", got=f"{said} ({hidden(address)})", where="tune.storage",
            fix="correct the address, or leave it out: a file in the study's folder",
        ) from error  # fmt: skip


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's own lines and its notices of what is experimental to itself; its settings stay as they were."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", module=r"(optuna|sqlalchemy|alembic)\b.*")
            yield
    finally:
        optuna.logging.set_verbosity(level)
