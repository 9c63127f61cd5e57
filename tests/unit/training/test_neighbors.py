"""Sheets of neighbours: which queries are shown, what the results say of them, and a PNG of their pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ringlight.evaluation.nearest import Nearest
from ringlight.training.neighbors import choose_queries, neighbor_rows, neighbors_sheet
from ringlight.types import Dataset, Record


def found_of(rows: Any, cosines: Any) -> Nearest:
    return Nearest(np.array(rows), np.array(cosines, float))


def test_the_most_misleading_queries_come_first() -> None:
    rows = [[0, 1], [0, 1], [0, 1], [0, 1], [-1, -1], [0, -1]]
    cosines = [[0.9, 0.8], [0.7, 0.6], [0.95, 0.2], [0.9, 0.9], [-np.inf, -np.inf], [0.3, -np.inf]]
    right = np.array([[0, 0], [0, 0], [1, 0], [1, 1], [1, 1], [1, 1]], bool)
    found = found_of(rows, cosines)
    # No hit and a wrong one at 0.9, then 0.7; one hit. Row 3 is all right, row 4 has no neighbour at all.
    assert choose_queries(right, found, num_worst=6, num_random=0).tolist() == [0, 1, 2]
    assert choose_queries(right, found, num_worst=2, num_random=9).tolist() == [0, 1, 2, 3, 5]
    groups = ["a", "b", "a", "b", None, None]
    assert choose_queries(right, found, groups=groups, num_worst=6, num_random=9).tolist() == [0, 1, 5]
    drawn = choose_queries(right, found, num_worst=1, num_random=2, seed=3)
    assert drawn.tolist() == choose_queries(right, found, num_worst=1, num_random=2, seed=3).tolist()
    assert len(drawn) == 3
    assert 4 not in drawn


def test_rows_and_sheet_tell_the_same(tmp_path: Path, make_image: Callable[..., Path]) -> None:
    records = [
        Record(id=f"r{n}", uri=str(make_image(tmp_path / f"{n}.png", seed=n)), labels=(n % 2,), group=f"g{n}")
        for n in range(4)
    ]
    data = Dataset.from_records(records, ["ok", "scratch"], "multiclass")
    query, gallery = data.take([0]), data.take([1, 2, 3])
    found = found_of([[1, 0, -1]], [[0.98, 0.5, -np.inf]])
    right = np.array([[True, False, False]])
    queries = np.array([0])
    (row,) = neighbor_rows(queries, query, gallery, found, right)
    assert row == {
        "id": "r0", "group": "g0", "truth": "ok", "num_right": 1,
        "neighbors": [{"id": "r2", "truth": "ok", "cosine": 0.98}, {"id": "r1", "truth": "scratch", "cosine": 0.5}],
    }  # fmt: skip
    sheet = neighbors_sheet(queries, query, gallery, found, right, in_chans=3)
    with Image.open(io.BytesIO(sheet)) as image:
        assert image.format == "PNG"
        assert image.width > image.height > 100
