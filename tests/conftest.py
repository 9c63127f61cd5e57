"""What every test may use: a quiet, offline process; the real data; pictures and data sets made on the spot."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import shutil
import sys
import tarfile
import uuid
from collections import Counter, namedtuple
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

# Before any library is imported: these are read at import.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it asks a server for its newest version otherwise
os.environ["MPLBACKEND"] = "Agg"  # no display
# The models here are tiny: more threads only wait for each other, and processes beside each other have a core each. The
# process that starts the others sets nothing: they would inherit its two threads, and four would share two cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("RINGLIGHT_DATABASE_URL", None)
os.environ.pop("RINGLIGHT_WORKSPACE", None)  # the developer's own runs are not the tests' business
os.environ.pop("RINGLIGHT_ALLOW_DOWNLOADS", None)

import numpy as np
import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from PIL import Image

import faster

PROJECT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the real data, so that `-m "not data"` leaves it out without the author's help."""
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.data)
    # Whole files go to one process or another: the longest first, or one process waits for the other in the end.
    minutes, number = Counter[Path](), Counter[Path]()
    for item in items:
        number[item.path] += 1
        if (slow := item.get_closest_marker("slow")) is not None:
            minutes[item.path] += slow.kwargs.get("minutes", 0.2)
    items.sort(key=lambda item: (-minutes[item.path], -number[item.path], item.path))


def pytest_configure() -> None:
    """Leave out of every run what its test does not look at."""
    faster.install()


def pytest_unconfigure() -> None:
    """Give back what was taken."""
    faster.remove()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let a crash say where it was: Lightning takes faulthandler's handlers away when a training ends.

    It puts back every handler that Python knows of, and Python knows nothing of those; enabling what is enabled does
    nothing.
    """
    stream = item.config.stash.get(fault_handler_stderr_fd_key, None)
    if stream is not None:
        faulthandler.disable()
        faulthandler.enable(file=stream)


def pytest_runtest_logstart(location: tuple[str, int | None, str]) -> None:
    """Draw figures for the tests that look at them."""
    faster.begin(PROJECT / location[0])


def pytest_collection_finish() -> None:
    """Leave what lives as long as the tests do out of garbage collections, and have fewer of them.

    Nine thousand items and the libraries are some million objects, and torch makes and drops a few thousand in every
    step: an eighth of the processor's time went into looking through all of them for rings again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


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


class FakeMlflow:
    """What we use of MLflow, in memory and as strict: `runs` and `versions` are what a server would hold.

    `fault` is called before each request with its name, and may raise or wait.
    """

    def __init__(self) -> None:
        self.runs: dict[str, SimpleNamespace] = {}
        self.experiments: dict[str, SimpleNamespace] = {}
        self.versions: dict[str, list[SimpleNamespace]] = {}
        self.fault: Callable[[str], object] = str

    def client(self, uri: str, registry_uri: str) -> Any:
        """Make a client; every request of it passes `fault`."""
        outer = self

        class Client:
            def __getattr__(self, request: str) -> Any:
                def ask(*args: Any, **options: Any) -> Any:
                    outer.fault(request)
                    return getattr(outer, request)(*args, **options)

                return ask

        return Client()

    @staticmethod
    def error(code: str, text: str = "refused") -> Exception:
        fault = RuntimeError(f"{code}: {text}")
        fault.error_code = code  # type: ignore[attr-defined]
        return fault

    def get_experiment_by_name(self, name: str) -> Any:
        return self.experiments.get(name)

    def create_experiment(self, name: str, artifact_location: str | None = None) -> str:
        self.experiments[name] = SimpleNamespace(experiment_id=str(len(self.experiments) + 1), at=artifact_location)
        return str(self.experiments[name].experiment_id)

    def create_run(self, experiment_id: str, tags: dict[str, str], run_name: str) -> Any:
        run_id = f"run{len(self.runs) + 1}"
        info = SimpleNamespace(
            run_id=run_id, experiment_id=experiment_id, run_name=run_name, lifecycle_stage="active", status="RUNNING",
            artifact_uri=f"mlflow-artifacts:/{run_id}",
        )  # fmt: skip
        data = SimpleNamespace(params={}, tags=dict(tags))
        self.runs[run_id] = SimpleNamespace(info=info, data=data, points=[], files=[])
        return self.runs[run_id]

    def get_run(self, run_id: str) -> Any:
        if run_id not in self.runs:
            raise self.error("RESOURCE_DOES_NOT_EXIST")
        return self.runs[run_id]

    def log_batch(self, run_id: str, metrics: Sequence[Any] = (), params: Sequence[Any] = ()) -> None:
        run = self.runs[run_id]
        assert len(params) <= 100
        assert len(metrics) <= 1000
        for key, value in params:
            if len(key) > 250 or len(value) > 6000 or run.data.params.get(key, value) != value:
                raise self.error("INVALID_PARAMETER_VALUE", key)
            run.data.params[key] = value
        run.points += [point for point in metrics if len(point.key) <= 250]

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [point for point in self.runs[run_id].points if point.key == key]

    def log_artifact(self, run_id: str, path: str, folder: str | None = None) -> None:
        self.runs[run_id].files.append(f"{folder}/{Path(path).name}" if folder else Path(path).name)

    def log_artifacts(self, run_id: str, path: str, folder: str) -> None:
        self.runs[run_id].files += [f"{folder}/{file.name}" for file in sorted(Path(path).iterdir())]

    def update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id].info.status = status

    set_terminated = update_run

    def create_registered_model(self, name: str) -> None:
        if name in self.versions:
            raise self.error("RESOURCE_ALREADY_EXISTS")
        self.versions[name] = []

    def create_model_version(self, name: str, source: str, run_id: str, tags: dict[str, str]) -> Any:
        version = SimpleNamespace(version=len(self.versions[name]) + 1, source=source, run_id=run_id, tags=tags)
        self.versions[name].append(version)
        return version


@pytest.fixture
def fake_mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    """Put a stand-in in MLflow's place: its own takes seconds to import and a server to talk to."""
    fake, mlflow, entities = FakeMlflow(), ModuleType("mlflow"), ModuleType("mlflow.entities")
    mlflow.MlflowClient = fake.client  # type: ignore[attr-defined]
    entities.Param = namedtuple("Param", "key value")  # type: ignore[attr-defined]
    entities.Metric = namedtuple("Metric", "key value timestamp step")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    return fake
