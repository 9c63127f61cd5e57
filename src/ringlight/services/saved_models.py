"""A saved model as it is judged again: its bundle, its run where it has one, and the rules it was saved with."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.config.schema import EvaluationConfig
from ringlight.data.split import SavedSplit, read_split
from ringlight.errors import ConfigError, RunError, did_you_mean
from ringlight.inference.bundle import DEFAULT_POINT, Bundle, find_bundle, read_bundle
from ringlight.inference.tta import VIEWS
from ringlight.runtime import determinism
from ringlight.services.model_places import model_folder
from ringlight.services.registered import run_behind
from ringlight.services.standing import MANIFEST
from ringlight.services.version_files import reference_of
from ringlight.training.evaluate import Member
from ringlight.training.learner import DeepLearner
from ringlight.training.rules import Rules

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel:
    """A saved model with what is known of its run; `run` is None for a bundle that stands alone."""

    name: str
    folder: Path
    run: Path | None
    bundle: Bundle
    learner: DeepLearner
    rules: Rules
    settings: EvaluationConfig
    saved: SavedSplit | None

    @property
    def member(self) -> Member:
        """The model as a member of an ensemble."""
        return Member(name=self.name, learner=self.learner, rules=self.rules)

    @property
    def trained_on(self) -> dict[str, str]:
        """Ids of the training records by the beginning of their files' digests."""
        if self.saved is None:
            return {}
        contents = self.saved.contents
        seen = ("train", "val")  # validation chose the weights and fixed the thresholds: it is no test either
        return {contents[key]: key for key, part in self.saved.parts.items() if part in seen and key in contents}

    def conditions(self) -> AbstractContextManager[None]:
        """Return what the model was judged under: the same scores come again to the last digit."""
        threads = self.bundle.training_config.get("training", {}).get("num_threads")
        return determinism(num_threads=threads, device=self.learner.device)


def open_model(
    model: Path | str, workspace: Path | str | None, point: str | None, tta_runs: int | None,
    module: nn.Module | None = None,
) -> SavedModel:  # fmt: skip
    """Open a run or a bundle, with another of its operating points or other views when they are named.

    `module` is the model itself where it is in no catalogue.

    Raises:
        BundleError: the model is damaged or of an unknown version.
        RunError: there is no such run.
        ConfigError: it has no such operating point, or the views are not 1 to 8.
    """
    folder = model_folder(model, workspace)
    bundle, network = read_bundle(folder, module=module)
    rules = Rules.of_bundle(bundle)
    if point is not None:
        known = [DEFAULT_POINT, *rules.points]
        if point not in known:
            raise ConfigError(
                "an operating point of the model", got=f"`{point}`", where="--operating-point",
                fix=did_you_mean(point, known),
            )  # fmt: skip
        rules = replace(rules, point=point)
    if tta_runs is not None:
        if tta_runs not in range(1, len(VIEWS) + 1):
            raise ConfigError(
                f"1 (off) to {len(VIEWS)} views of an image", got=str(tta_runs), where="tta_runs", fix="use 4"
            )
        rules = rules.in_views(tta_runs)
    run = folder if (folder / MANIFEST).is_file() else run_behind(folder)
    saved = (run or folder) / "split.csv"
    return SavedModel(
        name=reference_of(folder) or (run or find_bundle(folder)).absolute().name, folder=folder, run=run,
        bundle=bundle,
        learner=DeepLearner.of_bundle(bundle, network), rules=rules,
        settings=EvaluationConfig.model_validate(bundle.training_config.get("evaluation", {})),
        saved=read_split(saved) if run is not None and saved.is_file() else None,
    )  # fmt: skip


def seed_of(opened: SavedModel) -> int:
    """Return the seed the model was trained and judged with."""
    return int(opened.bundle.training_config.get("experiment", {}).get("seed", 0))


def stored_results(run: Path) -> dict[str, Any]:
    """Read the results of a finished run.

    Raises:
        RunError: there are none.
    """
    try:
        return dict(json.loads((run / "results.json").read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        fix = "resume it, or judge its bundle"
        raise RunError("a finished run", got=str(error), where=str(run), fix=fix) from error
