"""What a run stands on: seeds, device, threads, workspace paths, the manifest, logging."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import secrets
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from ringlight.errors import ConfigError, redacted
from ringlight.files import unwritable

LOGGER = logging.getLogger("ringlight")
NOISY_LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning", "timm", "matplotlib", "PIL")
REPORTED_PACKAGES = (
    "ringlight", "torch", "torchvision", "timm", "lightning", "albumentations", "numpy", "scikit-learn", "pyarrow",
    "pillow", "opencv-python-headless", "safetensors",
)  # fmt: skip


# --- workspace --------------------------------------------------------------------------------------------------------


def workspace_folder(workspace: Path | str | None = None) -> Path:
    """Return the workspace: the argument, else `RINGLIGHT_WORKSPACE`, else `./workspace`. Creates nothing."""
    return Path(workspace or os.environ.get("RINGLIGHT_WORKSPACE") or "workspace").expanduser().absolute()


def new_run_folder(workspace: Path, recipe: str) -> Path:
    """Create `<workspace>/runs/<recipe>-<yyyymmdd-hhmmss>-<id>`.

    Raises:
        WorkspaceError: the workspace cannot be written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = workspace / "runs" / f"{recipe}-{stamp}-{secrets.token_hex(2)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


# --- device, threads, randomness --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """The device a run uses (`cpu`, `cuda:0`) and why, for the log and the manifest.

    `asked` says that the user named it: then nothing else will do. `replaced` says that it took a run over from a
    device that failed.
    """

    device: str
    reason: str
    asked: bool = False
    replaced: bool = False

    @property
    def kind(self) -> Literal["cpu", "cuda"]:
        """The family of the device."""
        return "cuda" if self.device.startswith("cuda") else "cpu"


def choose_device(wish: str = "auto") -> DeviceChoice:
    """Choose the device: a wish is obeyed or refused, `auto` takes a CUDA device when there is one.

    Raises:
        ConfigError: CUDA was asked for and is not there, or there is no such device.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wish == "auto":
        if count:
            return DeviceChoice("cuda:0", f"auto: found {torch.cuda.get_device_name(0)}")
        return DeviceChoice("cpu", "auto: no CUDA device found")
    if wish == "cpu":
        return DeviceChoice("cpu", "asked for", asked=True)
    index = int(wish.partition(":")[2] or 0) if wish.startswith("cuda") else -1
    if not 0 <= index < count:
        found = f"{count} CUDA device(s)" if count else "no CUDA device"
        raise ConfigError(
            "a device that is there",
            got=f"`{wish}` and {found}",
            where="training.device",
            fix="use training.device=auto",
        )
    return DeviceChoice(f"cuda:{index}", "asked for", asked=True)


def choose_precision(wish: str, device: DeviceChoice) -> str:
    """Choose 32, bf16 or 16: `auto` is bf16 on a CUDA device that has it, else 32.

    Raises:
        ConfigError: fp16 was asked for on a CPU, where training in it loses gradients.
    """
    if wish == "16" and device.kind == "cpu":
        raise ConfigError(
            "bf16 or 32 on a CPU", got="16", where="training.precision", fix="set training.precision=bf16"
        )
    if wish != "auto":
        return wish
    if device.kind == "cpu":
        return "32"
    import torch

    return "bf16" if torch.cuda.is_bf16_supported() else "32"


def choose_num_workers(wish: int | str, device: DeviceChoice) -> int:
    """Choose the loader's processes: on a CPU none, the cores train; on CUDA all cores but one, at most 8.

    Decoding a picture takes milliseconds, augmenting one about as long. Where a cache serves pictures nobody augments,
    the loader starts none of them by itself (:func:`ringlight.data.loader.make_loader`).
    """
    if wish != "auto":
        return int(wish)
    return min(8, max(1, cpu_count() - 1)) if device.kind == "cuda" else 0


