"""Two processes that climb together: the weights of one process that has the batches of both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("processes.py")


@pytest.mark.slow
def test_two_processes_end_at_the_weights_of_one_with_the_batches_of_both(tmp_path: Path) -> None:
    """Each climbing by its own half of the batch would give other weights, and more processes still others."""
    outs = {name: tmp_path / name for name in ("one", "first", "second")}
    started = [
        subprocess.Popen(
            [sys.executable, SCRIPT, outs[name], tmp_path / "store", str(rank), str(world)],
            env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
        )
        for name, rank, world in (("one", 0, 1), ("first", 0, 2), ("second", 1, 2))
    ]  # fmt: skip
    try:
        told = [process.communicate(timeout=240)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0, 0], told
    one, first, second = (torch.load(out, weights_only=True) for out in outs.values())
    for case, weights in one.items():
        assert torch.equal(first[case], second[case]), case
        torch.testing.assert_close(first[case], weights, rtol=0, atol=1e-6, msg=case)
