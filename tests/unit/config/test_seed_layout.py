from __future__ import annotations

from pathlib import Path

import pytest

from ringlight.config.schema import SECTIONS, fields_of
from ringlight.config.seed_layout import SEED_LAYOUT, layout_table, read_seed_layout
from ringlight.errors import Problems

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "seed-trainers.md"


def training(**keys):
    return {"training": keys}


def callbacks(**keys):
    return training(callbacks=keys)


def test_the_page_shows_the_table_as_it_is():
    assert layout_table() in PAGE.read_text(encoding="utf-8")


def test_every_row_leads_to_a_key_of_the_configuration():
    for meaning in SEED_LAYOUT.values():
        section, _, key = meaning.key.partition(".")
        assert section in SECTIONS
        parts = ("loss", "optimizer", "scheduler", "model")
        assert key == "NAME" or section in parts or key in fields_of(section), meaning.key


def test_an_empty_dictionary_has_the_defaults_of_the_table():
    values = read_seed_layout().values
    assert values == read_seed_layout({}).values
    assert (values["loss.name"], values["optimizer.name"], values["optimizer.lr"]) == (
        "categorical_crossentropy", "adam", 0.001,
    )  # fmt: skip
    assert (values["training.num_epochs"], values["data.batch_size"], values["cv.val_share"]) == (50, 32, 0.15)
    assert values["training.early_stopping_patience"] is None
    assert values["scheduler.name"] == "constant"
    assert values["training.trackers"] == []


def test_callbacks_become_what_stops_chooses_and_slows():
    values = read_seed_layout(
        callbacks(
            early_stopping=True,
            early_stopping_patience=7,
            early_stopping_monitor="val_loss",
            model_checkpoint=True,
            checkpoint_monitor="val_accuracy",
            reduce_lr_on_plateau=True,
            reduce_lr_monitor="val_macro_f1",
            reduce_lr_factor=0.2,
            reduce_lr_patience=3,
            tensorboard=True,
        )
    ).values
    assert values["training.early_stopping_patience"] == 7
    assert values["training.early_stopping_monitor"] == "loss"
    assert values["training.monitor"] == "accuracy"
    told = {key: value for key, value in values.items() if key.startswith("scheduler.")}
    assert told == {
        "scheduler.name": "plateau", "scheduler.monitor": "macro_f1", "scheduler.factor": 0.2, "scheduler.patience": 3,
        "scheduler.min_lr": 0.0,
    }  # fmt: skip
    assert values["training.trackers"] == ["tensorboard"]


def test_without_a_checkpoint_monitor_the_one_that_stops_chooses_too():
    values = read_seed_layout(callbacks(early_stopping=True, early_stopping_monitor="val_accuracy")).values
    assert values["training.monitor"] == values["training.early_stopping_monitor"] == "accuracy"


def test_a_schedule_by_step_comes_before_a_plateau_and_the_note_says_so():
    """The seed's reference sets both, which Keras refuses at the first step."""
    both = training(lr_schedule="warmup", callbacks={"reduce_lr_on_plateau": True})
    settings = read_seed_layout(both)
    assert settings.values["scheduler.name"] == "warmup"
    assert "scheduler.factor" not in settings.values
    assert settings.notes == ("lr_schedule=warmup sets the rate of every step: reduce_lr_on_plateau is left out",)
    both["training"]["lr_schedule"] = "constant"
    assert read_seed_layout(both).values["scheduler.name"] == "plateau"


def test_class_weights_stand_in_either_place_and_must_agree():
    weights = {0: 1.0, 1: 1.5}
    assert read_seed_layout({"class_weights": weights}).class_weights == weights
    assert read_seed_layout(training(class_weights=weights)).class_weights == weights
    with pytest.raises(Problems, match="expected one set of weights, got two that differ; keep one of the two"):
        read_seed_layout({"class_weights": weights, "training": {"class_weights": {0: 2.0}}})


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"trainig": {}}, "config.trainig: expected a key of the layout, got `trainig`; did you mean `training`?"),
        (training(epoch=3), "training.epoch: expected a key of the layout, got `epoch`; did you mean `epochs`?"),
        (
            callbacks(early_stoping=True),
            "training.callbacks.early_stoping: expected a key of the layout, got `early_stoping`; did you mean "
            "`early_stopping`?",
        ),
        (
            callbacks(early_stopping=True, early_stopping_monitor="loss"),
            "training.callbacks.early_stopping_monitor: expected a metric of the validation part, got `loss`; write "
            "`val_loss`",
        ),
        (callbacks(early_stopping="yes"), "training.callbacks.early_stopping: expected true or false, got 'yes'"),
        (training(loss_config=[1]), "training.loss_config: expected a dict, got list"),
        (training(metrics="accuracy"), "training.metrics: expected a list of names, got 'accuracy'"),
        ({"class_weights": {0: 0}}, "class_weights: expected a weight above 0 for class 0, got 0"),
        ({"training": 3}, "training: expected a dict, got int"),
        ([], "config: expected a dict, got list"),
    ],
)
def test_what_is_in_no_row_is_refused_in_one_line(config, line):
    with pytest.raises(Problems) as raised:
        read_seed_layout(config)
    (problem,) = raised.value.problems
    assert problem.startswith(line)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(Problems) as raised:
        read_seed_layout({"training": {"epoch": 3, "los": "focal_loss"}, "clas_weights": {}})
    assert len(raised.value.problems) == 3
