from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ringlight.data.duplicate_sheet import choose_links, duplicate_sheet
from ringlight.data.links import Duplicates, Link
from ringlight.errors import DataError
from ringlight.types import Dataset, Record


@pytest.fixture
def dataset(tmp_path, make_image):
    paths = [make_image(tmp_path / f"{'long/' * 30}{row}.png", size=(40, 90), seed=row) for row in range(4)]
    records = [Record(id=str(path.relative_to(tmp_path)), uri=str(path), labels=(0,)) for path in paths]
    return Dataset.from_records(records, ["c"], "multiclass", name="tiles")


def test_a_sheet_shows_its_pairs_side_by_side(dataset, tmp_path):
    found = Duplicates.from_links(dataset.ids, [Link(0, 1, 0.4), Link(2, 3, 1.0), Link(1, 2, 0.6)])
    path = duplicate_sheet(dataset, found, tmp_path / "sheets" / "pairs.png")
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (34 + 2 * 240, 2 * 618, 3)
    assert pixels[60:150, 20:280].std() > 20  # the first picture, its contrast stretched
    assert pixels[60:150, 330:590].std() > 20
    one = duplicate_sheet(dataset, found, tmp_path / "one.png", num_pairs=1)
    with Image.open(one) as sheet:
        assert sheet.size == (618, 34 + 240)


def test_without_links_the_sheet_says_so(dataset, tmp_path):
    path = duplicate_sheet(dataset, Duplicates.from_links(dataset.ids, []), tmp_path / "none.png")
    with Image.open(path) as sheet:
        assert sheet.height == 34
        assert np.asarray(sheet).std() > 0


def test_half_of_the_pairs_are_the_weakest():
    links = tuple(Link(0, row, row / 100) for row in range(100, 0, -1))
    chosen = [link.similarity for link in choose_links(links, 6)]
    assert chosen[:3] == [0.01, 0.02, 0.03]
    assert chosen[3:] == [0.04, 0.52, 1.0]
    assert choose_links(links[:2], 12) == [links[1], links[0]]


def test_no_pairs_at_all_are_refused(dataset, tmp_path):
    with pytest.raises(DataError, match="num_pairs: expected 1 or more, got 0"):
        duplicate_sheet(dataset, Duplicates.from_links(dataset.ids, []), tmp_path / "x.png", num_pairs=0)
