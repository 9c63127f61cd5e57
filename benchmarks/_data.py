"""The real data the benchmarks measure on: `../shared/data`, or the folder that `RINGLIGHT_TEST_DATA` names."""

from __future__ import annotations

import getpass
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[1]


def real_data(name: str) -> Path:
    """Return the folder of `<name>.tar.gz`, unpacked once into the user's own folder for temporary files.

    Raises:
        SystemExit: the archive is absent; the message says where it is looked for.
    """
    folder = Path(os.environ.get("RINGLIGHT_TEST_DATA") or _PROJECT.parent / "shared" / "data")
    archive = folder / f"{name}.tar.gz"
    if not archive.is_file():
        raise SystemExit(f"expected {archive.name} in {folder}, got nothing; set RINGLIGHT_TEST_DATA to its folder")
    state = archive.stat()
    cache = Path(tempfile.gettempdir()) / f"ringlight-benchmarks-{getpass.getuser()}"
    target = cache / f"{name}-{state.st_size}-{state.st_mtime_ns}"
    if not target.is_dir():
        cache.mkdir(mode=0o700, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
        with tarfile.open(archive) as bundle:
            bundle.extractall(unfinished, filter="data")
        try:
            unfinished.rename(target)
        except OSError:  # another process was quicker; its copy is the same
            shutil.rmtree(unfinished)
    entries = list(target.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else target
