"""A process is known by more than its number, which comes again."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ringlight.services.processes import process_runs, this_process


def test_this_one_runs_and_its_number_alone_does_not_count() -> None:
    assert process_runs(this_process()) is True
    assert process_runs({**this_process(), "began": 1.0}) is False


def test_one_that_has_ended_does_not_run() -> None:
    code = "import json; from ringlight.services.processes import this_process; print(json.dumps(this_process()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert process_runs(json.loads(done.stdout)) is False


@pytest.mark.parametrize("known", [None, {}, {**this_process(), "host": "elsewhere"}, {**this_process(), "pid": "x"}])
def test_what_cannot_be_seen_is_not_guessed(known: object) -> None:
    assert process_runs(known) is None
