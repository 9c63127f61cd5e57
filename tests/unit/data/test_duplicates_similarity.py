"""The parts of the search for near-duplicate images, each against a naive computation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ringlight.data.aligned import WHITENING, aligned_similarities, alignments
from ringlight.data.background import Background, decoy_tail, measure_background
from ringlight.data.candidates import describe, nearest, nearest_vectors
from ringlight.data.fingerprints import SIDE, fingerprints
from ringlight.errors import Problems


def thumb(seed, height=30, width=36):
    noise = np.random.default_rng(seed).normal(0, 1, (height, width)).astype(np.float32)
    return np.clip(120 * cv2.GaussianBlur(noise, (0, 0), 1.0), -120, 120).astype(np.int8)


def test_similarity_equals_a_naive_search_of_all_shifts():
    """Whitened by numpy's full transform in double precision, then every shift by itself."""
    left, right = thumb(0), thumb(1)
    height, width = 36, 45  # 30 + 6 and 36 + 7, both rounded up to what is quick to transform
    whitened = []
    for picture in (left, right):
        padded = np.zeros((height, width))
        padded[:30, :36] = picture - picture.astype(float).mean()
        spectrum = np.fft.fft2(padded)
        whitened.append(np.fft.ifft2(spectrum / np.abs(spectrum) ** WHITENING).real)
    a, b = whitened
    best = max(
        (a * np.roll(b, (down, across), (0, 1))).sum() for down in range(-6, 7) for across in range(-7, 8)
    ) / np.sqrt((a * a).sum() * (b * b).sum())
    found = aligned_similarities([left], [right], np.array([[0, 0]]))
    assert found[0] == pytest.approx(best, abs=2e-4)


def test_a_thumbnail_is_like_itself_and_like_its_shifted_self():
    whole = thumb(5, 50, 60)
    same = aligned_similarities([whole], [whole], np.array([[0, 0]]))
    moved = aligned_similarities([whole[:44, :54]], [whole[4:48, 5:59]], np.array([[0, 0]]))
    other = aligned_similarities([whole], [thumb(6, 50, 60)], np.array([[0, 0]]))
    assert same[0] == pytest.approx(1, abs=1e-4)
    assert moved[0] > 0.6
    assert other[0] < 0.2


@pytest.mark.parametrize(("down", "across"), [(0, 0), (6, 0), (-5, 4), (3, -7)])
def test_the_shared_frame_is_what_two_cut_outs_have_in_common(down, across):
    """By hand: cut-outs of 50 x 60 that lie `down` and `across` apart share (50 - |down|) (60 - |across|) pixels."""
    whole = thumb(5, 70, 80)
    first, second = whole[10:60, 10:70], whole[10 + down : 60 + down, 10 + across : 70 + across]
    ((similarity, overlap),) = alignments([first], [second], np.array([[0, 0]]))
    assert overlap == pytest.approx((50 - abs(down)) * (60 - abs(across)) / 3000, abs=1e-6)
    assert similarity > 0.4


def test_similarities_do_not_depend_on_threads_and_come_in_the_order_of_the_pairs():
    thumbs = [thumb(seed) for seed in range(9)]
    pairs = np.stack(np.triu_indices(9, 1), axis=1)
    once = aligned_similarities(thumbs, thumbs, pairs, num_threads=1)
    assert np.array_equal(once, aligned_similarities(thumbs, thumbs, pairs, num_threads=3))
    alone = [aligned_similarities(thumbs, thumbs, pair[None])[0] for pair in pairs]
    assert np.allclose(once, alone, atol=1e-5)
    assert aligned_similarities(thumbs, thumbs, pairs[:0]).shape == (0,)


def test_shifted_copies_are_among_the_candidates():
    wholes = [thumb(seed, 80, 84) for seed in range(100)]
    thumbs = [whole[:74, :74] for whole in wholes] + [whole[6:, 10:] for whole in wholes]
    pairs = nearest(describe(thumbs), thumbs, np.arange(200), num_candidates=3)
    assert pairs.shape == (600, 2)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    found = {tuple(sorted(pair)) for pair in pairs.tolist()}
    assert sum((row, row + 100) in found for row in range(100)) >= 95


def test_nearest_vectors_equal_a_full_sort():
    vectors = np.random.default_rng(0).normal(size=(150, 5)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    expected = {(row, int(other)) for row in range(150) for other in np.argsort(-cosine[row])[:4]}
    assert {tuple(pair) for pair in nearest_vectors(vectors, num_candidates=4).tolist()} == expected


def test_the_tail_of_decoys_continues_an_exponential():
    """Of 100,000 draws from an exponential of scale 0.05, 0.1 are expected above 0.05 * log(1e6)."""
    found = np.random.default_rng(0).exponential(0.05, 100_000)
    start, scale, count = decoy_tail(found, 1.0)
    reached = start + scale * np.log(count / 0.1)
    assert reached == pytest.approx(0.05 * np.log(1e6), rel=0.15)
    assert decoy_tail(np.zeros(0), 3.0) == (0.0, 0.0, 3.0)


def test_a_threshold_falls_as_more_false_links_are_allowed():
    background = Background((0.1, 0.02, 40.0), (0.05, 0.01, 1e6))
    assert background.threshold(0.05) == pytest.approx(0.1 + 0.02 * np.log(800))
    assert background.threshold(1.0) < background.threshold(0.05)
    assert Background((0.1, 0.02, 40.0), (0.6, 0.01, 1e6)).threshold(0.05) > 0.6


def test_the_background_of_noise_lies_below_that_of_parts_on_a_fixture():
    noise = [thumb(seed, 40, 40) for seed in range(80)]
    fixture = thumb(999, 40, 40)
    fixed = [np.where(np.arange(40)[:, None] < 25, fixture, other).astype(np.int8) for other in noise]
    low, high = (measure_background(thumbs, describe(thumbs)).threshold(0.05) for thumbs in (noise, fixed))
    assert low < 0.4 < high


def test_thumbnails_have_one_scale_when_sizes_agree_and_two_when_they_differ(tmp_path):
    def write(name, height, width):
        pixels = np.random.default_rng(height).integers(0, 255, (height, width)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / name), pixels)
        return str(tmp_path / name)

    same = fingerprints([write("a.png", 148, 148), write("b.png", 148, 150)], name="x")
    assert list(same.scales) == ["frame"]
    assert same.scales["frame"][0].shape == (SIDE, SIDE)
    mixed = fingerprints([write("c.png", 100, 148), write("d.png", 120, 148), write("e.png", 900, 900)], name="x")
    assert set(mixed.scales) == {"frame", "native"}
    heights = [picture.shape[0] for picture in mixed.scales["native"]]
    assert heights[1] / heights[0] == pytest.approx(1.2, abs=0.03)
    assert mixed.scales["native"][2].size < 1.1 * SIDE**2  # far larger than the others: compared as a whole


def test_all_damaged_files_are_told_at_once(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"?")
    with pytest.raises(Problems) as error:
        fingerprints([str(tmp_path / "a.png"), str(tmp_path / "b.png")], name="x")
    assert len(error.value.problems) == 2
