"""The report's section on the embedding: its sentence, its tables, its pictures, and none of it without one."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringlight.evaluation.report import run_report
from ringlight.evaluation.report_blocks import Picture, Sentence, Table
from ringlight.evaluation.report_retrieval import retrieval_section
from ringlight.evaluation.retrieval import retrieval_metrics

FAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "report" / "make.py"))
CLASSES = ("good", "pore", "crack")


def found(method: str = "t-SNE", **changed: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 10 + [1] * 9 + [2])
    rows = rng.normal(size=(20, 4)) + 3 * np.eye(4)[labels]
    given: dict[str, Any] = {
        "classes": CLASSES,
        "groups": [f"part {row // 2}" for row in range(20)],
        "num_resamples": 100,
    }
    within = retrieval_metrics(rows, labels, **given).to_dict()
    section: dict[str, Any] = json.loads(json.dumps({
        "part": "test", "gallery": "train", **within, "within": within,
        "knn": {"k": 20, "temperature": 0.07, "accuracy": 0.9},
        "projection": {"method": method, "explained": 0.812, "num_judged": 20, "num_train": 80},
        "neighbors": [{"id": "a", "truth": "pore", "num_right": 1, "neighbors": [{"id": "b"}, {"id": "c"}]}],
        **changed,
    }))  # fmt: skip
    return section


def test_without_an_embedding_there_is_no_section() -> None:
    assert retrieval_section({}) is None
    assert retrieval_section({"retrieval": None}) is None


def test_scores_classes_and_pictures_are_told() -> None:
    section = retrieval_section({"retrieval": found()})
    assert section is not None
    lead, note, scores, classes, plane, sheet = section.blocks
    assert isinstance(lead, Sentence)
    assert lead.text.startswith("The nearest training record has the right class for 1.00 [0.72, 1.00]")
    assert lead.text.endswith("of 19 records; the vote of the 20 nearest is right for 0.90, without any classifier.")
    assert note == Sentence("1 query is left out: no other record of the class in the gallery (crack).", "warn")
    assert isinstance(scores, Table)
    assert scores.columns[3:] == ("recall@1", "recall@2", "recall@4", "recall@8", "R-precision", "mAP@R")
    assert [row[0] for row in scores.rows] == ["training part", "test part itself"]
    assert "Records of one part do not see each other (40 pairs)." in scores.note
    assert isinstance(classes, Table)
    assert [row[:3] for row in classes.rows] == [("good", 10, 0), ("pore", 9, 0), ("crack", 0, 1)]
    assert isinstance(plane, Picture)
    assert "t-SNE keeps neighbours together" in plane.caption
    assert isinstance(sheet, Picture)
    assert sheet.chart is False
    assert sheet.alt.endswith("pore: 1 of 2 right.")


def test_principal_components_say_how_much_they_hold() -> None:
    section = retrieval_section({"retrieval": found("PCA")})
    assert section is not None
    picture = section.pictures()[0]
    assert picture.caption.endswith("The first two principal components hold 81% of the variance.")


def test_an_embedding_that_nobody_can_be_found_in_says_so() -> None:
    rows = retrieval_metrics(np.eye(3), [0, 1, 2], classes=CLASSES).to_dict()
    section = retrieval_section({"retrieval": found(**rows)})
    assert section is not None
    assert section.blocks[0] == Sentence(
        "No record has another of its class to find, so that the embedding has no score."
    )  # fmt: skip


@pytest.mark.parametrize("pictures", [{}, {"embedding": b"x", "neighbors": b"y"}])
def test_the_page_has_the_section_where_results_have_it(pictures: dict[str, bytes]) -> None:
    report = run_report({**FAKE["full_results"](), "retrieval": found()}, pictures)
    (section,) = [one for one in report.sections if one.key == "embedding"]
    assert [picture.name for picture in section.pictures()] == list(pictures)
    assert not [one for one in report.sections if one.key == "pictures"]
    assert "recall@1" in report.to_html()
