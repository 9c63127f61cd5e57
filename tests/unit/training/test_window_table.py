"""Features of windows: computed once, kept by contents, settings and specification."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringlight.data.window_spec import WindowSpec
from ringlight.errors import DataError, InterruptedRunError
from ringlight.models import build_sequence_model
from ringlight.models.window_features import window_features
from ringlight.training.arrays import dataset_of
from ringlight.training.window_table import plain_window_vectors, window_table
from ringlight.types import Dataset, Record


def values(count: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 32, 2)).astype(np.float32)


def data_of(folder: Path, windows: np.ndarray | None = None, **options: Any) -> Dataset:
    taken = values() if windows is None else windows
    return dataset_of(taken, np.arange(len(taken)) % 3, folder=folder, **options)


def spec_of(normalize: Any = "none") -> WindowSpec:
    extra = {"mean": (0.5, 1.0), "std": (2.0, 3.0)} if normalize == "channel" else {}
    return WindowSpec(("channel 0", "channel 1"), 32, normalize=normalize, **extra)


def model_of(**params: Any) -> Any:
    return build_sequence_model("svm", num_classes=3, in_chans=2, length=32, params=params).module


class Counting:
    """Counts the windows that a model describes."""

    def __init__(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.windows = 0
        describe = model.describe

        def counted(windows: Any) -> Any:
            self.windows += len(windows)
            return describe(windows)

        monkeypatch.setattr(model, "describe", counted)


def test_a_second_model_with_the_same_description_reads_what_the_first_computed(tmp_path, monkeypatch, caplog):
    data, cache = data_of(tmp_path), tmp_path / "cache"
    first = window_table(model_of(), data, spec_of(), cache=cache)
    model = model_of(C=3.0)
    counted = Counting(model, monkeypatch)
    second = window_table(model, data, spec_of(), cache=cache)
    assert counted.windows == 1  # it asks for the number of features
    np.testing.assert_array_equal(first.features, second.features)
    assert len(list(cache.glob("features-*.npz"))) == 1
    expected = model_of().describe(spec_of().apply(values())).numpy()
    np.testing.assert_array_equal(first.of(data), expected)


def test_other_settings_other_normalisation_and_other_windows_are_kept_apart(tmp_path):
    data, cache = data_of(tmp_path), tmp_path / "cache"
    window_table(model_of(), data, spec_of(), cache=cache)
    window_table(model_of(invariance="offset"), data, spec_of(), cache=cache)
    window_table(model_of(), data, spec_of("channel"), cache=cache)
    window_table(model_of(), data_of(tmp_path, values(seed=1)), spec_of(), cache=cache)
    assert len(list(cache.glob("features-*.npz"))) == 4


def test_labels_and_order_need_no_new_pass_and_rows_follow_their_ids(tmp_path, monkeypatch):
    data, cache = data_of(tmp_path), tmp_path / "cache"
    table = window_table(model_of(), data, spec_of(), cache=cache)
    model = model_of()
    counted = Counting(model, monkeypatch)
    turned = data.take(np.arange(12)[::-1]).with_column("labels", [[0]] * 12)
    np.testing.assert_array_equal(window_table(model, turned, spec_of(), cache=cache).of(data), table.of(data))
    assert counted.windows == 1
    assert table.has(data.take([3]))
    assert not table.has(data.with_column("id", [f"new {row}" for row in range(12)]))


def test_equal_windows_are_described_once(tmp_path, monkeypatch):
    model = model_of()
    counted = Counting(model, monkeypatch)
    data = data_of(tmp_path, np.concatenate([values(3)] * 4))
    features = window_table(model, data, spec_of(), cache=None).features
    assert counted.windows == 3
    np.testing.assert_array_equal(features, np.tile(features[:3], (4, 1)))


def test_contents_that_the_source_left_out_are_measured(tmp_path):
    data, cache = data_of(tmp_path), tmp_path / "cache"
    bare = data.with_column("content", [None] * 12)
    expected = window_table(model_of(), data, spec_of(), cache=cache).features
    np.testing.assert_array_equal(window_table(model_of(), bare, spec_of(), cache=cache).features, expected)
    assert len(list(cache.glob("features-*.npz"))) == 1


def test_a_damaged_cache_is_made_again(tmp_path, caplog):
    data, cache = data_of(tmp_path), tmp_path / "cache"
    expected = window_table(model_of(), data, spec_of(), cache=cache).features
    (path,) = cache.glob("features-*.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING, "ringlight"):
        np.testing.assert_array_equal(window_table(model_of(), data, spec_of(), cache=cache).features, expected)
    assert "the kept features are damaged; computed again" in caplog.text


def test_a_cache_that_cannot_be_written_costs_a_line_and_not_the_run(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING, "ringlight"):
        table = window_table(model_of(), data_of(tmp_path), spec_of(), cache=tmp_path / "file" / "cache")
    assert len(table.features) == 12
    assert "features are not kept: " in caplog.text


def test_progress_is_told_and_may_stop_it(tmp_path):
    data = data_of(tmp_path)
    heard: list[tuple[int, int]] = []
    window_table(model_of(), data, spec_of(), cache=None, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(12, 12)]

    def stop(done: int, total: int) -> None:
        raise InterruptedRunError("no stop", got="one", where="test", fix="go on")

    with pytest.raises(InterruptedRunError):
        window_table(model_of(), data, spec_of(), cache=tmp_path / "cache", progress=stop)
    assert not list((tmp_path / "cache").glob("*"))


def test_plain_vectors_are_standardised_and_kept(tmp_path):
    data, cache = data_of(tmp_path, sampling_rate=20.0), tmp_path / "cache"
    vectors = plain_window_vectors(data, cache=cache)
    raw, _ = window_features(values(), sampling_rate=20.0)
    expected = (raw - raw.mean(0)) / np.where(raw.std(0) > 0, raw.std(0), 1)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-3)
    assert len(list(cache.glob("features-*.npz"))) == 1
    np.testing.assert_array_equal(plain_window_vectors(data, cache=cache), vectors)
    still = data_of(tmp_path, np.zeros((6, 32, 2), np.float32))
    assert (plain_window_vectors(still) == 0).all()


def test_images_are_no_windows():
    data = Dataset.from_records([Record(id="a", uri="a.png", labels=(0,))], ["x"], "multiclass")
    with pytest.raises(DataError, match="expected windows of a signal, got images"):
        plain_window_vectors(data)
