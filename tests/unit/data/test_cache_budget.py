"""Room for caches: the one longest unused goes first, one that is used never, and nothing goes for nothing."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringlight.data.cache_budget import hold, make_room, touch

DAY = 86_400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three caches of 1000 bytes, `old` unused for three days, `new` for one; and a file that is none."""
    for days, name in enumerate(("new", "middle", "old"), start=1):
        path = tmp_path / f"pixels-{name}.bin"
        path.write_bytes(bytes(1000))
        os.utime(path, (path.stat().st_mtime - days * DAY,) * 2)
    (tmp_path / "features-abc.npz").write_bytes(bytes(1000))
    return tmp_path


def kept(folder: Path) -> set[str]:
    return {path.stem.removeprefix("pixels-") for path in folder.glob("pixels-*.bin")}


@pytest.mark.parametrize(
    ("needed", "left"),
    [
        (1000, {"new", "middle", "old"}),
        (1001, {"new", "middle"}),
        (2001, {"new"}),
        (4000, set()),
    ],
)
def test_longest_unused_goes_first_and_no_more_than_must(folder: Path, needed: int, left: set[str]) -> None:
    assert make_room(folder, needed, 4000) is None
    assert kept(folder) == left
    assert (folder / "features-abc.npz").exists()


def test_use_counts_not_age(folder: Path) -> None:
    touch(folder / "pixels-old.bin")
    assert make_room(folder, 1001, 4000) is None
    assert kept(folder) == {"new", "old"}


def test_a_cache_in_use_stays(folder: Path) -> None:
    with (folder / "pixels-old.bin").open("rb") as stream:
        hold(stream)
        assert make_room(folder, 1001, 4000) is None
        assert kept(folder) == {"new", "old"}
    assert make_room(folder, 2001, 4000) is None
    assert kept(folder) == {"new"}


HOLDER = """
import sys
from pathlib import Path
from ringlight.data.cache_budget import hold
stream = Path(sys.argv[1]).open("rb")
hold(stream)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_cache_that_another_process_uses_stays_until_that_is_killed(folder: Path) -> None:
    """A lock that a crash leaves behind would keep a cache for ever; the system takes this one back."""
    command = [sys.executable, "-c", HOLDER, str(folder / "pixels-old.bin")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert make_room(folder, 3001, 4000) == (
            "0.0 MiB are needed and other runs use the budget of 0.0 MiB (data.cache_budget_gib)"
        )
        assert kept(folder) == {"new", "middle", "old"}, "evicted for nothing"
        process.kill()
    assert make_room(folder, 3001, 4000) is None
    assert kept(folder) == set()


def test_what_never_fits_evicts_nothing(folder: Path) -> None:
    assert make_room(folder, 2**30, 2**20) == ("1.00 GiB are more than the budget of 1.0 MiB (data.cache_budget_gib)")
    assert kept(folder) == {"new", "middle", "old"}


def test_an_eviction_is_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ringlight"):
        make_room(folder, 1001, 4000)
    assert caplog.messages == [f"{folder / 'pixels-old.bin'}: evicted to make room (0.0 MiB)"]
