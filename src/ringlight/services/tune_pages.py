"""The pages of a study: its figures and its report, drawn from what `study.json` holds."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringlight.evaluation.plots_tune import study_figures
from ringlight.evaluation.report_tune import study_page
from ringlight.files import whole_file, write_text


def write_study_pages(study: Mapping[str, Any], folder: Path) -> None:
    """Write the figures and `report.html` into a study's folder."""
    pictures = {}
    for name, figure in study_figures(study).items():
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=120)
        pictures[name] = drawn.getvalue()
        with whole_file(folder / "figures" / f"{name}.png") as part:
            part.write_bytes(pictures[name])
    write_text(folder / "report.html", study_page(study, pictures))