def choose_prefetch_factor(wish: int | str, num_workers: int, batch_bytes: int, free_bytes: int) -> int | None:
    """Choose how many batches each process keeps ready: 4, fewer where those would take an eighth of the free memory.

    Args:
        wish: a number, or `auto`.
        num_workers: the loader's processes; without any there is nothing to keep ready, and None is returned.
        batch_bytes: memory of one batch.
        free_bytes: free memory of the machine.
    """
    if num_workers == 0:
        return None
    if wish != "auto":
        return int(wish)
    return max(1, min(4, free_bytes // 8 // max(1, batch_bytes * num_workers)))


def cpu_count() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seed_everything(*parts: int) -> None:
    """Seed Python, NumPy and torch from a tuple of integers such as (seed, epoch).

    The parts are mixed with NumPy's SeedSequence, so that (1, 2) and (2, 1) give unrelated streams.
    """
    import random

    import numpy as np
    import torch

    state = np.random.SeedSequence(parts).generate_state(3)
    random.seed(int(state[0]))
    np.random.seed(int(state[1]))
    torch.manual_seed(int(state[2]))


@contextlib.contextmanager
def determinism(*, num_threads: int | None, device: DeviceChoice) -> Iterator[None]:
    """Hold torch to deterministic algorithms and a fixed thread count inside the block, then restore both."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    settings: Any = torch.utils.deterministic  # a module of settings, which its types do not know
    fills = settings.fill_uninitialized_memory
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if device.kind == "cuda":
        # cuBLAS needs a fixed workspace to be deterministic: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Some CUDA kernels have no deterministic form; the manifest says that the promise holds on a CPU.
    torch.use_deterministic_algorithms(True, warn_only=device.kind == "cuda")
    # Else every new tensor is filled with NaN first, to find who reads what was never written; a pass through a small
    # network is noticeably slower for it.
    settings.fill_uninitialized_memory = False
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        settings.fill_uninitialized_memory = fills
        torch.set_num_threads(threads)


def promise(device: DeviceChoice, num_threads: int) -> str:
    """Say how far "the same configuration gives the same numbers" reaches for this run."""
    if device.replaced:
        return "same configuration: close, not identical numbers (the run began on a device that failed)"
    if device.kind == "cuda":
        return "same configuration: close, not identical numbers (some CUDA kernels are not deterministic)"
    return f"same configuration on this processor with {num_threads} thread(s): identical history and weights"


DIVIDED = "same configuration: close, not identical numbers (steps were divided for want of memory)"
"""The promise of a run whose steps were divided: how many images fit is not in its configuration."""


# --- manifest ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Environment:
    """Software and machine of a run."""

    versions: dict[str, str]
    python: str
    system: str
    processor: str
    cpu_count: int
    memory_gib: float
    device: str
    device_reason: str
    num_threads: int
    precision: str
    reproducibility: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def environment(device: DeviceChoice, precision: str) -> Environment:
    """Record what a run runs on."""
    import psutil
    import torch

    threads = torch.get_num_threads()
    return Environment(
        versions=package_versions(),
        python=platform.python_version(),
        system=platform.platform(),
        processor=_processor(),
        cpu_count=cpu_count(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        device=device.device,
        device_reason=device.reason,
        num_threads=threads,
        precision=precision,
        reproducibility=promise(device, threads),
    )


def package_versions(packages: Sequence[str] = REPORTED_PACKAGES) -> dict[str, str]:
    """Return the installed versions of `packages`; one that is not installed reads "not installed"."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


# --- logging ----------------------------------------------------------------------------------------------------------


class _NoSecrets(logging.Filter):
    """Rewrites a record that holds a secret; every record passes."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if (clean := redacted(text)) != text:
            record.msg, record.args = clean, ()
        if record.exc_info and not record.exc_text:
            record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))
        return True


def hide_secrets() -> None:
    """Let no record of Ringlight's logger carry a password to any handler."""
    if not any(isinstance(one, _NoSecrets) for one in LOGGER.filters):
        LOGGER.addFilter(_NoSecrets())


def configure_logging(verbosity: int = 0) -> None:
    """Set up Ringlight's logger on stderr: warnings and progress by default, details with `-v`; others' chatter is off.

    Called by the command line once; a library user configures logging as they like.
    """
    LOGGER.setLevel(logging.DEBUG)
    for handler in [handler for handler in LOGGER.handlers if getattr(handler, "ringlight_console", False)]:
        LOGGER.removeHandler(handler)
    console = logging.StreamHandler(sys.stderr)
    console.ringlight_console = True  # type: ignore[attr-defined]
    console.setLevel(logging.DEBUG if verbosity else logging.INFO)
    console.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.addHandler(console)
    LOGGER.propagate = False
    hide_secrets()


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence what libraries say to the wrong reader: Lightning's advertisements and device chatter, timm's hints."""
    levels = {name: logging.getLogger(name).level for name in NOISY_LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Advice about loader workers, log intervals and the like: Ringlight made these choices and says so itself.
            warnings.filterwarnings("ignore", module=r"lightning(_fabric)?\b.*")
            warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Write Ringlight's log records to `path` (appending: a resumed run continues its log) inside the block."""
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise unwritable(path, error) from error
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.setLevel(logging.DEBUG)
    hide_secrets()
    level = LOGGER.level
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.addHandler(handler)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        handler.close()
