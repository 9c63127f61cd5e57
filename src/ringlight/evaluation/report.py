"""The report of a run: one page a plant can sign, and the same content as JSON, CSV and Markdown.

A report is made from plain values (`results.json`) and pictures that are handed in, so that it can be made again later,
from any run, without data or model. What results do not hold leaves its section out: schema version 1 gives a shorter
report than version 2, and no different one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ringlight.evaluation.report_blocks import Block, Picture, Section, Sentence, loudest
from ringlight.evaluation.report_data import (
    configuration_section,
    data_section,
    notes_section,
    slices_section,
)
from ringlight.evaluation.report_decisions import (
    calibration_section,
    operating_section,
    plant_section,
    reject_section,
)
from ringlight.evaluation.report_details import gains_section, mistakes_section
from ringlight.evaluation.report_files import confusion_csv, markdown, metrics_csv, per_class_csv
from ringlight.evaluation.report_folds import folds_section
from ringlight.evaluation.report_imbalance import imbalance_section
from ringlight.evaluation.report_open_set import open_set_section
from ringlight.evaluation.report_page import page
from ringlight.evaluation.report_phases import phases_section
from ringlight.evaluation.report_retrieval import retrieval_section
from ringlight.evaluation.report_scores import (
    classes_section,
    confusion_section,
    curves_section,
    energy_section,
    learning_section,
    scores_section,
)
from ringlight.evaluation.report_verdict import verdict

SECTIONS: tuple[Callable[[Mapping[str, Any]], Section | None], ...] = (
    data_section, folds_section, scores_section, confusion_section, classes_section, curves_section,
    calibration_section, operating_section, plant_section, reject_section, phases_section, learning_section,
    imbalance_section, energy_section, open_set_section, retrieval_section, gains_section, mistakes_section,
    slices_section, notes_section, configuration_section,
)  # fmt: skip
"""The parts of a report in order; each is made from the results, which may hold nothing for it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was judged, the verdict on it, and the sections that prove it; `pictures` holds PNG bytes by name."""

    title: str
    subtitle: str
    verdict: tuple[Sentence, ...]
    sections: tuple[Section, ...]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    """The CSV files by name."""

    def to_dict(self) -> dict[str, Any]:
        """Return the content without the pictures' bytes, for `report.json`."""
        return {
            "title": self.title,
            "subtitle": self.subtitle,
            "tone": loudest(self.verdict),
            "verdict": [asdict(sentence) for sentence in self.verdict],
            "sections": [section.to_dict() for section in self.sections],
            "pictures": {picture.name: picture.alt for section in self.sections for picture in section.pictures()},
        }

    def to_html(self) -> str:
        """Return one page that needs nothing else: styles, script and pictures are in it, and it fetches nothing."""
        return page(self.title, self.subtitle, self.verdict, self.sections, self.pictures)

    def to_markdown(self) -> str:
        """Return verdict and tables as Markdown, for a merge request or a message; the pictures stay out."""
        return markdown(self.title, self.subtitle, self.verdict, self.sections)

    def csv_files(self) -> dict[str, str]:
        """Return `metrics.csv`, `per_class.csv` and, where the results hold the counts, `confusion.csv` as text."""
        return dict(self.tables)


def run_report(results: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Report:
    """Make the report of a run from its results (schema version 1 or 2) and its pictures, PNG bytes by name."""
    names = frozenset(pictures)
    built = [section.having(names) for build in SECTIONS if (section := build(results)) is not None]
    sections = [section for section in built if section is not None]
    shown = {picture.name for section in sections for picture in section.pictures()}
    known = ("samples", "confusion")  # shown as cards and as a table, where the results hold what these are drawn from
    others = [name for name in pictures if name not in (*shown, *known) and not name.startswith("mistake-")]
    if others:
        blocks: tuple[Block, ...] = tuple(Picture(name, _titled(name), _titled(name), chart=False) for name in others)
        sections.insert(-1, Section("pictures", "Further pictures", blocks))
    files = {"metrics.csv": metrics_csv(results), "per_class.csv": per_class_csv(results)}
    if results["test"].get("confusion"):
        files["confusion.csv"] = confusion_csv(results)
    loss = (results.get("loss") or {}).get("name")
    subtitle = f"{results['model']['name']} on {results['dataset']['name']}{f', loss {loss}' if loss else ''}"
    return Report(f"Run {results['run']}", subtitle, verdict(results), tuple(sections), dict(pictures), files)


def _titled(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").capitalize()
