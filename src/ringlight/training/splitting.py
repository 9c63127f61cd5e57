"""The configured split: plain arguments for `data/split.py`, and the search for near-duplicates, remembered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ringlight.config.schema import Config
from ringlight.data.duplicates import near_duplicates
from ringlight.data.groups import Grouped, grouped
from ringlight.data.links import Duplicates
from ringlight.data.remembered import remembered_duplicates
from ringlight.data.split import divide
from ringlight.data.window_duplicates import window_duplicates
from ringlight.types import Dataset, Split


def duplicate_search(
    config: Config, cache: Path, progress: Callable[[int, int], None] | None = None
) -> Callable[[Dataset], Duplicates]:
    """Return the search for near-duplicates, which remembers in the folder `cache` what it found in many files.

    `progress` is told how many images were read, of how many; or how many windows were searched.
    """
    overlap = config.split.min_overlap

    def find(dataset: Dataset) -> Duplicates:
        if dataset.signals is not None:
            return window_duplicates(dataset, progress=progress)
        return near_duplicates(dataset, min_overlap=overlap, progress=progress)

    return partial(remembered_duplicates, find=find, cache=cache, settings={"min_overlap": overlap})


def split_as_configured(config: Config, dataset: Dataset, cache: Path) -> tuple[Dataset, Split]:
    """Find what belongs together and split; return the data set with its groups filled in, and the split.

    Raises:
        SplitError: the records cannot be split as asked, or the split leaks.
    """
    split = config.split
    return divide(
        dataset,
        strategy=split.strategy,
        seed=config.experiment.seed,
        file=split.file,
        groups=split.groups,
        time_window=split.time_window,
        time_gap=split.time_gap,
        test_group=split.test_group,
        allow_leak=split.allow_leak,
        duplicates=duplicate_search(config, cache),
    )


def grouped_as_configured(config: Config, dataset: Dataset, cache: Path) -> Grouped:
    """Find what belongs together, as a split of these records would; nothing is divided.

    Raises:
        SplitError: the groups that are asked for are not to be had.
    """
    split = config.split
    return grouped(
        dataset, groups=split.groups, time_window=split.time_window,
        duplicates=duplicate_search(config, cache),
    )  # fmt: skip
