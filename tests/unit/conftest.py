"""Finished runs without a training: what is read of one, and a model of a single number."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ringlight.config.load import compose, to_yaml
from ringlight.data.preprocess import InputSpec
from ringlight.inference.bundle import Bundle, write_bundle
from ringlight.store.session import DATABASE, Store

CLASSES = ("crack", "good", "scratch")


@pytest.fixture(scope="session")
def config_text() -> str:
    """The configuration of a run."""
    return to_yaml(compose("folder", ["data.root=parts"]))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the tables in it: copied, it need not be migrated in every test."""
    folder = tmp_path_factory.mktemp("store")
    Store(folder).close()
    return folder / DATABASE


@pytest.fixture
def make_finished(config_text: str, empty_store: Path) -> Callable[..., Path]:
    """Make the folder of a finished run, 40 records of each class; `misses={"crack": 20}` are called something else.

    `changes` are of `results.json`. The workspace has a store.
    """

    def make(
        workspace: Path,
        name: str,
        misses: Mapping[str, int] | None = None,
        *,
        recipe: str = "strips",
        status: str = "completed",
        classes: Sequence[str] = CLASSES,
        spec: Any = None,
        architecture: Mapping[str, Any] | None = None,
        module: torch.nn.Module | None = None,
        **changes: Any,
    ) -> Path:
        folder = workspace / "runs" / name
        folder.mkdir(parents=True)
        if not (workspace / DATABASE).exists():
            shutil.copy(empty_store, workspace / DATABASE)
        values = _results(name, classes, misses or {}) | changes
        (folder / "manifest.json").write_text(json.dumps({"status": status, "recipe": recipe}))
        (folder / "config.yaml").write_text(config_text)
        (folder / "results.json").write_text(json.dumps(values))
        pq.write_table(_predictions(classes, misses or {}), folder / "predictions.parquet")
        bundle = Bundle(
            architecture=architecture or {"name": "resnet10t", "in_chans": 3, "drop_rate": 0.0, "params": {}},
            task="multiclass", classes=tuple(classes), training_config={"recipe": recipe, "experiment": {"name": name}},
            input_spec=spec or InputSpec(in_chans=3, image_size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3),
            metrics=values["test"],
        )  # fmt: skip
        write_bundle(folder / "bundle", bundle, module or torch.nn.Linear(1, 1))
        return folder

    return make


def _results(name: str, classes: Sequence[str], misses: Mapping[str, int]) -> dict[str, Any]:
    recalls = {label: 1 - misses.get(label, 0) / 40 for label in classes}
    return {
        "schema_version": 2, "run": name, "recipe": "strips", "model": {"name": "resnet10t"},
        "loss": {"name": "focal_loss"}, "hyper_parameters": {"seed": 1},
        "dataset": {"fingerprint": "f", "task": "multiclass", "classes": list(classes)},
        "split": {"strategy": "stratified_70_15_15", "seed": 1, "leaky": False}, "judged_part": "test",
        "test": {
            "scalars": {"macro_f1": round(sum(recalls.values()) / len(classes), 4), "kappa": None},
            "per_class": {label: {"recall": recalls[label], "support": 40} for label in classes},
        },
    }  # fmt: skip


def _predictions(classes: Sequence[str], misses: Mapping[str, int]) -> pa.Table:
    truth = np.repeat(np.arange(len(classes)), 40)
    chosen = truth.copy()
    for number, label in enumerate(classes):
        chosen[40 * number : 40 * number + misses.get(label, 0)] = (number + 1) % len(classes)
    probabilities = np.where(np.arange(len(classes)) == chosen[:, None], 0.9, 0.1 / (len(classes) - 1))
    columns = {f"probability/{label}": probabilities[:, number] for number, label in enumerate(classes)}
    ids = [f"{classes[label]}_{row}" for row, label in enumerate(truth)]
    return pa.table({"id": ids, "truth": truth[:, None].tolist(), **columns})
