"""The wording and the exit codes of errors."""

from __future__ import annotations

import pickle

import pytest

from ringlight import errors
from ringlight.errors import DataError, MissingExtraError, Problems, RinglightError, did_you_mean, nearest

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RinglightError)]
PLAIN = [kind for kind in KINDS if kind is not Problems]


def fault(kind: type[RinglightError]) -> RinglightError:
    return kind("a number", got="`x`", where="labels.csv, row 3", fix="correct the cell")


@pytest.mark.parametrize("kind", PLAIN)
def test_a_message_says_where_expected_got_and_the_next_step_on_one_line(kind):
    assert str(fault(kind)) == "labels.csv, row 3: expected a number, got `x`; correct the cell"


@pytest.mark.parametrize("kind", PLAIN)
def test_an_error_survives_the_way_back_from_a_worker_process(kind):
    """A loader's worker once answered a broken image with `__init__() missing 3 required keyword-only arguments`."""
    back = pickle.loads(pickle.dumps(fault(kind)))
    assert type(back) is kind
    assert str(back) == str(fault(kind))
    assert (back.expected, back.got, back.where, back.fix) == (
        "a number",
        "`x`",
        "labels.csv, row 3",
        "correct the cell",
    )


def test_several_problems_survive_it_too():
    back = pickle.loads(pickle.dumps(Problems(["a: one", "b: two"])))
    assert type(back) is Problems
    assert (str(back), back.problems) == ("a: one\nb: two", ["a: one", "b: two"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_exit_code_tells_the_users_mistake_from_a_fault(kind):
    expected = 2 if issubclass(kind, errors.UserError) else 130 if kind is errors.InterruptedRunError else 1
    assert kind.exit_code == expected


def test_a_missing_extra_is_an_import_error_for_those_who_probe():
    with pytest.raises(ImportError):
        raise fault(MissingExtraError)


def test_every_kind_can_be_caught_as_one():
    with pytest.raises(RinglightError, match="row 3"):
        raise fault(DataError)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("gama", "gamma"), ("GAMMA", "gamma"), ("alhpa", "alpha"), ("reduction", None), ("", None)],
)
def test_the_nearest_choice_is_found_whatever_its_case(word, meant):
    assert nearest(word, iter(["alpha", "gamma"])) == meant


def test_nothing_is_near_in_an_empty_list():
    assert nearest("gamma", []) is None


def test_a_long_list_of_choices_is_cut():
    names = [f"model_{index:02}" for index in range(20)]
    assert did_you_mean("x", names, limit=2) == "choose from: model_00, model_01, ... (20 in all)"
    assert did_you_mean("x", names[:2], limit=2) == "choose from: model_00, model_01"


def test_how_a_run_was_stopped_stays_however_it_is_retold() -> None:
    error = errors.InterruptedRunError("the end", got="`pause`", where="training", fix="go on", signal="pause")
    again = pickle.loads(pickle.dumps(error.retold(got="`pause`, fold 2", fix="resume it")))
    assert str(again) == "training: expected the end, got `pause`, fold 2; resume it"
    assert again.signal == "pause"
    assert errors.InterruptedRunError("the end", got="Ctrl-C", where="x", fix="y").signal == "interrupted"
