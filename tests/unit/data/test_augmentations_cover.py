"""Holes and blackout: labels stay true, boxes and masks say what still shows."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ringlight.data.augment import Augmenter
from ringlight.data.augmentations_cover import choose_background, choose_defects
from ringlight.types import Box

GRAY = np.full((40, 60, 1), 120, np.uint8)
BLACKOUT = {"defects": 1.0, "background": 0, "probability": 1.0}


def box(label: int, x: float, y: float, side: float = 6) -> Box:
    return Box(label=label, x_min=x, y_min=y, x_max=x + side, y_max=y + side)


def blackout(boxes, epoch: int = 0, mask=None, **given):
    augmenter = Augmenter({"defect_blackout": {**BLACKOUT, **given}}, seed=0)
    result = augmenter(GRAY, epoch=epoch, record_id="a", boxes=boxes, mask=mask)
    # Boxes travel as shares of the picture in float32.
    rounded = [Box(**{key: round(value, 3) for key, value in found.items()}) for found in result.boxes]
    return replace(result, boxes=tuple(rounded))


def rectangles(places) -> np.ndarray:
    return np.array(places, np.int64).reshape(-1, 4)


def test_the_only_defect_of_a_class_is_never_covered() -> None:
    boxes = [box(0, 2, 2), box(1, 20, 20)]
    for epoch in range(20):
        result = blackout(boxes, epoch)
        assert result.boxes == tuple(boxes)
        np.testing.assert_array_equal(result.image, GRAY)


def test_of_several_defects_of_a_class_one_remains_and_each_may() -> None:
    boxes = [box(0, 2, 2), box(0, 20, 2), box(0, 40, 20), box(1, 2, 30)]
    remaining = set()
    for epoch in range(40):
        result = blackout(boxes, epoch)
        labels = [kept["label"] for kept in result.boxes]
        assert sorted(labels) == [0, 1]
        remaining.add(next(kept["x_min"] for kept in result.boxes if kept["label"] == 0))
        for whole in boxes:
            x, y = int(whole["x_min"]), int(whole["y_min"])
            shows = whole in result.boxes
            assert (result.image[y : y + 6, x : x + 6] == (120 if shows else 0)).all()
    assert remaining == {2, 20, 40}


def test_a_share_of_the_defects_is_covered() -> None:
    boxes = [box(0, 8 * column, 8 * row, 5) for row, column in itertools.product(range(4), range(7))]
    covered = [len(boxes) - len(blackout(boxes, epoch, defects=0.25).boxes) for epoch in range(60)]
    assert 0.25 * 28 - 1 < np.mean(covered) < 0.25 * 28 + 1  # 4 standard errors of the mean are 1.2


def test_a_defect_that_overlaps_one_that_stays_is_left_alone() -> None:
    """Covering it would hide a part of the other, here the only one of its class."""
    boxes = [box(0, 2, 2), box(0, 30, 20), box(1, 5, 5)]
    for epoch in range(30):
        result = blackout(boxes, epoch)
        assert boxes[2] in result.boxes
        assert boxes[0] in result.boxes  # the other defect of class 0 is the only one that may go
        assert (result.image[5:11, 5:11] == 120).all()


@pytest.mark.parametrize("seed", range(30))
def test_choice_keeps_every_class_and_touches_nothing_that_stays(seed: int) -> None:
    """The rule, checked on random crowds of defects by a plain loop over pixels."""
    generator = np.random.default_rng(seed)
    count = int(generator.integers(1, 9))
    corners = generator.integers(0, 30, (count, 2))
    places = np.concatenate([corners, corners + generator.integers(1, 9, (count, 2))], axis=1)
    labels = generator.integers(0, 3, count).tolist()
    covered = choose_defects(places, labels, 1.0, generator)
    stays = [row for row in range(count) if row not in covered]
    assert {labels[row] for row in stays} == set(labels)
    canvas = np.zeros((40, 40), bool)
    for left, top, right, bottom in places[covered]:
        canvas[top:bottom, left:right] = True
    assert not any(canvas[top:bottom, left:right].any() for left, top, right, bottom in places[stays])


def test_background_is_covered_away_from_the_defects_and_as_large_as_they_are() -> None:
    boxes = [box(0, 10, 10), box(1, 40, 25)]
    positions = set()
    for epoch in range(30):
        result = blackout(boxes, epoch, background=1)
        black = np.argwhere(result.image[..., 0] == 0)
        assert len(black) == 36
        positions.add(tuple(black[0]))
        assert result.boxes == tuple(boxes)
        assert (result.image[10:16, 10:16] == 120).all()
        assert (result.image[25:31, 40:46] == 120).all()
    assert len(positions) > 20


def test_clean_pictures_are_covered_too() -> None:
    """Else a black rectangle would tell that there is a defect."""
    shares = [(blackout([], epoch, background=1).image == 0).mean() for epoch in range(40)]
    assert 0.04 * 0.04 < min(shares) < max(shares) <= 0.2 * 0.2
    assert len(set(shares)) > 10


def test_without_room_nothing_is_covered() -> None:
    full = Box(label=0, x_min=0, y_min=0, x_max=60, y_max=40)
    np.testing.assert_array_equal(blackout([full], background=5).image, GRAY)


def test_without_boxes_and_mask_nothing_is_covered() -> None:
    """Nobody knows where the defects lie: a covered one would make the label false."""
    augmenter = Augmenter({"defect_blackout": {"probability": 1.0}, "vertical_flip": 1.0}, seed=0)
    ramp = np.arange(2400, dtype=np.uint16).reshape(40, 60, 1).astype(np.uint8)
    result = augmenter(ramp, epoch=0, record_id="a")
    np.testing.assert_array_equal(result.image, ramp[::-1])
    assert len({augmenter(ramp, epoch=0, record_id=str(turn), boxes=[]).image.tobytes() for turn in range(5)}) > 1


def test_pieces_of_a_mask_are_its_defects() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[2:6, 2:8], mask[20:30, 40:44], mask[30:34, 10:12] = 1, 1, 2
    kept = set()
    for epoch in range(20):
        result = blackout(None, epoch, mask=mask)
        assert result.mask is not None
        assert set(np.unique(result.mask)) == {0, 1, 2}
        assert (result.mask == 2).sum() == 8
        assert ((result.image[..., 0] == 0) & (result.mask > 0)).sum() == 0
        kept.add(int((result.mask == 1).sum()))
    assert kept == {24, 40}


def test_boxes_with_fractions_of_pixels_are_covered_whole() -> None:
    boxes = [Box(label=0, x_min=10.4, y_min=5.6, x_max=14.2, y_max=9.1), box(0, 30, 20)]
    images = [result.image for result in (blackout(boxes, epoch) for epoch in range(20)) if boxes[1] in result.boxes]
    black = np.argwhere(images[0][..., 0] == 0)
    assert (black.min(0).tolist(), black.max(0).tolist()) == ([5, 10], [9, 14])


def test_what_happens_first_is_undisturbed_by_what_follows() -> None:
    """The blackout sees the record's own boxes: after a turn they would be larger than the defects."""
    augmenter = Augmenter({"horizontal_flip": 1.0, "defect_blackout": BLACKOUT}, seed=0)
    boxes = [box(0, 2, 2), box(0, 20, 2)]
    alone = blackout(boxes)
    both = augmenter(GRAY, epoch=0, record_id="a", boxes=boxes)
    np.testing.assert_array_equal(both.image, alone.image[:, ::-1])
    assert len(both.boxes) == 1


