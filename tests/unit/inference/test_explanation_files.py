"""Explanations as files: figures, raw maps, and none in the place of another."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ringlight.errors import ConfigError, DataError, WorkspaceError
from ringlight.inference.explaining import Explanation, write_explanations
from ringlight.inference.explanation_files import explanation_png, safe_name

PICTURE = np.full((300, 400), 90, np.uint8)
HEAT = np.linspace(0, 1, 300 * 400, dtype=np.float32).reshape(300, 400)


def explanation(key: str = "part 1", label: str = "crack", **changes: object) -> Explanation:
    values = {"id": key, "label": label, "probability": 0.9, "map": HEAT, "method": "grad_cam", "item": PICTURE}
    return Explanation(**(values | changes))  # type: ignore[arg-type]


def test_each_is_a_picture_with_a_legend_and_a_map(tmp_path: Path) -> None:
    files = write_explanations(tmp_path / "new" / "folder", [explanation("a.png"), explanation("b.png", "Riß")])
    assert [file.name for file in files[:2]] == ["a.png__crack.png", "a.png__crack.npy"]
    assert len(files) == len(set(files)) == 4
    np.testing.assert_array_equal(np.load(files[1]), HEAT)
    with Image.open(files[0]) as drawn:
        assert drawn.width == 400
        assert drawn.height > 300
    assert write_explanations(tmp_path, [explanation()], raw=False) == [
        tmp_path / f"{safe_name('part 1')}__crack.png"
    ]  # fmt: skip


def test_no_two_share_a_file_and_none_leaves_the_folder(tmp_path: Path) -> None:
    keys = ["a/b", "a_b", "a b", "a:b", "../a_b", ".", "..", "", "x" * 300, "x" * 299, "é", "a__b", "a_b-0123456789"]
    names = [safe_name(key) for key in keys]
    assert len(set(names)) == len(keys)
    assert all("/" not in name and not name.startswith(".") and 0 < len(name) <= 111 for name in names)
    small = [explanation(key, item=PICTURE[:20, :20], map=HEAT[:20, :20]) for key in keys]
    files = write_explanations(tmp_path, [*small, explanation("a", "b__c"), explanation("a__b", "c")], raw=False)
    assert len({file.resolve() for file in files}) == len(keys) + 2
    assert {file.parent for file in files} == {tmp_path}


def test_windows_are_drawn_by_channel() -> None:
    window = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    one = explanation(map=window / 10, item=window, channels=("$p$", "q"), sampling_rate=50.0, method="occlusion")
    with Image.open(io.BytesIO(explanation_png(one))) as drawn:
        assert drawn.size == (750, 260)


def test_faults_are_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"style: expected a style of overlay, got `blond`; did you mean `blend`"):
        write_explanations(tmp_path, [explanation()], style="blond")
    with pytest.raises(DataError, match=r"gone\.png"):
        write_explanations(tmp_path, [explanation(item=tmp_path / "gone.png")])
    with pytest.raises(DataError, match=r"overlay: expected a map of 300 x 400, as the picture, got \(20, 20\); pass"):
        write_explanations(tmp_path, [explanation(map=HEAT[:20, :20])])
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError):
        write_explanations(tmp_path / "file", [explanation()])
