"""Which checkpoints a folder holds, and which of them counts; what is in them is the business of others.

No torch here: who looks whether there is something to go on from may train nothing.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ringlight.files import remove_parts

LAST = "last.ckpt"
"""The end of the last whole epoch."""
MIDWAY = "midway.ckpt"
"""Between two steps of the epoch behind it."""


def newest(folder: Path) -> Path | None:
    """Return the checkpoint that a training goes on from; None where there is none.

    Should a copy of the folder have lost the times of its files, an older one is taken: it leads to the same end.
    """
    found = [path for name in (LAST, MIDWAY) if (path := folder / name).is_file()]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def forget(folder: Path) -> None:
    """Remove every checkpoint below `folder`, and what a write that was broken off has left."""
    for place in [path for path in folder.rglob("checkpoints") if path.is_dir()]:
        shutil.rmtree(place, ignore_errors=True)
    for path in folder.rglob("*.ckpt"):
        path.unlink(missing_ok=True)
    remove_parts(folder)