def test_background_keeps_within_the_picture() -> None:
    generator = np.random.default_rng(0)
    places = choose_background(rectangles([]), rectangles([[0, 0, 10, 8]]), (8, 10), 1, generator)
    assert places.tolist() == [[0, 0, 10, 8]]
    many = choose_background(rectangles([]), rectangles([[0, 0, 3, 2]]), (8, 10), 200, generator)
    assert many.min(0).tolist()[:2] == [0, 0]
    assert many.max(0).tolist()[2:] == [10, 8]


def test_holes_leave_boxes_as_they_are_until_nothing_of_them_shows() -> None:
    """albumentations cuts every box down to whole pixels as soon as there is a hole anywhere."""
    tiny = Box(label=1, x_min=3.25, y_min=3.25, x_max=4.75, y_max=4.75)
    large = Box(label=0, x_min=10.5, y_min=8.5, x_max=50.5, y_max=30.5)
    augmenter = Augmenter({"coarse_dropout": {"holes": 40, "size": 0.2, "probability": 1.0}}, seed=0)
    seen = set()
    for epoch in range(30):
        result = augmenter(GRAY, epoch=epoch, record_id="a", boxes=[tiny, large])
        covered = not result.image[3:5, 3:5].any()
        assert [found["label"] for found in result.boxes] == ([0] if covered else [1, 0])
        np.testing.assert_allclose(list(result.boxes[-1].values()), list(large.values()), atol=1e-4)
        seen.add(covered)
    assert seen == {True, False}


def test_number_and_size_of_holes_keep_their_limits() -> None:
    augmenter = Augmenter({"coarse_dropout": {"holes": 1, "size": 0.2, "probability": 1.0}}, seed=0)
    sides = []
    for epoch in range(60):
        black = np.argwhere(augmenter(GRAY, epoch=epoch, record_id="a").image[..., 0] == 0)
        sides.append(black.max(0) - black.min(0) + 1)
    heights, widths = np.transpose(sides)
    assert (heights.min(), heights.max()) == (4, 7)  # int(0.2 * 40 = 8) comes with chance 0 only
    assert (widths.min(), widths.max()) == (6, 11)
