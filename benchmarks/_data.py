"""What benchmarks share: the real data (`../shared/data`, or the folder `RINGLIGHT_TEST_DATA` names), peak memory."""

from __future__ import annotations

import csv
import getpass
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from ringlight.data.content import hash_contents
from ringlight.data.folder import FolderSource
from ringlight.types import Dataset

_PROJECT = Path(__file__).resolve().parents[1]


def real_file(name: str) -> Path:
    """Return a file of the real data as it lies there.

    Raises:
        SystemExit: it is absent; the message says where it is looked for.
    """
    folder = Path(os.environ.get("RINGLIGHT_TEST_DATA") or _PROJECT.parent / "shared" / "data")
    if not (folder / name).is_file():
        raise SystemExit(f"expected {name} in {folder}, got nothing; set RINGLIGHT_TEST_DATA to its folder")
    return folder / name


def real_data(name: str) -> Path:
    """Return the folder of `<name>.tar.gz`, unpacked once into the user's own folder for temporary files.

    Raises:
        SystemExit: the archive is absent; the message says where it is looked for.
    """
    archive = real_file(f"{name}.tar.gz")
    state = archive.stat()
    cache = Path(tempfile.gettempdir()) / f"ringlight-benchmarks-{getpass.getuser()}"
    target = cache / f"{name}-{state.st_size}-{state.st_mtime_ns}"
    if not target.is_dir():
        cache.mkdir(mode=0o700, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
        with tarfile.open(archive) as bundle:
            # Python before 3.11.4 (Debian 12 has 3.11.2) knows no filter.
            bundle.extractall(unfinished, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        try:
            unfinished.rename(target)
        except OSError:  # another process was quicker; its copy is the same
            shutil.rmtree(unfinished)
    entries = list(target.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else target


def peak_memory() -> float:
    """Return the most memory this process has held, in MiB.

    From the kernel's own count: what `getrusage` tells of a new process starts with what its parent held.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kib) / 1024


def burst_tiles() -> Dataset:
    """Return the magnetic tiles, hashed, their bursts of exposures as groups."""
    data = FolderSource(real_data("magnetic-tile"), extensions=[".jpg"]).load()
    with real_file("magnetic-tile-bursts.csv").open(newline="", encoding="utf-8") as stream:
        burst = {row["file"]: row["burst"] for row in csv.DictReader(stream)}
    return hash_contents(data.with_column("group", [burst[key] for key in data.ids]))
