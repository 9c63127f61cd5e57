"""The report: its sections, its page with everything in it, escaped, and the same content as JSON, CSV and Markdown."""

from __future__ import annotations

import base64
import csv
import io
import json
import runpy
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ringlight.evaluation.report import Report, run_report
from ringlight.evaluation.report_details import mistakes_section

FAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "report" / "make.py"))


def row(recall: float, support: int) -> dict[str, object]:
    return {"precision": 0.5, "recall": recall, "f1": 0.5, "auroc": None, "ap": 0.4, "support": support}


@pytest.fixture
def first_version() -> dict[str, Any]:
    """Results as schema version 1 wrote them."""
    return {
        "schema_version": 1,
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


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return FAKE["full_results"]()


@pytest.fixture
def results(made: dict[str, Any]) -> dict[str, Any]:
    """Results of schema version 2 with everything in them; each test has its own copy."""
    return json.loads(json.dumps(made))


@pytest.fixture(scope="module")
def pictures(made: dict[str, Any]) -> dict[str, bytes]:
    """Small pictures by the names that the figures of these results have; the browser test shows the figures."""
    figures = ("confusion", "per_class", "history", "roc_pr", "reliability", "operating", "reject", "energy")
    names = (*figures, *(mistake["picture"] for mistake in made["mistakes"]))
    return {name: FAKE["surface"](1, 8, 40) for name in names}


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

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def keys(report: Report) -> list[str]:
    return [section.key for section in report.sections]


def tables(report: Report, key: str) -> list[dict[str, Any]]:
    section = next(section for section in report.to_dict()["sections"] if section["key"] == key)
    return [block for block in section["blocks"] if block["kind"] == "table"]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_full_results_give_every_section(results: dict[str, Any], pictures: Mapping[str, bytes]) -> None:
    report = run_report(results, pictures)
    assert keys(report) == [
        "data", "scores", "confusion", "classes", "curves", "calibration", "operating", "plant", "reject", "learning",
        "energy", "gains", "mistakes", "slices", "notes", "configuration",
    ]  # fmt: skip
    page = Page(report.to_html())
    assert [tag["id"] for tag in page.of("section")] == ["verdict", *keys(report)]
    assert [tag["href"] for tag in page.of("a")] == ["#verdict", *(f"#{key}" for key in keys(report))]


@pytest.mark.parametrize(
    ("missing", "section"),
    [("calibration", "calibration"), ("operating_points", "operating"), ("reject", "reject"), ("slices", "slices")],
)
def test_what_is_missing_leaves_its_section_out(
    results: dict[str, Any], pictures: Mapping[str, bytes], missing: str, section: str
) -> None:
    results[missing] = None
    assert section not in keys(run_report(results, pictures))
    del results[missing]
    assert section not in keys(run_report(results, pictures))


def test_results_of_the_first_version_still_give_a_report(first_version: dict[str, Any]) -> None:
    report = run_report(first_version, {})
    assert keys(report) == ["data", "scores", "classes", "notes", "configuration"]
    assert [sentence.text for sentence in report.verdict] == [
        "Macro-F1 is 0.61 on 15 records of the test data.",
        "Recall of pore is 0.40 on 5 records, the lowest.",
        "absent has no example in the judged data: nothing is known of it.",
    ]
    assert sorted(report.csv_files()) == ["metrics.csv", "per_class.csv"]


def test_a_picture_that_is_not_there_leaves_no_gap(results: dict[str, Any]) -> None:
    report = run_report(results, {})
    assert not {"curves", "learning"} & set(keys(report))
    assert Page(report.to_html()).of("img") == []
    assert "part_" in report.to_html()  # the mistakes are listed all the same


def test_a_picture_of_an_unknown_name_is_shown(results: dict[str, Any], pictures: Mapping[str, bytes]) -> None:
    report = run_report(results, {**pictures, "attention_maps": b"png"})
    assert keys(report)[-2:] == ["pictures", "configuration"]
    assert {"alt": "Attention maps", "class": "photo"}.items() <= Page(report.to_html()).of("img")[-1].items()


def test_the_page_needs_nothing_else(results: dict[str, Any], pictures: Mapping[str, bytes]) -> None:
    page = Page(run_report(results, pictures).to_html())
    addresses = [
        value or ""
        for _, tag in page.tags
        for name, value in tag.items()
        if name in ("src", "href", "srcset", "action")
    ]
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert not {"link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    policy = next(tag["content"] or "" for tag in page.of("meta") if tag.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_every_picture_is_described_and_keeps_its_place(results: dict[str, Any], pictures: Mapping[str, bytes]) -> None:
    images = Page(run_report(results, pictures).to_html()).of("img")
    assert len(images) == len(pictures) - 1  # the confusion stands as a table
    assert all(len(image["alt"] or "") > 20 and int(image["width"] or 0) > 0 for image in images)
    described = {(image["alt"] or "").split(".")[0] for image in images}
    assert "ROC and precision-recall curve of each class against the rest" in described


def test_names_from_the_data_are_escaped_everywhere(results: dict[str, Any], pictures: Mapping[str, bytes]) -> None:
    """A class named as markup must neither run nor break the page: in tables, sentences, cards and descriptions."""
    evil = "<script>alert(1)</script>\"'`|"
    text = json.dumps(results).replace('scratch"', f'{json.dumps(evil)[1:-1]}"')
    report = run_report(json.loads(text), pictures)
    page = report.to_html()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert len(Page(page).of("script")) == 1
    assert "\\<script\\>" in report.to_markdown()
    assert all(line.count("|") - line.count("\\|") >= 2 for line in report.to_markdown().split("\n") if line[:1] == "|")


def test_undefined_values_are_dashes(first_version: dict[str, Any]) -> None:
    del first_version["test"]["per_class"]["absent"]
    first_version["test"]["per_class"]["riß"]["auroc"] = 0.75
    page = run_report(first_version, {}).to_html()
    assert '<td class="number " data-sort="0.75">0.750</td>' in page
    assert '<td class="number " data-sort="">\u2013</td>' in page


def test_settings_stand_as_they_were_written(first_version: dict[str, Any]) -> None:
    """The page once showed a weight decay of 0.0001 as 0.000."""
    first_version["hyper_parameters"] = {"optimizer.weight_decay": 0.0001, "training.ema_decay": None}
    settings = tables(run_report(first_version, {}), "configuration")[0]
    assert settings["rows"] == (("optimizer.weight_decay", "0.0001"), ("training.ema_decay", None))


def test_json_holds_the_same_content(results: dict[str, Any], pictures: Mapping[str, bytes]) -> None:
    report = run_report(results, pictures)
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["tone"] == "bad"
    assert [sentence["text"] for sentence in values["verdict"]] == [sentence.text for sentence in report.verdict]
    score = tables(report, "scores")[0]["rows"][0][1]
    low, high = results["test"]["intervals"]["scalars"]["macro_f1"]
    assert (score["value"], score["low"], score["high"]) == (results["test"]["scalars"]["macro_f1"], low, high)
    assert set(values["pictures"]) == set(pictures) - {"confusion"}


def test_csv_files_hold_every_number_at_full_precision(results: dict[str, Any]) -> None:
    files = run_report(results, {}).csv_files()
    metrics = {line["metric"]: line for line in rows(files["metrics.csv"])}
    assert float(metrics["macro_f1"]["value"]) == results["test"]["scalars"]["macro_f1"]
    assert float(metrics["macro_f1"]["low"]) == results["test"]["intervals"]["scalars"]["macro_f1"][0]
    assert float(metrics["plant/escape_rate"]["value"]) == results["test"]["plant"]["escape_rate"]
    classes = rows(files["per_class.csv"])
    assert [line["class"] for line in classes] == results["test"]["classes"]
    assert [line["too_few"] for line in classes] == ["0", "0", "0", "0", "0", "1"]
    assert float(classes[1]["recall_high"]) == results["test"]["intervals"]["per_class"]["scratch"]["recall"][1]
    cells = rows(files["confusion.csv"])
    assert len(cells) == 36
    assert sum(int(cell["count"]) for cell in cells) == results["test"]["num_records"]
    assert sum(float(cell["rate"]) for cell in cells if cell["truth"] == "pore") == pytest.approx(1)


def test_the_confusion_of_labels_is_one_against_the_rest(results: dict[str, Any]) -> None:
    results["test"] |= {"task": "multilabel", "confusion": [[[90, 4], [2, 8]]] * 6}
    report = run_report(results, {})
    first = rows(report.csv_files()["confusion.csv"])[:4]
    assert [tuple(cell.values()) for cell in first] == [
        ("good", "no", "no", "90", str(90 / 94)), ("good", "no", "yes", "4", str(4 / 94)),
        ("good", "yes", "no", "2", "0.2"), ("good", "yes", "yes", "8", "0.8"),
    ]  # fmt: skip
    found = tables(report, "confusion")[0]["rows"][0]
    assert [cell["count"] for cell in found[1:]] == [8, 2, 4, 90]


def test_many_classes_show_the_confusion_as_a_picture(results: dict[str, Any], pictures: Mapping[str, bytes]) -> None:
    results["test"]["confusion"] = [[1] * 20] * 20
    results["test"]["per_class"] = {f"c{index}": row(0.5, 20) for index in range(20)}
    report = run_report(results, pictures)
    assert tables(report, "confusion") == []
    assert "figure-confusion" in report.to_html()


def test_markdown_opens_with_the_verdict_and_keeps_to_a_message(results: dict[str, Any]) -> None:
    text = run_report(results, {}).to_markdown()
    lines = text.split("\n")
    assert lines[0] == "# Run view\\_classifier-20261121-091500-3f9c"
    assert lines[4].startswith("- Macro-F1 is 0.")
    assert "| class | records | parts | precision | recall | F1 | AUROC | AP | judgement |" in lines
    assert "weight_decay" not in text
    assert len(text) < 10_000


def test_pictures_are_inlined_byte_for_byte(first_version: dict[str, Any]) -> None:
    page = Page(run_report(first_version, {"samples": b"any bytes"}).to_html())
    assert page.of("img")[0]["src"] == "data:image/png;base64," + base64.b64encode(b"any bytes").decode()
    assert page.of("img")[0]["alt"] == (
        "Records of the test part whose scores are farthest from the truth, worst first."
    )


def test_an_empty_report_is_a_page() -> None:
    page = Report("t", "s", (), ()).to_html()
    assert page.startswith("<!doctype html>")
    assert "<h1>t</h1>" in page


def test_refused_points_say_why_and_certificates_stand_in_words(results: dict[str, Any]) -> None:
    report = run_report(results, {})
    page = report.to_html()
    assert "<code>every edge crack</code> is refused: recall 0.98 of edge crack" in page
    points = {line[0]: line for line in tables(report, "operating")[1]["rows"]}
    assert str(points["find scratches"][2]).startswith("recall of scratch is at least 0.9")
    assert points["every edge crack"][2]["text"] == "not given"


def test_gains_that_an_interval_does_not_show_are_called_so(results: dict[str, Any]) -> None:
    text = run_report(results, {}).to_markdown()
    assert "Test-time augmentation gains: the interval of the difference leaves zero out." in text
    assert "Ensemble: no difference shown." in text
    results["tta"]["gain"] |= {"low": -0.02, "high": -0.01}
    assert "Test-time augmentation loses" in run_report(results, {}).to_markdown()


def test_the_limit_below_which_a_human_decides_is_told_with_what_it_reaches(results: dict[str, Any]) -> None:
    """The report had the curve alone: nobody could read at which score the saved model calls a human."""
    assert "go to a human." not in run_report(results, {}).to_html()
    results["reject"] |= {"limit": 0.8214, "reached": {"coverage": 0.9, "error": 0.0125}}
    assert (
        "Fixed on validation: parts with a score below 0.821 go to a human. Of the test part the model decides 90.0%, "
        "1.2% of them wrongly."
    ) in run_report(results, {}).to_html()


def test_eight_views_are_four_where_an_image_is_not_square(results: dict[str, Any]) -> None:
    """A strip judged in its four views was told to have been judged in eight."""
    assert "views of each image: 4\n" in run_report(results, {}).to_markdown()
    results["tta"]["runs"] = 8
    assert "views of each image: 8 (4 where it is not square)\n" in run_report(results, {}).to_markdown()


@pytest.mark.parametrize(("kind", "chart"), [("windows", True), (None, False)])
def test_mistaken_windows_are_charts_and_pictures_are_not(kind: str | None, chart: bool) -> None:
    """Plots of signals glared white on a dark page, in cards too small to read; a photograph must not be inverted."""
    row = {"id": "r1", "truth": ["a"], "predicted": ["b"], "picture": "mistake-01"}
    results = {"judged_part": "test", "model": {"input": {"kind": kind}}, "mistakes": [row]}
    (gallery,) = mistakes_section(results).blocks
    assert gallery.cards[0].picture.chart is chart
