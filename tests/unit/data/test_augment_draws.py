"""Random numbers by key: repeatable, evenly spread, and independent of each other."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy import stats

from ringlight.data.augment_draws import between, normals, sample_keys, uniforms, whole_between

IDS = [f"part {index}" for index in range(4000)]
KEYS = sample_keys(0, 0, IDS)


def test_a_key_is_a_function_of_seed_epoch_and_id() -> None:
    np.testing.assert_array_equal(sample_keys(0, 0, IDS[:9]), KEYS[:9])
    others = [sample_keys(0, 0, ["b"]), sample_keys(0, 1, ["a"]), sample_keys(1, 0, ["a"]), sample_keys(0, 0, ["a"])]
    assert len({int(key[0]) for key in others}) == 4
    assert len(set(KEYS.tolist())) == len(IDS)


def test_seed_and_epoch_do_not_run_into_each_other() -> None:
    """(1, 11) and (11, 1) written one after the other would be the same text."""
    assert sample_keys(1, 11, ["a"]) != sample_keys(11, 1, ["a"])


def test_ids_that_are_no_valid_text_have_a_key() -> None:
    """A file's name may hold bytes that are no UTF-8; Python reads them as lone surrogates."""
    assert len(sample_keys(0, 0, ["caf\udce9.png", ""])) == 2


def test_no_samples_have_no_numbers() -> None:
    assert uniforms(sample_keys(0, 0, []), "rotation", 3).shape == (0, 3)


def test_a_sample_draws_the_same_in_any_batch() -> None:
    whole = uniforms(KEYS, "rotation", 4)
    rows = np.array([3999, 7, 7, 100])
    np.testing.assert_array_equal(uniforms(KEYS[rows], "rotation", 4), whole[rows])
    np.testing.assert_array_equal(uniforms(KEYS, "rotation", 2), whole[:, :2])


def test_numbers_are_spread_evenly() -> None:
    for part in ("rotation", "gaussian_blur"):
        for column in uniforms(KEYS, part, 6).T:
            assert 0 <= column.min() < column.max() < 1
            assert stats.kstest(column, "uniform").pvalue > 1e-4


def test_numbers_of_parts_turns_epochs_and_neighbours_are_independent() -> None:
    """The bug of one seed for all parts: a sample was flipped both ways or not at all."""
    columns = [
        *uniforms(KEYS, "horizontal_flip", 3).T,
        *uniforms(KEYS, "vertical_flip", 2).T,
        uniforms(sample_keys(0, 1, IDS), "horizontal_flip", 1)[:, 0],
        uniforms(sample_keys(1, 0, IDS), "horizontal_flip", 1)[:, 0],
        np.roll(uniforms(KEYS, "horizontal_flip", 1)[:, 0], 1),
    ]
    for one, other in itertools.combinations(columns, 2):
        table, *_ = np.histogram2d(one, other, bins=8, range=[[0, 1], [0, 1]])
        assert stats.chisquare(table.ravel()).pvalue > 1e-4


def test_whole_numbers_include_both_ends_equally_often() -> None:
    assert whole_between(np.array([0.0, 0.2499, 0.25, 0.9999]), 2, 5).tolist() == [2, 2, 3, 5]
    counts = np.bincount(whole_between(uniforms(KEYS, "n", 1)[:, 0], 0, 3))
    assert stats.chisquare(counts).pvalue > 1e-4


def test_stretching_by_hand() -> None:
    np.testing.assert_allclose(between(np.array([0.0, 0.5, 1.0]), -2, 6), [-2, 2, 6])


def test_noise_is_standard_normal_and_independent_within_and_between_samples() -> None:
    field = normals(KEYS[:40], "gaussian_noise", 50, 60, torch.device("cpu"))
    assert field.shape == (40, 1, 50, 60)
    assert field.dtype == torch.float32
    values = field.double().flatten(1).numpy()
    assert stats.kstest(values.ravel()[::7], "norm").pvalue > 1e-4
    assert abs(stats.kurtosis(values.ravel())) < 4 * np.sqrt(24 / values.size)
    means = values.mean(1) * np.sqrt(3000)
    assert stats.kstest(means, "norm").pvalue > 1e-4
    between_samples = np.corrcoef(values)[np.triu_indices(40, 1)] * np.sqrt(3000)
    assert np.abs(between_samples).max() < 5
    image = values.reshape(40, 50, 60)
    for one, other in ((image[:, 1:], image[:, :-1]), (image[:, :, 1:], image[:, :, :-1])):
        assert abs(np.mean(one * other)) * np.sqrt(one.size) < 4


def test_noise_of_a_sample_is_the_same_in_any_batch() -> None:
    field = normals(KEYS[:5], "gaussian_noise", 6, 7, torch.device("cpu"))
    again = normals(KEYS[[3, 1]], "gaussian_noise", 6, 7, torch.device("cpu"))
    assert torch.equal(again, field[[3, 1]])
    assert not torch.equal(normals(KEYS[:1], "other", 6, 7, torch.device("cpu")), field[:1])
