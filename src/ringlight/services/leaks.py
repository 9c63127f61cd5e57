"""Does a data set hold what a random split would put on both sides, and what would that split's score pretend?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ringlight.data.content import hash_contents
from ringlight.data.duplicates import Duplicates, duplicate_sheet
from ringlight.data.groups import NO_CONTENT, Grouped, grouped
from ringlight.data.window_preview import window_pairs_sheet
from ringlight.runtime import choose_device
from ringlight.services.datasets import OpenedData
from ringlight.training.features import embedder
from ringlight.training.leakage import LeakProbe, measure_leak, probe_obstacle
from ringlight.training.splitting import duplicate_search
from ringlight.types import Dataset

Stages = Callable[[str, int, int], None]
"""Called with what is done, how much of it, and how much there is."""

NAME_PATHS = "name the column that holds the paths: data.path_column=COLUMN"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakCheck:
    """What belongs together in a data set, and what a random split of it would pretend.

    `origin` says in words where the groups came from, empty when there are none. `linked` counts the records that share
    their group with another. `probe` is None where it cannot be made; `obstacle` then says why. `sheet` is the contact
    sheet that was written.
    """

    origin: str
    num_records: int
    num_groups: int
    linked: int
    probe: LeakProbe | None = None
    obstacle: str | None = None
    sheet: Path | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "groups": self.origin,
            "num_records": self.num_records,
            "num_groups": self.num_groups,
            "linked": self.linked,
            "probe": None if self.probe is None else self.probe.to_dict(),
            "obstacle": self.obstacle,
            "sheet": None if self.sheet is None else str(self.sheet),
            "notes": list(self.notes),
        }


def check_leaks(opened: OpenedData, *, sheet: Path | None = None, progress: Stages | None = None) -> LeakCheck:
    """Find what belongs together, as `split.groups` asks, and measure what a random split would pretend.

    Args:
        opened: the data.
        sheet: a PNG for the near-duplicate pairs that were found.
        progress: told how far the search and the features are.

    Raises:
        SplitError: the groups that are asked for are not to be had.
        DataError: a file cannot be read.
        Problems: several cannot.
        WorkspaceError: the sheet or the cache cannot be written.
    """
    config, dataset = opened.config, opened.dataset
    if not dataset.has_content:
        return _described(replace(grouped(dataset), notes=()), obstacle=f"{NO_CONTENT}; {NAME_PATHS}")
    hashed = hash_contents(dataset)
    searches: list[Duplicates] = []

    def search(data: Dataset) -> Duplicates:
        find = duplicate_search(config, opened.cache, _stage(progress, "near-duplicates"))
        searches.append(find(data))
        return searches[-1]

    found = grouped(hashed, groups=config.split.groups, time_window=config.split.time_window, duplicates=search)
    notes: tuple[str, ...] = ()
    if sheet is not None and searches:
        draw = duplicate_sheet if dataset.signals is None else window_pairs_sheet
        draw(hashed, searches[-1], sheet)
    elif sheet is not None:
        notes = (f"no contact sheet: {found.origin}, no pairs were looked for; split.groups=duplicates looks for them",)
    written = sheet if searches else None
    obstacle = probe_obstacle(found.dataset)
    if obstacle is not None:
        return _described(found, obstacle=obstacle, sheet=written, notes=notes)
    images = dataset.signals is None  # windows have their own features
    device = choose_device(config.training.device).device
    probe = measure_leak(
        found.dataset,
        embedder=embedder(config.weights.folder, device) if images else None,
        cache=opened.cache,
        seed=config.experiment.seed,
        num_resamples=config.evaluation.num_resamples,
        confidence=config.evaluation.confidence,
        progress=_stage(progress, "features"),
    )
    return _described(found, probe=probe, sheet=written, notes=notes)


def _stage(progress: Stages | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else partial(progress, what)


def _described(
    found: Grouped,
    *,
    probe: LeakProbe | None = None,
    obstacle: str | None = None,
    sheet: Path | None = None,
    notes: tuple[str, ...] = (),
) -> LeakCheck:
    sizes = Counter(found.dataset.groups or found.dataset.ids).values()
    told = () if probe is None else probe.notes
    return LeakCheck(
        origin=found.origin,
        num_records=len(found.dataset),
        num_groups=len(sizes),
        linked=sum(size for size in sizes if size > 1),
        probe=probe,
        obstacle=obstacle,
        sheet=sheet,
        notes=(*found.notes, *notes, *told),
    )
