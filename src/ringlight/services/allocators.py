"""Which memory allocator this process runs on, and how to switch to a quicker one; `ringlight doctor` says so."""

from __future__ import annotations

import os
import sys
from pathlib import Path

TUNABLES = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296:glibc.malloc.arena_max=2"
"""What makes glibc keep the large blocks that a training step gives back, up to 4 GiB of them."""
LIBRARIES = {"tcmalloc": "libtcmalloc*.so*", "jemalloc": "libjemalloc*.so*"}
PACKAGE = "libtcmalloc-minimal4"
_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")
_MAPS = Path("/proc/self/maps")


def find_library(name: str, folders: tuple[str, ...] = _FOLDERS) -> Path | None:
    """Return an installed allocator's library, `tcmalloc` or `jemalloc`; None when there is none."""
    for folder in folders:
        found = sorted(path for path in Path(folder).glob(LIBRARIES[name]) if "debug" not in path.name)
        if found:
            return found[0]
    return None


def allocator_in_use(maps: Path = _MAPS) -> str | None:
    """Return what stands in for plain glibc in this process: another allocator, or tunables; None for neither."""
    try:
        mapped = maps.read_text(encoding="utf-8")
    except OSError:
        mapped = ""
    for name in LIBRARIES:
        if f"lib{name}" in mapped:
            return name
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc with tunables" if "malloc.mmap_threshold" in tunables else None


def allocator_advice() -> str:
    """Say in one line what is in use and, when it is the plain one, the command that switches a quicker one on."""
    if not sys.platform.startswith("linux"):
        return "the system's own"
    used = allocator_in_use()
    if used is not None:
        return f"{used} is in use"
    library = find_library("tcmalloc") or find_library("jemalloc")
    if library is not None:
        return f"plain glibc; training is quicker with: LD_PRELOAD={library} ringlight train ..."
    return (
        f"plain glibc; training is quicker with: GLIBC_TUNABLES={TUNABLES} ringlight train ..., or after "
        f"apt-get install {PACKAGE}"
    )
