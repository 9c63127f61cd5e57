"""A stream of records is judged in order and in batches; what cannot be read is a row, and memory stays flat."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ringlight.data.preprocess import InputSpec
from ringlight.errors import DataError
from ringlight.inference.bundle import Bundle
from ringlight.inference.ensembling import Scorer
from ringlight.inference.predictor import Predictor
from ringlight.inference.streaming import Item, judged

SPEC = InputSpec(in_chans=1, image_size=None, mean=(0.0,), std=(1.0,))


class Brightness(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        return torch.stack([images.mean((1, 2, 3)), torch.zeros(len(images))], dim=1)


@pytest.fixture
def module() -> Brightness:
    return Brightness()


@pytest.fixture
def scorer(module: Brightness) -> Scorer:
    bundle = Bundle(architecture={}, task="multiclass", classes=("a", "b"), input_spec=SPEC)
    return Scorer({"one": Predictor(bundle, module, device="cpu")})


def grey(value: int, side: int = 4) -> np.ndarray:
    return np.full((side, side), value, np.uint8)


@pytest.mark.parametrize("readers", [0, 2])
def test_rows_come_in_order_and_what_cannot_be_read_is_one_of_them(scorer: Scorer, readers: int) -> None:
    items = [Item(str(value), grey(value)) for value in range(10)]
    items.insert(3, Item("text", "/no/such/file.png"))
    items.insert(5, Item("lost", fault=DataError("a folder", got="none", where="lost", fix="look")))
    rows = [row for batch in judged(scorer, items, batch_size=4, readers=readers) for row in batch.rows()]
    assert [row["id"] for row in rows] == [item.id for item in items]
    assert [row["id"] for row in rows if "error" in row] == ["text", "lost"]
    assert rows[3]["error"] == "/no/such/file.png: expected an image file, got no such file; check the path"
    good = [row["a"] for row in rows if "error" not in row]
    np.testing.assert_allclose(good, [1 / (1 + np.exp(-value / 255)) for value in range(10)], atol=1e-6)


def test_batches_hold_one_size(scorer: Scorer, module: Brightness) -> None:
    sides = [4, 4, 4, 8, 8, 4]
    items = [Item(str(place), grey(9, side)) for place, side in enumerate(sides)]
    found = list(judged(scorer, items, batch_size=2, readers=0))
    assert module.batches == [2, 1, 2, 1]
    assert [len(batch.items) for batch in found] == [2, 1, 2, 1]


def test_nothing_but_faults_has_no_result(scorer: Scorer) -> None:
    (batch,) = judged(scorer, [Item("x", "/no/file.png")], batch_size=2)
    assert (batch.result, batch.judged) == (None, [])
    assert list(judged(scorer, [])) == []


class Traced(Item):
    """An item that a weak reference can follow."""


@pytest.mark.parametrize("readers", [0, 2])
def test_items_are_taken_as_they_are_needed_and_none_is_kept(scorer: Scorer, readers: int) -> None:
    """A list of a million results once grew until the process was killed."""
    made: list[weakref.ref[Item]] = []

    def items() -> Iterator[Item]:
        for number in range(400):
            item = Traced(str(number), grey(1))
            made.append(weakref.ref(item))
            yield item

    done, most = 0, 0
    for batch in judged(scorer, items(), batch_size=4, readers=readers):
        done += len(batch.items)
        assert len(made) - done <= 3 * 4 + 1
        del batch
        most = max(most, sum(one() is not None for one in made))
    assert done == 400
    assert most <= 4 * 4 + 1


def test_a_fault_of_the_program_is_not_taken_for_one_of_the_file(scorer: Scorer) -> None:
    class Broken(Scorer):
        def prepare(self, source: Any) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(judged(Broken({"one": scorer.first}), [Item("x", grey(1))]))
