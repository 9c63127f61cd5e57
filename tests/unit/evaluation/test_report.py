"""The report: one page with everything in it, escaped, and the same content as JSON."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser

import pytest

from ringlight.evaluation.report import Report, Table, run_report


def row(recall: float, support: int) -> dict[str, object]:
    return {"precision": 0.5, "recall": recall, "f1": 0.5, "auroc": None, "ap": 0.4, "support": support}


@pytest.fixture
def results() -> dict[str, object]:
    return {
        "run": "demo-1",
        "model": {"name": "resnet10t"},
        "dataset": {"name": "strips <b>", "classes": ["riß", "pore", "absent"]},
        "loss": {"name": "focal_loss"},
        "judged_part": "test",
        "test": {
            "scalars": {"macro_f1": 0.61234, "auroc": None},
            "per_class": {"riß": row(0.9, 10), "pore": row(0.4, 5), "absent": row(0.0, 0)},
            "notes": ["class `absent` has no example here"],
        },
        "split": {
            "strategy": "stratified_70_15_15",
            "parts": {
                "train": {"num_records": 70, "class_counts": {"riß": 40, "pore": 20, "absent": 0}},
                "test": {"num_records": 15, "class_counts": {"riß": 10, "pore": 5, "absent": 0}},
            },
        },
        "hyper_parameters": {"optimizer.lr": 0.001},
        "notes": ["random weights"],
    }


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def test_the_page_needs_nothing_else_and_describes_its_pictures(results: dict[str, object]) -> None:
    page = Page(run_report(results, {"confusion": b"png bytes"}).to_html())
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert len(links) == 1
    assert links[0] == "data:image/png;base64," + base64.b64encode(b"png bytes").decode()
    assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == [
        "Confusion matrix of the test part: rows are the truth, columns the prediction."
    ]
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}


def test_it_opens_with_the_weakest_class_that_has_examples(results: dict[str, object]) -> None:
    report = run_report(results, {})
    assert report.sentences == (
        "Judged on 15 records of the test part, which no choice was made on.",
        "The class found least often is pore: recall 0.40 on 5 records.",
    )


def test_a_run_without_a_test_part_says_that_it_was_judged_too_kindly(results: dict[str, object]) -> None:
    results["judged_part"] = "train"
    assert "no test part" in run_report(results, {}).sentences[0]


def test_names_from_the_data_are_escaped_and_undefined_values_are_dashes(results: dict[str, object]) -> None:
    text = run_report(results, {}).to_html()
    assert "strips &lt;b&gt;" in text
    assert "<b>" not in text
    assert "<td>riß</td><td>0.500</td><td>0.900</td><td>0.500</td><td>-</td><td>0.400</td><td>10</td>" in text


def test_json_has_the_same_content(results: dict[str, object]) -> None:
    report = run_report(results, {})
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["tables"][0] == {"title": "Scores", "columns": ["metric", "test"], "rows": [["macro_f1", 0.61234]]}
    assert values["notes"] == ["class `absent` has no example here", "random weights"]
    assert [table["title"] for table in values["tables"]] == [
        "Scores", "Classes", "Split: stratified_70_15_15", "Configuration",
    ]  # fmt: skip


def test_an_empty_report_is_a_page() -> None:
    page = Report("t", "s", (), (Table("empty", ("a",), ()),)).to_html()
    assert page.startswith("<!doctype html>")
    assert Page(page).text.splitlines()[0] == "t"


def test_settings_stand_as_they_were_written(results: dict[str, object]) -> None:
    """The page once showed a weight decay of 0.0001 as 0.000."""
    results["hyper_parameters"] = {"optimizer.weight_decay": 0.0001, "training.ema_decay": None}
    text = run_report(results, {}).to_html()
    assert "<td>optimizer.weight_decay</td><td>0.0001</td>" in text
    assert "<td>training.ema_decay</td><td>-</td>" in text
