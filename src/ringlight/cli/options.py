"""Options that many commands have, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Workspace = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Where runs, models and prepared data are kept (default: RINGLIGHT_WORKSPACE, else ./workspace).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]
