"""Search spaces by themselves: what is read, what is refused and in which words, what a grid takes of them."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.model_selection import ParameterGrid

from ringlight.config.spaces import grid, label, read_space, walk
from ringlight.errors import Problems


def refused(space: Any) -> str:
    with pytest.raises(Problems) as error:
        read_space(space)
    assert all(": expected " in line and ", got " in line and "; " in line for line in error.value.problems)
    return str(error.value)


@pytest.mark.parametrize(
    ("space", "line"),
    [
        ({}, "tune.space: expected keys to search, got none; write KEY: {type: float, low: 0.1, high: 1}"),
        ({"a": None}, "tune.space: expected keys to search, got none"),
        ({"a": {"type": "float", "low": 2, "high": 1}}, "a: expected low <= high, got low=2 and high=1; swap them"),
        (
            {"a": {"type": "float", "low": 0, "high": 1, "log": True}},
            "a.low: expected a number above 0, as log is true",
        ),
        ({"a": {"type": "flot"}}, "a.type: expected float, int or categorical, got `flot`; did you mean `float`?"),
        ({"a": {"low": 1, "high": 2}}, "a.type: expected float, int or categorical, got none; add one"),
        ({"a": {"type": "float", "low": 1, "high": 2, "hgh": 2}}, "got unknown key `hgh`; did you mean `high`?"),
        ({"a": {"type": "float", "low": 1}}, "a.high: expected a number, got none; set it"),
        ({"a": {"type": "int", "low": 1, "high": 2.5}}, "a.high: expected a whole number, got 2.5"),
        ({"a": {"type": "float", "low": True, "high": 2}}, "a.low: expected a number, got True"),
        ({"a": {"type": "float", "low": float("nan"), "high": 2}}, "a.low: expected a number, got nan"),
        ({"a": {"type": "int", "low": 1, "high": 2, "step": 0}}, "a.step: expected a whole number from 1, got 0"),
        ({"a": {"type": "int", "low": 1, "high": 8, "step": 2, "log": True}}, "a.step: expected no step beside log"),
        ({"a": []}, "a.choices: expected at least one choice, got an empty list"),
        ({"a": {"type": "categorical", "choices": "adam"}}, "a.choices: expected a list, got 'adam'; write [a, b]"),
        ({"a": 3}, "a: expected a mapping with type, got 3"),
        ({"a": {"choices": [1], "when": "b"}}, "a.when: expected KEY: value or [values], got 'b'"),
        ({"a": ["x"], "b": {"choices": [1], "when": {"a": "y"}}}, "b.when: expected a choice of a, got `y`"),
        (
            {"a": {"choices": [1], "when": {"b": 1}}, "b": {"choices": [1], "when": {"a": 1}}},
            "tune.space: expected conditions that end somewhere, got a circle of a, b; leave one out",
        ),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_in_one_line(space: Any, line: str) -> None:
    assert line in refused(space)
    assert "\n" not in refused(space)


def test_every_mistake_is_told_at_once() -> None:
    lines = refused({"a": {"type": "float", "low": 2, "high": 1}, "b": [], "c": {"type": "x"}}).splitlines()
    assert [line.split(":")[0] for line in lines] == ["tune.space.a", "tune.space.b.choices", "tune.space.c.type"]


def test_keys_may_be_written_in_one_word_or_below_their_sections() -> None:
    below = {"optimizer": {"lr": {"type": "float", "low": 0.1, "high": 1}, "momentum": [0.0, 0.9]}}
    word = {"optimizer.lr": {"type": "float", "low": 0.1, "high": 1}, "optimizer.momentum": [0.0, 0.9]}
    assert read_space(below) == read_space(word)


def test_an_entry_that_is_null_is_left_out() -> None:
    """A shipped space can be taken without one of its keys."""
    assert [axis.key for axis in read_space({"a": [1], "b": None})] == ["a"]


def test_conditions_come_before_what_hangs_on_them() -> None:
    space = read_space({"c": {"choices": [1], "when": {"b": 2}}, "b": {"choices": [2], "when": {"a": 1}}, "a": [1]})
    assert [axis.key for axis in space] == ["a", "b", "c"]


def test_only_what_its_condition_allows_is_chosen() -> None:
    space = read_space(
        {"a": ["x", "y"], "b": {"choices": [1], "when": {"a": ["x"]}}, "c": {"choices": [2], "when": {"f": 0}}}
    )
    assert walk(space, {"f": 0}, lambda axis: axis.choices[0]) == {"a": "x", "b": 1, "c": 2}
    assert walk(space, {"f": 1}, lambda axis: axis.choices[-1]) == {"a": "y"}


def test_a_grid_is_scikit_learns() -> None:
    given = {"a": [1, 2, 3], "b": ["x", "y"], "c": [None, True]}
    assert grid(read_space(given)) == list(ParameterGrid(given))


def test_a_grid_has_no_point_twice_where_conditions_close_an_axis() -> None:
    points = grid(read_space({"a": ["x", "y", "z"], "b": {"choices": [1, 2], "when": {"a": "x"}}}))
    assert points == [{"a": "x", "b": 1}, {"a": "x", "b": 2}, {"a": "y"}, {"a": "z"}]


def test_a_grid_tells_true_from_one() -> None:
    assert [type(point["a"]) for point in grid(read_space({"a": [1, True, "1"]}))] == [int, bool, str]


def test_points_of_a_range_hit_both_ends_exactly() -> None:
    (axis,) = read_space({"lr": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True, "num": 5}})
    assert axis.points() == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    (axis,) = read_space({"n": {"type": "int", "low": 1, "high": 8, "log": True, "num": 4}})
    assert axis.points() == [1, 2, 4, 8]
    (axis,) = read_space({"n": {"type": "int", "low": 1, "high": 8, "step": 3}})
    assert axis.points() == [1, 4, 7]
    assert axis.high == 7  # the last value there is


def test_a_grid_over_a_range_needs_a_number_of_points() -> None:
    with pytest.raises(Problems, match=r"lr.num: expected how many points a grid takes, got none; add num: 5"):
        grid(read_space({"lr": {"type": "float", "low": 0, "high": 1}}))


def test_a_grid_that_nobody_can_want_is_refused_before_it_is_made() -> None:
    with pytest.raises(Problems, match=r"a grid of at most 100,000 points, got 1,000,000,000"):
        grid(read_space({name: {"type": "int", "low": 1, "high": 1000} for name in "abc"}))


def test_labels_of_choices_differ() -> None:
    (axis,) = read_space({"a": [1, True, "1", None, [64, 400], 1.0, 1]})
    assert len(set(axis.labels)) == 7
    assert label({"b": 1}) == '{"b": 1}'


def test_a_space_survives_being_written_down() -> None:
    given = {
        "lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True, "num": 3},
        "n": {"type": "int", "low": 2, "high": 8, "step": 2},
        "c": {"type": "categorical", "choices": ["x", None], "when": {"n": [2, 4]}},
    }
    space = read_space(given)
    assert read_space({axis.key: axis.to_dict() for axis in space}) == space
    assert str(space[0]) == "1e-05 to 0.1 (log), 3 points"
    assert str(space[2]) == "x, null; when n is 2 or 4"
