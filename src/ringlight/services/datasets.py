"""Look at data before training on it: open, count, check, split, preview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringlight.config.load import compose, recipe_names
from ringlight.config.schema import Config
from ringlight.data.augment import Augmenter
from ringlight.data.checks import Finding, Statistics, check, statistics
from ringlight.data.cifar_layout import find_layout
from ringlight.data.content import hash_contents
from ringlight.data.files import EXTENSIONS as IMAGES
from ringlight.data.preprocess import InputSpec
from ringlight.data.preview import contact_sheet
from ringlight.data.recording_windows import INTERVALS
from ringlight.data.severstal import IMAGE_FOLDERS
from ringlight.data.signal_augment import SignalAugmenter
from ringlight.data.split import write_split
from ringlight.data.window_preview import window_sheet
from ringlight.data.window_spec import WindowSpec
from ringlight.errors import DataError, did_you_mean
from ringlight.runtime import workspace_folder
from ringlight.training.plan import part_problems
from ringlight.training.records import make_source
from ringlight.training.splitting import split_as_configured
from ringlight.types import Dataset, Split

TABLES = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class OpenedData:
    """A data set as its source reads it, with the configuration it was read by.

    `cache` is the folder where near-duplicates that were found are remembered.
    """

    config: Config
    dataset: Dataset
    cache: Path

    @property
    def title(self) -> str:
        """The data set's name, and how it was read."""
        return f"{self.dataset.name} ({self.config.data.source}, {self.dataset.task})"

    def statistics(self) -> Statistics:
        """Count records, classes, combinations, sizes, boxes."""
        return statistics(self.dataset)

    def check(self) -> list[Finding]:
        """Find what cannot be used, worst first."""
        return check(self.dataset, min_samples_per_class=self.config.data.min_samples_per_class)

    def split(self, out: Path | None) -> Split:
        """Split as configured, looking into the files for what belongs together; write the parts to `out` when given.

        Raises:
            SplitError: the records cannot be split as asked, or the split leaks.
        """
        # A training knows the digests, too: without them the same files would be divided in another way.
        hashed = hash_contents(self.dataset)
        dataset, split = split_as_configured(self.config, hashed, self.cache)
        if out is not None:
            write_split(split, dataset, out)
        return split

    def preview(self, out: Path, num_samples: int) -> Path:
        """Draw originals and augmented samples with labels and boxes into the PNG `out`."""
        if not self.dataset.has_content:
            raise DataError(
                "records with images",
                got="a label-only table",
                where=self.dataset.name,
                fix="name the column that holds the paths: data.path_column=COLUMN",
            )
        config = self.config
        data = config.data
        if self.dataset.signals is not None:
            return self._preview_windows(out, num_samples)
        spec = InputSpec(in_chans=config.model.in_chans, image_size=data.image_size, resize_mode=data.resize_mode)
        augmenter = Augmenter(config.augmentation, seed=config.experiment.seed)
        return contact_sheet(self.dataset, spec, augmenter, out, num_samples=num_samples, seed=config.experiment.seed)

    def _preview_windows(self, out: Path, num_samples: int) -> Path:
        config = self.config
        spec = WindowSpec.fit(self.dataset, normalize="channel")
        augmenter = SignalAugmenter(config.augmentation, seed=config.experiment.seed, class_names=self.dataset.classes)
        return window_sheet(
            self.dataset, spec, augmenter, out, num_samples=num_samples, seed=config.experiment.seed,
            num_augmented=3 if augmenter.enabled else 0,
        )  # fmt: skip


def open_data(source: str, overrides: Sequence[str] = (), *, workspace: Path | str | None = None) -> OpenedData:
    """Open a recipe's data, or a folder, table or file of windows whose format is recognised.

    Raises:
        DataError: neither a recipe nor a path, or a folder in no known form.
        Problems: a configuration mistake, a line each.
    """
    recipe, settings = source, list[str]()
    if source not in recipe_names():
        recipe, settings = recognise(Path(source).expanduser(), recipe_names())
    config = compose(recipe, [*settings, *overrides], check_parts=_data_problems)
    cache = workspace_folder(workspace) / "cache"
    return OpenedData(config, make_source(config, cache).load(), cache)


def _data_problems(tree: Mapping[str, Any]) -> list[str]:
    """Check the sections that looking at data uses; the others would only load the model libraries."""
    return part_problems({name: tree[name] for name in ("data", "augmentation") if name in tree})


def recognise(path: Path, recipes: Sequence[str]) -> tuple[str, list[str]]:
    """Return the recipe and settings that read what lies at `path`.

    A CSV or Parquet file is a table, an `.npz` file holds windows. A folder with the files of CIFAR is read as such,
    whatever else lies there. A folder with Kaggle's columns (`ImageId...`) or
    Supervisely annotations holds strips; one with sound, `intervals.csv`, or tables in folders and no image anywhere,
    recordings to cut into windows; one with `labels.csv`, or with a single table and no folders for classes, a table;
    any other, images: in its `images/` when they lie nowhere else, else a folder per class.

    Raises:
        DataError: nothing is there.
    """
    if path.is_file() and path.suffix.lower() == ".npz":
        return "windows", _root(path)
    if path.is_file() and path.suffix.lower() in TABLES:
        return "table", [*_root(path.parent), f"data.file={path.name}"]
    if not path.is_dir():
        raise DataError(
            "a recipe, a folder of images or recordings, an .npz file, or a CSV or Parquet table",
            got=f"`{path}`",
            where="SOURCE",
            fix=f"check the path; of the recipes, {did_you_mean(str(path), recipes)}",
        )
    if find_layout(path) is not None:
        return "cifar100", _root(path)
    tables = sorted(entry for entry in path.iterdir() if entry.is_file() and entry.suffix.lower() in TABLES)
    folders = [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if any(_names_image_ids(table) for table in tables) or _has_annotations(path):
        return "severstal", _root(path)
    if _has_recordings(path, folders):
        return "windows", _root(path)
    labels = [table for table in tables if table.stem == "labels"] or (tables if len(folders) < 2 else [])
    if len(labels) == 1:
        return "table", [*_root(path), f"data.file={labels[0].name}"]
    shared = [folder for folder in folders if folder.name in IMAGE_FOLDERS]
    others = {folder.name for folder in folders} - {"annotations", "labels", "masks"}
    return "folder", _root(shared[0] if len(shared) == 1 and others == {shared[0].name} else path)


def _names_image_ids(table: Path) -> bool:
    """Whether a CSV starts with one of Kaggle's columns `ImageId` and `ImageId_ClassId`."""
    if table.suffix.lower() != ".csv":
        return False
    with table.open(encoding="utf-8-sig", errors="replace") as stream:
        return stream.readline().lstrip('"').startswith("ImageId")


def _has_annotations(path: Path) -> bool:
    return any(next((path / name).glob("*.json"), None) for name in ("annotations", "ann"))


def _has_recordings(path: Path, folders: Sequence[Path]) -> bool:
    """Whether a folder holds recordings: sound, a table of intervals, or tables in a folder a class, and no images."""
    if (path / INTERVALS).is_file():
        return True
    inside = {file.suffix.lower() for folder in folders for file in folder.iterdir()}
    sound = ".wav" in inside or next(path.glob("*.[wW][aA][vV]"), None) is not None
    if not sound and (not inside & set(TABLES) or (path / "labels.csv").is_file()):
        return False
    return not any(file.suffix.lower() in IMAGES for file in path.rglob("*"))


def _root(folder: Path) -> list[str]:
    """Name the folder in quotes, so that one that is called `null` or is itself in quotes keeps its name."""
    return [f"data.root='{folder}'"]
