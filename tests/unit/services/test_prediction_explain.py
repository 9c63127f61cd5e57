"""Explanations are asked for what was judged, with what was decided, and of one model alone."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ringlight.errors import DataError, UserError
from ringlight.inference.streaming import Batch, Item
from ringlight.services.prediction_explain import explaining
from ringlight.services.prediction_models import Asked


def asked(members: int, *, windows: bool = False) -> Asked:
    scorer: Any = SimpleNamespace(members=("a", "b")[:members], first="a", takes_windows=windows)
    return Asked(scorer, {})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the explainer and its writer are given."""
    found: list[Any] = []

    class Explainer:
        def __init__(self, predictor: object) -> None:
            found.append(predictor)

        def explain(self, given: Any, ids: list[str], *, result: object, batch_size: int) -> list[str]:
            found.append((given, ids, result, batch_size))
            return [f"map of {key}" for key in ids]

    made = SimpleNamespace(Explainer=Explainer, write_explanations=lambda folder, maps: found.append((folder, maps)))
    monkeypatch.setitem(sys.modules, "ringlight.inference.explaining", made)
    return found


def test_what_was_judged_is_explained_and_what_was_not_is_left_out(calls: list[Any]) -> None:
    write = explaining(asked(1), Path("cams"))
    fault = DataError("an image", got="none", where="b", fix="look")
    result: Any = object()
    write(Batch([Item("a", "a.png"), Item("b", "b.png")], [None, fault], result))
    write(Batch([Item("b", "b.png")], [fault], None))
    assert calls == ["a", (["a.png"], ["a"], result, 1), (Path("cams"), ["map of a"])]


def test_windows_are_handed_on_together(calls: list[Any]) -> None:
    items = [Item(str(place), np.full((16, 2), place)) for place in range(3)]
    explaining(asked(1, windows=True), Path("cams"))(Batch(items, [None] * 3, None))
    assert calls[1][0].shape == (3, 16, 2)


def test_an_ensemble_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        explaining(asked(2), Path("cams"))
    assert str(caught.value) == (
        "--explain: expected one model to explain, got an ensemble of 2; leave out --ensemble, or explain its members "
        "one after the other"
    )
