"""The report in a real browser: light, dark and on paper; sorting works; nothing leaves the page."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ringlight.evaluation.report import run_report

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "data" / "report" / "make.py"))
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DARK, LIGHT = 0, 1
"""Chromium's values of `preferredColorScheme`."""


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of Chromium; the test is skipped without one, and fails in CI."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        reason = f"a browser: expected one of {', '.join(NAMES)} on the path, got none; install Debian's chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    made: dict[str, Any] = FAKE["full_results"]()
    return made


@pytest.fixture(scope="module")
def report(results: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of full results, with their figures."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(run_report(results, FAKE["full_pictures"](results, dpi=60)).to_html(), encoding="utf-8")
    return path


class Browser:
    """Chromium without a window, a profile of its own for each call."""

    def __init__(self, path: str, folder: Path) -> None:
        self.path, self.folder, self.calls = path, folder, 0

    def __call__(self, address: str, *options: str, scheme: int = LIGHT) -> subprocess.CompletedProcess[str]:
        self.calls += 1
        profile = self.folder / f"profile-{self.calls}"
        command = [
            self.path, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
            f"--user-data-dir={profile}", f"--blink-settings=preferredColorScheme={scheme}", "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND", *options, address,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done


@pytest.fixture
def chromium(browser: str, tmp_path: Path) -> Browser:
    return Browser(browser, tmp_path)


class Dom(HTMLParser):
    """The first column and the sorted header of the first table in a section, and the ids of all sections."""

    def __init__(self, text: str, section: str) -> None:
        super().__init__()
        self.section, self.inside, self.finished = section, False, False
        self.sections: list[str] = []
        self.buttons = 0
        self.orders: list[str] = []
        self.first_column: list[str] = []
        self._reading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "section":
            self.sections.append(values.get("id") or "")
            self.inside = self.sections[-1] == self.section
        if not self.inside or self.finished:
            return
        self.buttons += tag == "button"
        if tag == "th" and values.get("aria-sort"):
            self.orders.append(values["aria-sort"] or "")
        self._reading = tag == "th" and values.get("scope") == "row"

    def handle_data(self, data: str) -> None:
        if self._reading and data.strip():
            self.first_column.append(data.strip())
            self._reading = False

    def handle_endtag(self, tag: str) -> None:
        self.finished = self.finished or (self.inside and tag == "table")


def test_every_section_is_there_and_the_script_runs(chromium: Browser, report: Path, results: dict[str, Any]) -> None:
    done = chromium(report.as_uri(), "--dump-dom")
    dom = Dom(done.stdout, "classes")
    assert dom.sections == [
        "verdict", "data", "scores", "confusion", "classes", "curves", "calibration", "operating", "plant", "reject",
        "learning", "energy", "gains", "mistakes", "slices", "notes", "configuration",
    ]  # fmt: skip
    assert dom.first_column == list(results["dataset"]["classes"])
    assert dom.buttons == 9  # each header of the table of classes
    assert dom.orders == []
    # Chromium names on stderr what a page's policy refused, and every script error, as CONSOLE lines.
    assert "CONSOLE" not in done.stderr


@pytest.mark.parametrize(("column", "key", "order"), [(0, None, "ascending"), (4, "recall", "descending")])
def test_a_table_sorts_by_a_click_on_its_header(
    chromium: Browser, report: Path, results: dict[str, Any], column: int, key: str | None, order: str
) -> None:
    """The address `#sort=classes.4` presses the header's button, as a reader would."""
    dom = Dom(chromium(f"{report.as_uri()}#sort=classes.{column}", "--dump-dom").stdout, "classes")
    rows = results["test"]["per_class"]
    expected = sorted(rows) if key is None else sorted(rows, key=lambda name: -rows[name][key])
    assert dom.first_column == expected
    assert dom.orders == [order]


def test_nothing_that_a_page_could_fetch_or_run_gets_through(chromium: Browser, report: Path, tmp_path: Path) -> None:
    """Proof that the policy holds: smuggled in behind it, neither a script nor a picture from elsewhere works."""
    smuggled = "<script>document.title = 'taken over'</script><img src='https://example.invalid/x.png'>"
    page = report.read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)=\"(?!data:image/png;base64,|#)", page)
    assert not re.findall(r"url\(|@import", page)
    path = tmp_path / "smuggled.html"
    path.write_text(page.replace("</main>", f"{smuggled}</main>"), encoding="utf-8")
    done = chromium(path.as_uri(), "--dump-dom")
    assert "<title>taken over</title>" not in done.stdout
    assert done.stderr.count("Content Security Policy") >= 2


@pytest.mark.parametrize(("scheme", "low", "high"), [(LIGHT, 235, 255), (DARK, 0, 40)])
def test_the_page_follows_the_reader_s_colours(
    chromium: Browser, report: Path, tmp_path: Path, scheme: int, low: int, high: int
) -> None:
    """Charts are drawn on white: in the dark they have to turn over with the page, not glare."""
    picture = tmp_path / "page.png"
    chromium(report.as_uri(), "--window-size=1280,6000", f"--screenshot={picture}", scheme=scheme)
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert low <= np.median(pixels) <= high
    darkest, brightest = np.percentile(pixels, [0.5, 99.5])
    assert brightest - darkest > 150  # there is text, and it can be read
    glaring = (pixels > 245).mean()
    assert glaring < 0.01 if scheme == DARK else glaring > 0.6


def test_what_is_folded_on_the_screen_is_on_the_paper(
    chromium: Browser, report: Path, tmp_path: Path, results: dict[str, Any]
) -> None:
    """Whoever signs the paper signs the configuration too: with it the report has more sheets than without."""
    sheets = {}
    for name, page in {
        "whole": report.read_text(encoding="utf-8"),
        "shut": re.sub(r"<details>.*?</details>", "", report.read_text(encoding="utf-8"), flags=re.DOTALL),
    }.items():
        path = tmp_path / f"{name}.html"
        path.write_text(page, encoding="utf-8")
        paper = tmp_path / f"{name}.pdf"
        chromium(path.as_uri(), "--no-pdf-header-footer", f"--print-to-pdf={paper}", scheme=DARK)
        sheets[name] = len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes()))
    assert len(results["hyper_parameters"]) > 20
    assert 6 <= sheets["shut"] < sheets["whole"] <= 16
