"""Members as a configuration names them: complete on the way out, one readable line for each mistake."""

from __future__ import annotations

import pytest

from ringlight.models import MODELS
from ringlight.models.ensemble_members import MemberSpec, is_ensemble, parse_members


def lines_of(*members):
    return parse_members(["svm", *members])[1]


def test_a_name_a_mapping_and_a_run_become_members():
    members = ["svm", {"name": "cnn1d", "filters": [8], "drop_rate": 0.2, "normalize": "window"}, {"run": "runs/a"}]
    specs, lines = parse_members(members)
    assert lines == []
    assert specs == [
        MemberSpec(name="svm"),
        MemberSpec(name="cnn1d", params={"filters": [8]}, drop_rate=0.2, normalize="window"),
        MemberSpec(run="runs/a"),
    ]


def test_what_is_written_down_is_read_back_as_it_was():
    specs, _ = parse_members(["svm", {"name": "cnn1d", "filters": [8], "drop_rate": 0.2}, {"run": "runs/a"}])
    assert parse_members([spec.to_dict() for spec in specs]) == (specs, [])


def test_a_network_is_normalised_by_channel_and_an_estimator_is_not():
    specs, _ = parse_members(["cnn1d", "extra_trees"])
    assert [spec.normalize for spec in specs] == ["channel", "none"]


def test_the_members_that_were_given_stay_as_they_are():
    given = {"name": "cnn1d", "normalize": "none"}
    parse_members([given, "svm"])
    assert given == {"name": "cnn1d", "normalize": "none"}


@pytest.mark.parametrize(
    ("member", "start", "end"),
    [
        ("svn", ".name: expected a known model of windows, got `svn`", "did you mean `svm`?"),
        (
            {"name": "svm", "gama": 1.0}, ".gama: expected a parameter of model `svm`, got unknown key "
            "`model.members[1].gama`", "did you mean `gamma`?",
        ),
        ({"name": "svm", "C": "much"}, ".C: expected a valid number, got 'much'", "correct the value (default: 10.0)"),
        ("ensemble", ".name: expected a single model, got an ensemble in an ensemble", "name its members here"),
        ("resnet18", ".name: expected a model of windows, got `resnet18`, which takes images", "multirocket"),
        ({"name": "cnn1d", "normalize": "all"}, ".normalize: expected channel, window or none", "correct the value"),
        ({"name": "cnn1d", "drop_rate": 1.0}, ".drop_rate: expected a number from 0 and below 1, got 1.0", "try 0.1"),
        ({"name": "svm", "drop_rate": 0.1}, ".drop_rate: expected a parameter of model `svm`", None),
        ({"run": "a", "normalize": "none"}, ": expected {run: PATH} alone", "the model of a run is taken as it is"),
        ({"run": 3}, ": expected {run: PATH} alone", "the model of a run is taken as it is"),
        ({"name": "svm", "run": "a"}, ": expected a name, {name: NAME, parameters} or {run: PATH}", "a run"),
        (7, ": expected a name, {name: NAME, parameters} or {run: PATH}, got 7", "give it a name or a run"),
    ],
)  # fmt: skip
def test_a_member_that_is_none_is_one_line(member, start, end):
    lines = lines_of(member)
    assert len(lines) == 1
    assert lines[0].startswith(f"model.members[1]{start}")
    assert end is None or lines[0].endswith(end)


@pytest.mark.parametrize(("members", "got"), [([], "0"), (["svm"], "1")])
def test_fewer_than_two_members_are_no_ensemble(members, got):
    assert parse_members(members)[1] == [
        f"model.members: expected two members or more, got {got}; name them: [random_forest, cnn1d]"
    ]


@pytest.mark.parametrize("members", ["svm", 3, {"name": "svm"}])
def test_what_is_no_list_is_refused(members):
    assert parse_members(members)[1][0].startswith("model.members: expected a list of members, got ")


def test_every_mistake_is_told_at_once():
    assert len(lines_of("svn", {"name": "cnn1d", "normalize": "x", "drop_rate": -1})) == 3


def test_one_part_of_the_catalogue_is_an_ensemble():
    assert [name for name, part in MODELS.parts.items() if is_ensemble(part)] == ["ensemble"]
