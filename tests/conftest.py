"""What every test may use: a quiet, offline process; the real data; pictures and data sets made on the spot."""

from __future__ import annotations

import logging
import os
import shutil
import tarfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

# Before any library is imported: these are read at import.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it asks a server for its newest version otherwise
os.environ["MPLBACKEND"] = "Agg"  # no display
# The models here are tiny: more threads only wait for each other, and processes beside each other have a core each.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.pop("RINGLIGHT_DATABASE_URL", None)
os.environ.pop("RINGLIGHT_WORKSPACE", None)  # the developer's own runs are not the tests' business
os.environ.pop("RINGLIGHT_ALLOW_DOWNLOADS", None)

import numpy as np
import pytest
from PIL import Image

PROJECT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the real data, so that `-m "not data"` leaves it out without the author's help."""
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.data)


class RealData:
    """The read-only folder of real data; `real_data("neu-det")` unpacks that archive once and returns its folder."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.cache = cache

    def __call__(self, name: str) -> Path:
        """Return the unpacked folder of `<name>.tar.gz`."""
        archive = self.file(f"{name}.tar.gz")
        state = archive.stat()
        target = self.cache / f"{name}-{state.st_size}-{state.st_mtime_ns}"
        if not target.is_dir():
            unfinished = self.cache / f".{name}-{uuid.uuid4().hex}"
            with tarfile.open(archive) as bundle:
                # Python before 3.11.4 (Debian 12 has 3.11.2) knows no filter.
                bundle.extractall(unfinished, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
            try:
                unfinished.rename(target)
            except OSError:  # another process was quicker; its copy is the same
                shutil.rmtree(unfinished)
        entries = list(target.iterdir())
        return entries[0] if len(entries) == 1 and entries[0].is_dir() else target

    def file(self, name: str) -> Path:
        """Return a file of the folder as it lies there; skip the test where it is absent, fail it in CI."""
        path = self.folder / name
        if not path.is_file():
            reason = f"real data: expected {name} in {self.folder}, got nothing; set RINGLIGHT_TEST_DATA to its folder"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        return path


@pytest.fixture(scope="session")
def real_data(pytestconfig: pytest.Config) -> RealData:
    folder = Path(os.environ.get("RINGLIGHT_TEST_DATA") or PROJECT.parent / "shared" / "data")
    return RealData(folder, pytestconfig.cache.mkdir("real-data"))


@pytest.fixture(autouse=True)
def no_console_is_left() -> Iterator[None]:
    """Take away what the command line logs to: the stream that a test captured is closed when the next one logs."""
    yield
    logger = logging.getLogger("ringlight")
    for handler in [one for one in logger.handlers if getattr(one, "ringlight_console", False)]:
        logger.removeHandler(handler)
    logger.propagate = True


MakeImage = Callable[..., Path]


@pytest.fixture(scope="session")
def make_image() -> MakeImage:
    """Write a picture of seeded noise around a brightness, or the given pixels; return its path.

    The parents are made. The format follows the suffix, the channels follow `mode` (L, RGB, RGBA, ...).
    """

    def make(
        path: Path | str,
        *,
        size: tuple[int, int] = (32, 32),
        mode: str = "RGB",
        brightness: float = 128.0,
        seed: int = 0,
        pixels: Any = None,
        **save: Any,
    ) -> Path:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if pixels is None:
            height, width = size
            noise = np.random.default_rng(seed).normal(brightness, 12.0, (height, width, 3))
            pixels = np.clip(noise, 0, 255).astype(np.uint8)
        image = Image.fromarray(np.asarray(pixels))
        (image if image.mode == mode else image.convert(mode)).save(path, **save)
        return path

    return make


@pytest.fixture
def tile_folder(tmp_path: Path, make_image: MakeImage) -> Path:
    """A class per folder, told apart by brightness: dark 6, middle 5, bright 4 tiles of 32 x 32."""
    root = tmp_path / "tiles"
    for name, brightness, count in (("dark", 50.0, 6), ("middle", 128.0, 5), ("bright", 205.0, 4)):
        for index in range(count):
            make_image(root / name / f"{name}_{index}.png", brightness=brightness, seed=1000 * count + index)
    return root


@pytest.fixture(scope="session")
def dataset_of() -> Callable[..., Any]:
    """Build a label-only data set from labels: `dataset_of([[0, 2], [], [1]])`, or `dataset_of([0, 1, 1])`.

    Lists make a multi-label set, numbers a multi-class one. Ids are `r0`, `r1`, ...; classes `c0`, `c1`, ...
    `columns` adds what else a record holds: `dataset_of([0, 1], group=["a", "a"])`.
    """
    from ringlight.types import Dataset, Record

    def make(
        labels: Sequence[int] | Sequence[Sequence[int]],
        *,
        classes: Sequence[str] | None = None,
        task: Literal["multiclass", "multilabel"] | None = None,
        **columns: Sequence[Any],
    ) -> Dataset:
        multiclass = all(isinstance(row, (int, np.integer)) for row in labels)
        rows = [tuple(int(v) for v in np.atleast_1d(np.asarray(row, dtype=np.int64))) for row in labels]
        count = max((value for row in rows for value in row), default=0) + 1
        records = [
            Record(id=f"r{index}", labels=row, **{column: values[index] for column, values in columns.items()})
            for index, row in enumerate(rows)
        ]
        names = list(classes) if classes is not None else [f"c{index}" for index in range(count)]
        return Dataset.from_records(records, names, task or ("multiclass" if multiclass else "multilabel"))

    return make


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Take back what the command line sets up: its console writes to this test's standard error, closed afterwards."""
    from ringlight.runtime import LOGGER

    handlers, level, propagate = list(LOGGER.handlers), LOGGER.level, LOGGER.propagate
    yield
    LOGGER.handlers[:], LOGGER.propagate = handlers, propagate
    LOGGER.setLevel(level)
