"""Runs on arrays from Python: like any other, with a folder, a manifest, a report and a bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ringlight.config.schema import Config
from ringlight.runtime import workspace_folder
from ringlight.services.runs import ARRAYS, Run, execute, new_run
from ringlight.training.plan import Plan, plan_on, prepare
from ringlight.types import Dataset, RunControl, Split, Tracker

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ARRAYS", "train_arrays"]


def train_arrays(
    config: Config,
    dataset: Dataset,
    split: Split,
    *,
    make_module: Callable[[], nn.Module] | None = None,
    workspace: Path | str | None = None,
    control: RunControl | None = None,
    trackers: Sequence[Tracker] = (),
) -> tuple[Run, Plan]:
    """Train on records from Python (:mod:`ringlight.training.arrays`), perhaps with a model from there, too.

    An ordinary run, but for its going on: what came from Python is not there when it is resumed.

    Args:
        config: the run's; its section `data` says only how records are fed.
        dataset: the records.
        split: how they are divided.
        make_module: builds the model in the place of the configured one.
        workspace: where the run folder is made.
        control: may stop it.
        trackers: are told beside TensorBoard.

    Returns:
        The run, and its plan, whose module holds the trained weights.

    Raises:
        UserError: the configuration or the data cannot be used; nothing was written.
        InterruptedRunError: Ctrl-C or the control stopped it.
    """
    root = workspace_folder(workspace)

    def planned(wished: Config, cache: Path) -> Plan:
        prepared = prepare(wished, cache, dataset=dataset, make_module=make_module)
        return plan_on(prepared, prepared.inspection.dataset, split)

    made = planned(config, root / "cache")
    return execute(made, new_run(made, root), None, control, trackers, planned), made
