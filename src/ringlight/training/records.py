"""The configured data: its source built, its files checked and hashed, each read once."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

from ringlight.config.schema import Config
from ringlight.data import SOURCES
from ringlight.data.checks import Inspection, inspect_dataset
from ringlight.data.faults import Faults
from ringlight.errors import ConfigError
from ringlight.types import Dataset


def load_dataset(config: Config, cache: Path) -> Inspection:
    """Read, check and hash the configured data, each file once.

    Raises:
        Problems: every unusable file or label, a line each.
    """
    dataset = make_source(config, cache).load()
    if config.data.task not in (None, dataset.task):
        raise ConfigError(dataset.task, got=str(config.data.task), where="data.task", fix="leave it out (null)")
    return check_dataset(dataset, min_samples_per_class=config.data.min_samples_per_class)


def check_dataset(dataset: Dataset, *, min_samples_per_class: int = 1) -> Inspection:
    """Read, check and hash the files of a data set, each once.

    Raises:
        Problems: every unusable file or label, a line each.
    """
    inspection = inspect_dataset(dataset, min_samples_per_class=min_samples_per_class)
    faults = Faults(dataset.name)
    for found in inspection.findings:
        if found.severity == "error":
            faults.add(found.expected, got=found.got, where=found.where, fix=found.fix)
    faults.raise_if_any()
    return inspection


def data_notes(inspection: Inspection) -> tuple[str, ...]:
    """Return what the source left out or mended, and what the check warns of, one line each."""
    warnings = (str(finding) for finding in inspection.findings if finding.severity == "warning")
    return (*inspection.dataset.notes, *warnings)


def make_source(config: Config, cache: Path) -> Any:
    """Build the configured source; a synthetic one without `data.root` draws into `cache`."""
    data = config.data
    params: dict[str, Any] = dict(data.params())
    root = data.root
    if root is None:
        if not data.source.startswith("synthetic"):
            what, fix = ("a file or folder", "PATH") if data.source == "windows" else ("a folder", "FOLDER")
            raise ConfigError(what, got="none", where="data.root", fix=f"set data.root={fix}")
        key = hashlib.sha256(json.dumps(params, sort_keys=True, default=str).encode()).hexdigest()[:12]
        root = cache / f"{data.source}-{key}"
    if data.task is not None and any(parameter.name == "task" for parameter in SOURCES.parameters(data.source)):
        params["task"] = data.task
    if "cache" in inspect.signature(SOURCES.factory(data.source)).parameters:
        params["cache"] = cache  # windows are converted once, and lie there
    return SOURCES.build(data.source, root=Path(root).expanduser().absolute(), **params)
