"""What a model expects of a window, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ringlight.data.window_spec import WindowSpec, check_windows
from ringlight.data.window_store import write_store
from ringlight.errors import DataError
from ringlight.types import Dataset, Record, Signals

CHANNELS = ("pressure", "flow")
SPEC = WindowSpec(CHANNELS, 8, 10.0, normalize="channel", mean=(5.0, -1.0), std=(2.0, 0.5))


def dataset_of(folder: Path, windows: np.ndarray, scale: tuple[float, ...] = ()) -> Dataset:
    write_store(folder, [windows], channels=CHANNELS, length=windows.shape[1], scale=scale)
    records = [Record(id=str(row), uri=f"{folder / 'X.npy'}#{row}", labels=(row % 2,)) for row in range(len(windows))]
    signals = Signals(channels=CHANNELS, length=windows.shape[1])
    return Dataset.from_records(records, ["a", "b"], "multiclass", signals=signals)


def noise(count: int = 20, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(count, 8, 2)) * (2, 0.5) + (5, -1)).astype(np.float32)


def test_channels_are_normalised_by_mean_and_deviation():
    windows = noise()
    expected = ((windows - np.array([5, -1])) / np.array([2, 0.5])).transpose(0, 2, 1)
    made = SPEC.apply(windows)
    assert made.is_contiguous()
    np.testing.assert_allclose(made.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_windows_are_normalised_by_themselves_and_a_still_channel_becomes_zero():
    windows = noise()
    windows[3, :, 1] = 0.1  # no float32: the mean of eight of them is not exactly one of them
    made = WindowSpec(CHANNELS, 8, normalize="window").apply(windows).numpy()
    for row, window in enumerate(windows):
        for channel in range(2):
            values = window[:, channel].astype(np.float64)
            deviation = values.std()
            expected = np.zeros(8) if (row, channel) == (3, 1) else (values - values.mean()) / deviation
            np.testing.assert_allclose(made[row, channel], expected, rtol=1e-4, atol=1e-5)


def test_values_are_left_as_they_are():
    windows = noise()
    np.testing.assert_array_equal(
        WindowSpec(CHANNELS, 8, normalize="none").apply(windows).numpy(), windows.transpose(0, 2, 1)
    )


def test_what_is_standardised_can_be_restored():
    windows = noise()
    np.testing.assert_allclose(SPEC.restored(SPEC.standardised(windows)), windows, rtol=1e-5, atol=1e-6)


def test_the_moments_are_those_of_numpy_over_the_training_rows(tmp_path, monkeypatch):
    """A large offset once cost all digits: sums of squares in float32 know no deviation of 0.01 around 100,000."""
    monkeypatch.setattr("ringlight.data.window_store.BLOCK_VALUES", 50)
    windows = noise(40) * 0.01 + np.float32(100_000)
    rows = np.arange(3, 40, 2)
    spec = WindowSpec.fit(dataset_of(tmp_path / "s", windows), rows, normalize="channel")
    part = windows[rows].reshape(-1, 2).astype(np.float64)
    np.testing.assert_allclose(spec.mean, part.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(spec.std, part.std(axis=0), rtol=1e-9)


def test_the_deviation_of_a_dead_channel_is_one(tmp_path):
    windows = noise()
    windows[..., 1] = 0.1
    spec = WindowSpec.fit(dataset_of(tmp_path / "s", windows), normalize="channel")
    assert spec.std[1] == 1.0
    assert not spec.apply(windows)[:, 1].any()


def test_per_window_normalisation_measures_nothing(tmp_path):
    spec = WindowSpec.fit(dataset_of(tmp_path / "s", noise()), normalize="window")
    assert (spec.mean, spec.std) == ((), ())


def test_values_that_are_not_finite_are_refused_when_fitting(tmp_path):
    windows = noise()
    windows[4, 2, 1] = np.nan
    with pytest.raises(DataError, match="window 4, channel `flow`: expected finite values, got NaN"):
        WindowSpec.fit(dataset_of(tmp_path / "s", windows), normalize="channel")


def test_it_survives_json():
    plain = json.loads(json.dumps(SPEC.to_dict()))
    assert next(iter(plain.items())) == ("kind", "windows")
    assert WindowSpec.from_dict(plain) == SPEC
    assert SPEC.in_chans == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"std": (0.0, 1.0)}, r"input\.std: expected numbers above 0, got \(0\.0, 1\.0\)"),
        ({"mean": (1.0,)}, r"input\.mean: expected 2 finite numbers, one a channel, got \(1\.0,\)"),
        ({"mean": (), "std": ()}, r"input\.mean: expected 2 finite numbers, one a channel, got \(\)"),
        ({"normalize": "batch"}, r"input\.normalize: expected channel, window or none, got 'batch'"),
        ({"channels": ("a", "a")}, r"input\.channels: expected every name once"),
        ({"length": 0}, r"input\.length: expected a whole number above 0, got 0"),
        ({"sampling_rate": -1.0}, r"input\.sampling_rate: expected None or a number above 0"),
    ],
)
def test_values_out_of_range_are_refused(change, message):
    values = {name: value for name, value in SPEC.to_dict().items() if name != "kind"} | change
    with pytest.raises(DataError, match=message):
        WindowSpec(**values)


def test_a_file_with_other_keys_is_refused():
    values = SPEC.to_dict()
    with pytest.raises(DataError, match="got `lenght`; did you mean `length`"):
        WindowSpec.from_dict({**values, "lenght": 3})
    del values["length"]
    with pytest.raises(DataError, match=r"input\.length: expected a value"):
        WindowSpec.from_dict(values)


class TestCheckWindows:
    def test_good_windows_come_back_as_float32(self):
        found = check_windows(noise().astype(np.float64), SPEC, channels=list(CHANNELS))
        assert found.dtype == np.float32
        assert found.shape == (20, 8, 2)

    def test_whole_numbers_and_lists_are_taken(self):
        assert check_windows(np.ones((1, 8, 2), int).tolist(), SPEC).tolist() == np.ones((1, 8, 2)).tolist()

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((8, 2)), r"X: expected windows of shape \(N, 8, 2\), got shape \(8, 2\); pass a single window"),
            (np.zeros((4, 16)), r"got shape \(4, 16\); stack the windows along the first axis"),
            (np.zeros((4, 2, 8)), r"got shape \(4, 2, 8\); time comes before channels"),
            (np.zeros((4, 8, 3)), r"X: expected 2 channels \(pressure, flow\), got 3 \(shape \(4, 8, 3\)\)"),
            (np.zeros((4, 9, 2)), r"X: expected windows of 8 samples, got 9 samples; cut the signal"),
            (np.zeros((4, 8, 2), complex), "X: expected numbers, got type complex128"),
            (np.full((4, 8, 2), "a"), "X: expected numbers, got type <U1"),
        ],
    )
    def test_another_shape_or_type_is_refused(self, array, message):
        with pytest.raises(DataError, match=message):
            check_windows(array, SPEC, where="X")

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["flow", "pressure"], "got another order: `flow` at place 1 instead of `pressure`; reorder the channels"),
            (["pressure", "flwo"], "got without `flow` and with unknown `flwo`.*did you mean `flow`"),
            (["pressure"], "got without `flow`; pass the channels"),
            (["pressure", "flow", "flow"], "got a name twice"),
        ],
    )
    def test_swapped_or_missing_channels_are_named(self, names, message):
        """Swapped sensors once gave confident nonsense."""
        with pytest.raises(DataError, match=f"windows: expected the channels pressure, flow, {message}"):
            check_windows(np.zeros((1, 8, 2)), SPEC, channels=names)

    def test_gaps_are_named(self):
        windows = noise()
        windows[2, 3, 0] = np.inf
        with pytest.raises(
            DataError, match=r"window 2, channel `pressure`: .*an infinite value \(in 1 of 20 windows\)"
        ):
            check_windows(windows, SPEC)

    def test_a_channel_without_any_value_is_told_as_one(self):
        windows = noise()
        windows[..., 1] = np.nan
        with pytest.raises(DataError, match="windows: channel `flow`: expected finite values, got NaN in every window"):
            check_windows(windows, SPEC)


def test_a_model_of_images_and_one_of_windows_are_told_apart():
    with pytest.raises(DataError, match="parts: expected windows of a signal, got images"):
        SPEC.require(None, "parts")
    with pytest.raises(DataError, match="expected windows of 8 samples, got 9"):
        SPEC.require(Signals(channels=CHANNELS, length=9), "parts")
