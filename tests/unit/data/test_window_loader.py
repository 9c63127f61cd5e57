"""Batches of windows: values, keys, order, augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ringlight.data.sampling import ShuffleSampler
from ringlight.data.window_loader import make_window_loader
from ringlight.data.window_spec import WindowSpec
from ringlight.data.window_store import write_store
from ringlight.errors import DataError
from ringlight.types import Dataset, Record, Signals

WINDOWS = (np.random.default_rng(0).normal(size=(10, 8, 2)) * 3 + 7).astype(np.float32)


class Noted:
    """An augmenter that adds one and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str, bool]] = []
        self.seen: list[np.ndarray] = []

    def __call__(self, window, *, epoch, record_id, heavy=False):
        self.asked.append((epoch, record_id, heavy))
        self.seen.append(window.copy())
        return window + 1

    def heavy_rows(self, dataset):
        return np.arange(len(dataset)) == 3


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    write_store(tmp_path / "s", [WINDOWS], channels=("p", "q"), length=8)
    records = [Record(id=f"r{row}", uri=f"{tmp_path / 's' / 'X.npy'}#{row}", labels=(row % 2,)) for row in range(10)]
    return Dataset.from_records(records, ["a", "b"], "multiclass", signals=Signals(channels=("p", "q"), length=8))


def test_a_batch_holds_inputs_targets_rows_and_copies(dataset):
    spec = WindowSpec.fit(dataset, normalize="channel")
    first, second = make_window_loader(dataset, spec, batch_size=6, seed=0)
    torch.testing.assert_close(first["input"], spec.apply(WINDOWS[:6]))
    assert first["input"].shape == (6, 2, 8)
    assert first["input"].dtype == torch.float32
    assert first["target"].tolist() == [0, 1, 0, 1, 0, 1]
    assert second["index"].tolist() == [6, 7, 8, 9]
    assert second["copy"].tolist() == [0, 0, 0, 0]


def test_the_order_is_that_of_the_seed_and_the_global_chance_is_left_alone(dataset):
    spec = WindowSpec(("p", "q"), 8, normalize="none")
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    orders = [
        [
            row
            for batch in make_window_loader(dataset, spec, batch_size=4, seed=seed, shuffle=True)
            for row in batch["index"]
        ]
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert torch.rand(1) == expected


def test_windows_are_normalised_first_then_augmented(dataset):
    spec, augmenter = WindowSpec.fit(dataset, normalize="channel"), Noted()
    (batch,) = make_window_loader(dataset, spec, batch_size=10, seed=0, augmenter=augmenter)
    np.testing.assert_allclose(augmenter.seen[4], spec.standardised(WINDOWS[4:5])[0])
    torch.testing.assert_close(batch["input"], spec.apply(WINDOWS) + 1)
    assert augmenter.asked[3] == (0, "r3", True)
    assert augmenter.asked[4] == (0, "r4", False)


def test_without_normalisation_strengths_are_still_in_deviations(dataset):
    """An augmentation of one deviation moves a pressure of 7 ± 3 bar by 3, not by 1."""
    spec = WindowSpec.fit(dataset, normalize="none")
    (batch,) = make_window_loader(dataset, spec, batch_size=10, seed=0, augmenter=Noted())
    expected = WINDOWS + np.array(spec.std, np.float32)
    torch.testing.assert_close(
        batch["input"], torch.from_numpy(expected.transpose(0, 2, 1).copy()), rtol=1e-5, atol=1e-4
    )


def test_a_copy_is_another_record_to_the_augmenter(dataset):
    spec, augmenter = WindowSpec.fit(dataset, normalize="channel"), Noted()
    sampler = ShuffleSampler([0] * 10, task="multiclass", seed=0, batch_size=11, factors=[2] + [1] * 9)
    for _ in make_window_loader(dataset, spec, batch_size=11, seed=0, augmenter=augmenter, sampler=sampler):
        pass
    assert sorted(key for _, key, _ in augmenter.asked)[:2] == ["r0", "r0#1"]


def test_workers_give_the_same_batches(dataset):
    spec = WindowSpec.fit(dataset, normalize="channel")
    here, there = (
        [
            batch["input"]
            for batch in make_window_loader(
                dataset, spec, batch_size=4, seed=0, shuffle=True, augmenter=Noted(), num_workers=workers
            )
        ]
        for workers in (0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


def test_other_windows_than_the_model_expects_are_refused(dataset):
    with pytest.raises(DataError, match="expected windows of 9 samples, got 8 samples"):
        make_window_loader(dataset, WindowSpec(("p", "q"), 9, normalize="none"), batch_size=2, seed=0)
    with pytest.raises(DataError, match="got another order: `p` at place 1 instead of `q`"):
        make_window_loader(dataset, WindowSpec(("q", "p"), 8, normalize="none"), batch_size=2, seed=0)


def test_a_store_that_is_gone_is_told_in_one_line(dataset):
    loader = make_window_loader(dataset, WindowSpec(("p", "q"), 8, normalize="none"), batch_size=2, seed=0)
    Path(str(dataset[0].uri).partition("#")[0]).unlink()
    with pytest.raises(DataError, match="delete the folder: it is made again"):
        next(iter(loader))
