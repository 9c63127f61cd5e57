from __future__ import annotations

import numpy as np
import pytest

from ringlight.data.strips import PAINTERS, render_strip


def strip(labels: tuple[int, ...], *, seed: int = 0, height: int = 64, width: int = 200, difficulty: float = 0.5):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    return render_strip(labels, height=height, width=width, difficulty=difficulty, rng=rng)


def test_a_clean_strip_has_no_box_and_is_neither_black_nor_burnt_out() -> None:
    means = []
    for seed in range(20):
        image, boxes = strip((), seed=seed)
        assert boxes == ()
        assert image.shape == (64, 200)
        assert image.dtype == np.uint8
        means.append(image.mean())
    assert 50 < np.mean(means) < 130


@pytest.mark.parametrize("label", range(len(PAINTERS)))
@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 64), (256, 400)])
@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_every_kind_is_visible_at_every_size_and_difficulty(
    label: int, height: int, width: int, difficulty: float
) -> None:
    for seed in range(8):
        _, boxes = strip((label,), seed=seed, height=height, width=width, difficulty=difficulty)
        assert boxes
        assert {box["label"] for box in boxes} == {label}


def test_shapes_follow_the_real_classes() -> None:
    """Cracks stand across the strip, scratches lie along it, patches are the largest."""
    boxes = {label: [box for seed in range(12) for box in strip((label,), seed=seed, height=256, width=800)[1]]
             for label in range(4)}  # fmt: skip
    sides = {
        label: np.median([(box["y_max"] - box["y_min"], box["x_max"] - box["x_min"]) for box in found], axis=0)
        for label, found in boxes.items()
    }
    assert sides[1][0] > 2 * sides[1][1]
    assert sides[2][1] > 3 * sides[2][0]
    areas = [float(np.prod(sides[label])) for label in range(4)]
    assert max(areas) == areas[3]


def test_some_strips_end_in_black_and_no_defect_lies_there() -> None:
    ended = 0
    for seed in range(60):
        image, boxes = strip((2, 3), seed=seed)
        black = image.mean(0) < 20
        ended += bool(black.any())
        for box in boxes:
            assert not black[int(box["x_min"]) : int(box["x_max"])][3:-3].any()
    assert 5 < ended < 30
