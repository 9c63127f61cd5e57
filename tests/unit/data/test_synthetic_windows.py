"""The simulated rig as a data set: counts, groups, bytes by seed, refusals; as hard as it is asked to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from ringlight.data.air_leak_rig import CHANNELS, CLASSES
from ringlight.data.synthetic_windows import SyntheticWindowsSource
from ringlight.data.window_store import WindowReader
from ringlight.errors import DataError
from ringlight.types import Dataset


def rig(root: Path, **changes: Any) -> SyntheticWindowsSource:
    return SyntheticWindowsSource(root, **{"num_windows": 40, "length": 128, "windows_per_recording": 4, **changes})


def values(dataset: Dataset) -> np.ndarray:
    return WindowReader.of(dataset).read(np.arange(len(dataset)))


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_load_returns_windows_of_the_rig_in_physical_units(tmp_path: Path) -> None:
    data = rig(tmp_path / "rig").load()
    assert (data.classes, data.task, len(data)) == (CLASSES, "multiclass", 40)
    assert data.signals is not None
    assert (data.signals.channels, data.signals.length, data.signals.sampling_rate) == (CHANNELS, 128, 1000.0)
    seen = values(data)
    assert seen.shape == (40, 128, 9)
    assert 5 < seen[..., 0].mean() < 8, "bar"
    assert WindowReader.of(data).raw([0]).dtype == np.int16


def test_recordings_are_groups_of_one_class_that_follow_each_other_in_time(tmp_path: Path) -> None:
    data = rig(tmp_path / "rig", num_windows=42).load()
    groups, labels = np.array(data.groups), data.targets()
    sizes = {group: int((groups == group).sum()) for group in groups}
    assert sorted(sizes.values()) == [2, *[4] * 10]
    assert all(len(set(labels[groups == group])) == 1 for group in sizes)
    times = data.table["time"].to_numpy()
    np.testing.assert_allclose(np.diff(times), 0.128)


def test_class_shares_are_met_exactly_by_recordings_in_a_mixed_order(tmp_path: Path) -> None:
    data = rig(tmp_path / "rig", num_windows=80, class_shares=[0.5, 0.25, 0.25, 0.0]).load()
    assert list(data.class_counts().values()) == [40, 20, 20, 0]
    assert len(set(data.targets()[:20].tolist())) > 1


def test_windows_of_a_recording_differ_but_share_the_sensors_errors(tmp_path: Path) -> None:
    """Offsets are a recording's: a random fold would recognise the recording and not the leak."""
    data = rig(tmp_path / "rig", num_windows=80, difficulty=1.0, class_shares=[1, 0, 0, 0]).load()
    upright = values(data)[..., 8].mean(1).reshape(20, 4)
    assert upright.std(1).mean() < 0.5 * upright.mean(1).std()
    assert len(np.unique(values(data)[:, 0, 0])) > 40


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        rig(tmp_path / name, seed=seed).load()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a")["windows/X.npy"] != contents(tmp_path / "c")["windows/X.npy"]


def test_bytes_do_not_depend_on_how_many_are_simulated_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rig(tmp_path / "whole").load()
    monkeypatch.setattr("ringlight.data.synthetic_windows.BLOCK_SAMPLES", 128 * 7)
    pieces = rig(tmp_path / "pieces").load()
    np.testing.assert_allclose(WindowReader.of(whole).raw(range(40)), WindowReader.of(pieces).raw(range(40)), atol=1)


def test_second_load_reads_what_the_first_wrote(tmp_path: Path) -> None:
    first = rig(tmp_path / "rig").load()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "rig").rglob("*")}
    assert rig(tmp_path / "rig").load().table.equals(first.table)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "rig").rglob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["rig"]


def test_windows_made_with_other_parameters_are_refused_naming_them(tmp_path: Path) -> None:
    rig(tmp_path / "rig").load()
    with pytest.raises(DataError, match=r"expected windows made with the same parameters, got difficulty 0\.5 instead"):
        rig(tmp_path / "rig", difficulty=0.9).load()


def test_a_damaged_table_and_one_of_another_length_are_refused(tmp_path: Path) -> None:
    rig(tmp_path / "rig").load()
    rig(tmp_path / "other", num_windows=8).load()
    table = tmp_path / "rig" / "labels.parquet"
    table.write_bytes((tmp_path / "other" / "labels.parquet").read_bytes())
    with pytest.raises(DataError, match="expected 40 labels, one a window, got 8; choose another"):
        rig(tmp_path / "rig").load()
    table.write_bytes(b"")
    with pytest.raises(DataError, match=r"expected a readable labels\.parquet"):
        rig(tmp_path / "rig").load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_windows": 0}, "data.num_windows: expected 1 or more, got 0"),
        ({"length": 10}, "data.length: expected 64 to 1,000,000 samples, got 10"),
        ({"sampling_rate": 50.0}, "data.sampling_rate: expected 500 to 20,000 hertz, got 50.0"),
        ({"difficulty": -0.1}, "data.difficulty: expected 0 to 1, got -0.1"),
        ({"class_shares": [1, 1]}, "data.class_shares: expected 4 shares of 0 or more, not all 0, got (1.0, 1.0)"),
        ({"class_shares": [0, 0, 0, 0]}, "data.class_shares: expected 4 shares of 0 or more, not all 0"),
        ({"windows_per_recording": 0}, "data.windows_per_recording: expected 1 or more, got 0"),
        ({"seed": -1}, "data.seed: expected 0 or more, got -1"),
    ],
)
def test_parameter_out_of_range_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        rig(tmp_path, **changes)
    assert str(caught.value).startswith(message)


def test_it_is_as_hard_as_asked_for_new_recordings(tmp_path: Path) -> None:
    """A forest on means, deviations and medians: nearly perfect at 0; at 1 far from it, and far above chance (1/4)."""

    def score(difficulty: float) -> float:
        root = tmp_path / str(difficulty)
        data = rig(root, num_windows=360, length=256, difficulty=difficulty, class_shares=[1, 1, 1, 1]).load()
        x = values(data)
        features = np.concatenate([x.mean(1), x.std(1), np.median(x, axis=1)], axis=1)
        forest = RandomForestClassifier(60, random_state=0)
        guess = cross_val_predict(forest, features, data.targets(), groups=data.groups, cv=GroupKFold(3))
        return float(balanced_accuracy_score(data.targets(), guess))

    easy, middle, hard = (score(difficulty) for difficulty in (0.0, 0.5, 1.0))
    assert easy > 0.97
    assert easy >= middle > hard + 0.05
    assert 0.45 < hard < 0.9
