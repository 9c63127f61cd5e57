"""A leak check from files: given groups are taken, like pictures are found, and what cannot be checked is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringlight.cli.main import main
from ringlight.errors import DataError, SplitError
from ringlight.models import weights
from ringlight.services import leaks
from ringlight.services.datasets import OpenedData, open_data
from ringlight.services.leaks import check_leaks

MakeImage = Callable[..., Path]
QUICK = "evaluation.num_resamples=200"
GIVEN = r"data.group_regex=(p\d+)_"


@pytest.fixture(autouse=True)
def _without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain descriptor is quicker, and the same on every machine."""
    monkeypatch.setattr(weights, "PACKAGES", ())


@pytest.fixture(autouse=True)
def _own_logging(own_logging: None) -> None:
    """Every test here may run the command line."""


@pytest.fixture
def parts(tmp_path: Path, make_image: MakeImage) -> Path:
    """Twenty parts in two classes, each in three exposures; nothing but the part says which class it is."""
    for part in range(20):
        rng = np.random.default_rng(part)
        surface = np.kron(rng.integers(60, 190, (16, 16)), np.ones((6, 6)))
        for exposure in range(3):
            noise = np.random.default_rng(100 * part + exposure).normal(0, 4, surface.shape)
            pixels = np.clip(surface * (0.8 + 0.2 * exposure) + noise, 0, 255).astype(np.uint8)
            path = tmp_path / "parts" / ("ok", "dent")[part % 2] / f"p{part:02}_{exposure}.png"
            make_image(path, pixels=pixels, mode="L")
    return tmp_path / "parts"


def opened(source: Path, *overrides: str) -> OpenedData:
    return open_data(str(source), [QUICK, *overrides], workspace=source.parent / "ws")


def test_given_groups_are_measured(parts: Path) -> None:
    found = check_leaks(opened(parts, GIVEN))
    assert (found.origin, found.num_records, found.num_groups, found.linked) == ("given groups", 60, 20, 60)
    assert found.obstacle is None
    assert found.probe is not None
    assert found.probe.shown
    assert found.probe.random.value - found.probe.grouped.value > 0.2
    values = found.to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["probe"]["sentence"] == found.probe.sentence


def test_exposures_of_a_part_are_found_and_drawn(parts: Path, tmp_path: Path) -> None:
    stages: list[tuple[str, int, int]] = []
    found = check_leaks(
        opened(parts),
        sheet=tmp_path / "pairs.png",
        progress=lambda what, done, total: stages.append((what, done, total)),
    )
    assert found.origin == "near-duplicates found in the files"
    assert (found.num_groups, found.linked) == (20, 60)
    assert found.probe is not None
    assert found.probe.shown
    assert found.sheet == tmp_path / "pairs.png"
    assert found.sheet.read_bytes().startswith(b"\x89PNG")
    assert {stage[0] for stage in stages} == {"near-duplicates", "features"}
    assert ("features", 60, 60) in stages


def test_the_groups_are_those_that_a_split_keeps_whole(parts: Path) -> None:
    data = opened(parts)
    found = check_leaks(data)
    assert data.split(None).groups == found.origin
    assert list((parts.parent / "ws" / "cache").glob("features-*.npz"))


def test_pairs_are_not_drawn_where_none_were_looked_for(parts: Path, tmp_path: Path) -> None:
    found = check_leaks(opened(parts, GIVEN), sheet=tmp_path / "pairs.png")
    assert found.sheet is None
    assert not (tmp_path / "pairs.png").exists()
    assert found.notes[0] == (
        "no contact sheet: given groups, no pairs were looked for; split.groups=duplicates looks for them"
    )


def test_pictures_that_are_all_different_leak_nothing(tile_folder: Path) -> None:
    found = check_leaks(opened(tile_folder))
    assert found.probe is None
    assert found.obstacle == "no group holds two records: a random split leaks nothing"
    assert found.num_groups == found.num_records == 15


def test_labels_alone_cannot_be_checked(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,scratch,pore\n" + "".join(f"r{n},{n % 2},{n % 3 == 0:d}\n" for n in range(12)))
    found = check_leaks(opened(tmp_path / "t.csv"), sheet=tmp_path / "pairs.png")
    assert found.obstacle == (
        "no content: leak check not possible; name the column that holds the paths: data.path_column=COLUMN"
    )
    assert (found.origin, found.notes, found.sheet) == ("", (), None)


def test_what_is_asked_for_and_not_there_is_refused(parts: Path) -> None:
    with pytest.raises(SplitError, match=r"split.groups=given: expected records with a group, got none"):
        check_leaks(opened(parts, "split.groups=given"))
    next(parts.rglob("*.png")).unlink()
    data = opened(parts)
    gone = next(parts.rglob("*.png"))
    gone.unlink()
    with pytest.raises(DataError, match="no such file"):
        check_leaks(data)


# --- on the command line ----------------------------------------------------------------------------------------------


def typed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr().out


def test_the_command_prints_both_numbers_and_the_sentence(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = ("data", "check", parts, QUICK, "--workspace", tmp_path / "ws")
    code, plain = typed(capsys, *check)
    assert (code, "leaks" in plain) == (0, False)
    code, text = typed(capsys, *check, "--leaks", "--sheet", tmp_path / "pairs.png")
    assert code == 0
    assert "60 records and their images checked, nothing found\n" in text
    assert "groups: near-duplicates found in the files; 20 groups, 60 of 60 records share theirs with another\n" in text
    assert "class-balanced logistic regression on plain pixel features, 5 folds\nsplit" in text
    assert " points are leakage; only the grouped score holds for new parts\n" in text
    assert text.endswith(f"written: {tmp_path / 'pairs.png'}\n")
    code, text = typed(capsys, *check, "--leaks", "--json")
    values = json.loads(text)
    assert values["findings"] == []
    assert values["leaks"]["probe"]["shown"] is True


def test_errors_come_before_leaks(parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next(parts.rglob("*.png")).write_bytes(b"")
    check = ("data", "check", parts, "--leaks", "--workspace", tmp_path / "ws")
    code, text = typed(capsys, *check)
    assert code == 2
    assert text.endswith("leaks: not looked for; mend the errors first\n")
    code, text = typed(capsys, *check, "--json")
    assert code == 2
    assert json.loads(text)["leaks"] is None


def test_an_obstacle_is_said(tile_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = typed(capsys, "data", "check", tile_folder, "--leaks", "--workspace", tmp_path / "ws")
    assert code == 0
    assert text.endswith("leaks: no group holds two records: a random split leaks nothing\n")


def test_weights_of_the_users_folder_are_looked_for(parts: Path, tmp_path: Path, monkeypatch: Any) -> None:
    asked: list[tuple[Path | None, str]] = []
    plain = leaks.embedder()

    def choose(folder: Path | None, device: str) -> Any:
        asked.append((folder, device))
        return plain

    monkeypatch.setattr(leaks, "embedder", choose)
    (tmp_path / "weights").mkdir()
    check_leaks(opened(parts, GIVEN, f"weights.folder={tmp_path / 'weights'}", "training.device=cpu"))
    assert asked == [(tmp_path / "weights", "cpu")]
