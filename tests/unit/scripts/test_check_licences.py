"""The licence check: the walk over requirements, and the verdicts."""

from __future__ import annotations

import importlib.util
import sys
from email.message import Message
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "check_licences.py"


class FakeDistribution:
    """As much of `importlib.metadata.Distribution` as the check reads."""

    def __init__(self, *requires: str, version: str = "1.0", **headers: str | list[str]) -> None:
        self.requires = list(requires)
        self.version = version
        self.metadata = Message()
        for key, value in headers.items():
            for line in [value] if isinstance(value, str) else value:
                self.metadata[key.replace("_", "-")] = line


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_licences", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def installed(check, monkeypatch):
    """Replace the installed distributions by the given ones."""

    def install(**packages: FakeDistribution) -> None:
        def distribution(name: str) -> FakeDistribution:
            if name not in packages:
                raise check.PackageNotFoundError(name)
            return packages[name]

        monkeypatch.setattr(check, "distribution", distribution)

    return install


@pytest.mark.parametrize(
    "licence",
    [
        "MIT",
        "Apache Software License",
        "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0",
        "MPL-2.0 AND MIT",
        "MIT-CMU",
        "3-Clause BSD License",
        "ISC License (ISCL)",
        "Apache-2.0 WITH LLVM-exception",
        "MIT OR GPL-2.0-or-later",
        "(MIT OR Apache-2.0) AND BSD-3-Clause",
    ],
)
def test_permissive_licences_may_stay(check, licence):
    finding = check.judge("part", "1", licence)
    assert (finding.problem, finding.note) == ("", "")


@pytest.mark.parametrize(
    "licence",
    [
        "GPL-3.0-only",
        "AGPL-3.0",
        "GNU General Public License v2 (GPLv2)",
        "GNU Affero General Public License v3",
        "MIT AND GPL-2.0-only",
        "(MIT OR Apache-2.0) AND GPL-3.0-only",
    ],
)
def test_gpl_and_agpl_are_refused(check, licence):
    assert check.judge("part", "1", licence).problem == "GPL or AGPL"


def test_a_review_does_not_excuse_the_gpl(check, monkeypatch):
    monkeypatch.setitem(check.REVIEWED, "part", "somebody looked at an older release")
    assert check.judge("part", "1", "GPL-3.0-only").problem == "GPL or AGPL"


@pytest.mark.parametrize("licence", ["LGPL-2.1-or-later", "GNU Lesser General Public License v3 (LGPLv3)"])
def test_lgpl_may_stay_and_is_named(check, licence):
    finding = check.judge("part", "1", licence)
    assert (finding.problem, finding.note) == ("", "LGPL: used, not changed")


@pytest.mark.parametrize("licence", ["", "see LICENCE.txt", "SSPL-1.0", "MIT AND SSPL-1.0", "LicenseRef-Proprietary"])
def test_a_licence_nobody_looked_at_is_refused(check, licence):
    assert check.judge("part", "1", licence).problem.startswith("unknown")


def test_a_reviewed_distribution_may_stay_with_its_reason(check):
    finding = check.judge("nvidia-cublas", "13", "LicenseRef-NVIDIA-Proprietary")
    assert finding.problem == ""
    assert "NVIDIA" in finding.note


def test_the_expression_goes_before_classifiers_and_those_before_the_text(check):
    text = "Copyright (c) somebody\nMIT"
    classifier = "License :: OSI Approved :: BSD License"
    both = FakeDistribution(License=text, Classifier=[classifier, "Programming Language :: Python"])
    assert check.stated_licence(FakeDistribution(License=text, License_Expression="ISC")) == "ISC"
    assert check.stated_licence(both) == "BSD License"
    assert check.stated_licence(FakeDistribution(License="\n  " + text)) == "Copyright (c) somebody"
    assert check.stated_licence(FakeDistribution(Classifier="License :: OSI Approved")) == ""


def test_the_walk_follows_markers_and_the_extras_that_are_asked_for(check, installed):
    installed(
        root=FakeDistribution("tools[fast]>=1", "old; python_version < '3'", "yolo; extra == 'yolo'"),
        tools=FakeDistribution("speed; extra == 'fast'", "docs; extra == 'docs'", "root"),
        speed=FakeDistribution(),
    )
    found, missing = check.closure("root")
    assert sorted(found) == ["root", "speed", "tools"]
    assert missing == []


def test_an_extra_asked_for_later_is_still_followed(check, installed):
    """A distribution met first without and then with an extra was once walked only without it."""
    installed(
        root=FakeDistribution("tools", "other"),
        other=FakeDistribution("tools[fast]"),
        tools=FakeDistribution("speed; extra == 'fast'"),
        speed=FakeDistribution(),
    )
    assert "speed" in check.closure("root")[0]


def test_a_fault_fails_the_check_and_names_the_distribution(check, installed, capsys):
    installed(
        root=FakeDistribution("viral", "absent", License_Expression="MIT"),
        viral=FakeDistribution(License_Expression="AGPL-3.0"),
    )
    assert check.main("root") == 1
    printed = capsys.readouterr()
    assert "viral 1.0" in printed.out
    assert "✗ GPL or AGPL" in printed.out
    assert "got viral; replace or review them" in printed.err
    assert "absent: expected it installed, got nothing" in printed.err


def test_the_core_of_this_installation_passes(check, capsys):
    assert check.main() == 0
    assert "torch" in capsys.readouterr().out
