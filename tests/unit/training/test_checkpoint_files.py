"""Which checkpoint a folder is gone on from, and what is left when all are forgotten."""

from __future__ import annotations

import os
from pathlib import Path

from ringlight.training.checkpoint_files import LAST, MIDWAY, forget, newest


def test_the_newest_checkpoint_is_gone_on_from(tmp_path: Path) -> None:
    assert newest(tmp_path / "nowhere") is None
    for age, name in enumerate((LAST, MIDWAY, LAST)):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, ns=(age, age))
        assert newest(tmp_path) == tmp_path / name


def test_all_checkpoints_and_half_files_are_forgotten(tmp_path: Path) -> None:
    for name in ("checkpoints/last.ckpt", "fold/checkpoints/members/0.npy", "trial/midway.ckpt", ".a.json.1f.part"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "history.csv").write_bytes(b"")
    forget(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["history.csv"]
