"""Look at data before training on it: open, count, check, split, preview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringlight.config.load import recipe_names
from ringlight.config.schema import Config
from ringlight.data.augment import Augmenter
from ringlight.data.checks import Finding, Statistics, check, statistics
from ringlight.data.preprocess import InputSpec
from ringlight.data.preview import contact_sheet
from ringlight.data.split import split_dataset, write_split
from ringlight.errors import DataError, did_you_mean
from ringlight.runtime import workspace_folder
from ringlight.services.runs import configure
from ringlight.training.plan import make_source
from ringlight.types import Dataset, Split


@dataclass(frozen=True, slots=True)
class OpenedData:
    """A data set as its source reads it, with the configuration it was read by."""

    config: Config
    dataset: Dataset

    def statistics(self) -> Statistics:
        """Count records, classes, combinations, sizes, boxes."""
        return statistics(self.dataset)

    def check(self) -> list[Finding]:
        """Find what cannot be used, worst first."""
        return check(self.dataset, min_samples_per_class=self.config.data.min_samples_per_class)

    def split(self, out: Path | None) -> Split:
        """Split as configured; write the parts to `out` when given."""
        config = self.config
        split = split_dataset(
            self.dataset, strategy=config.split.strategy, seed=config.experiment.seed, file=config.split.file
        )
        if out is not None:
            write_split(split, self.dataset, out)
        return split

    def preview(self, out: Path, num_samples: int) -> Path:
        """Draw originals and augmented samples with labels and boxes into the PNG `out`."""
        if not self.dataset.has_content:
            raise DataError(
                "records with images", got="a label-only table", where=self.dataset.name, fix="add a path column"
            )
        config = self.config
        size = config.data.image_size
        image_size = (size, size) if isinstance(size, int) else (None if size is None else (size[0], size[1]))
        spec = InputSpec(in_chans=config.model.in_chans, image_size=image_size, resize_mode=config.data.resize_mode)
        augmenter = Augmenter(config.augmentation, seed=config.experiment.seed)
        return contact_sheet(self.dataset, spec, augmenter, out, num_samples=num_samples, seed=config.experiment.seed)


def open_data(source: str, overrides: Sequence[str] = (), *, workspace: Path | str | None = None) -> OpenedData:
    """Open a recipe's data, or a folder or table whose format is recognised.

    Raises:
        DataError: neither a recipe nor a path, or a folder in no known form.
        Problems: a configuration mistake, a line each.
    """
    names = recipe_names()
    if source in names:
        config = configure(source, overrides)
    else:
        recipe, settings = recognise(Path(source).expanduser(), names)
        config = configure(recipe, [*settings, *overrides])
    dataset = make_source(config, workspace_folder(workspace) / "cache").load()
    return OpenedData(config, dataset)


def recognise(path: Path, recipes: Sequence[str]) -> tuple[str, list[str]]:
    """Return the recipe and settings that read what lies at `path`.

    Raises:
        DataError: nothing is there.
    """
    if path.is_file() and path.suffix.lower() in (".csv", ".parquet"):
        return "table", [f"data.root={_quoted(path.parent)}", f"data.file={_quoted(path.name)}"]
    if not path.is_dir():
        raise DataError(
            "a recipe, a folder of images, or a CSV or Parquet table",
            got=f"`{path}`",
            where="SOURCE",
            fix=did_you_mean(str(path), recipes),
        )
    root = [f"data.root={_quoted(path)}"]
    if (path / "train.csv").is_file() or (path / "annotations").is_dir():
        return "severstal", root
    if (path / "labels.csv").is_file():
        return "table", [*root, "data.file=labels.csv"]
    return "folder", root


def _quoted(value: Any) -> str:
    """Quote a path for an override, whose grammar reads spaces, commas and braces."""
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
