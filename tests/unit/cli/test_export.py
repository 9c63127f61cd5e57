"""`ringlight models export`: what does not go together is one line, before anything is opened."""

from __future__ import annotations

import pytest

from ringlight.cli.main import main


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--fp16", "--bf16"], "expected one of --fp16 and --bf16, got both; leave one out"),
        (["--guard", "crack"], "expected --int8 beside --guard, got none; add --int8, or leave it out"),
        (["--max-drift", "0.2", "--keep-float", "stem"], "expected --int8 beside --max-drift, --keep-float, got none;"),
        (["--max-loss", "0.1", "--accept-undecided"], "expected --int8 beside --max-loss, --accept-undecided, got "),
    ],
)
def test_options_that_do_not_go_together(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "export", "nowhere", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"ringlight models export: {told}")
    assert error.count("\n") == 1
