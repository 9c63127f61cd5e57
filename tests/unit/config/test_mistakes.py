"""Mistakes: each is one readable line with the near miss, and all come at once."""

from __future__ import annotations

import pytest

from ringlight.config.load import compose
from ringlight.errors import Problems


def lines(overrides, recipe="severstal", **options):
    with pytest.raises(Problems) as caught:
        compose(recipe, overrides, **options)
    assert caught.value.exit_code == 2
    return caught.value.problems


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "training.num_epochs=many",
            "training.num_epochs: expected a valid integer, got 'many'; correct the value (default: 50)",
        ),
        (
            "training.num_epoch=5",
            "training.num_epoch: expected a key of training, got unknown key `training.num_epoch`; "
            "did you mean `num_epochs`?",
        ),
        (
            "evaluation.operating_points.safe.targe=0.9",
            "evaluation.operating_points.safe.targe: expected a key of an operating point, got unknown key `targe`; "
            "did you mean `target`?",
        ),
        (
            "evaluation.operating_points.safe.target=2",
            "evaluation.operating_points.safe.target: expected a number less than 1, got 2; "
            "correct the value (default: null)",
        ),
        (
            "evaluation.operating_points.safe=98",
            "evaluation.operating_points.safe: expected a mapping of parameters, got 98; correct the value",
        ),
        (
            "optimizer.sam.roh=0.1",
            "optimizer.sam.roh: expected a key of optimizer.sam, got unknown key `roh`; did you mean `rho`?",
        ),
        (
            "optimizer.asam.rho=-1",
            "optimizer.asam.rho: expected a number greater than 0, got -1; correct the value (default: 0.5)",
        ),
        (
            "optimizer.lookahead={k: 0.5}",
            "optimizer.lookahead.k: expected a valid integer, got 0.5; correct the value (default: 5)",
        ),
        (
            "optimizer.sam=5",
            "optimizer.sam: expected a mapping of parameters, got 5; correct the value (default: null)",
        ),
        (
            "optimizer={sam: {rho: 0.1}, asam: {}}",
            "optimizer.asam: expected null beside optimizer.sam: a step climbs once, got {}; correct the value "
            "(default: null)",
        ),
        (
            "optimizer.gradient_centralization=1",
            "optimizer.gradient_centralization: expected true or false, got 1; correct the value (default: false)",
        ),
        ("trainig.lr=1", "trainig: expected a section, got unknown section `trainig`; did you mean `training`?"),
        ("lr=1", "lr: expected section.key=value, got unknown key `lr`; did you mean `optimizer.lr`?"),
        (
            "training.cbam=1",
            "training.cbam: expected a key of training, got unknown key `training.cbam`; choose from: "
            "accumulate_steps, checkpoint_minutes, compile, confusion_every_n_epochs, device, "
            "early_stopping_min_delta, early_stopping_monitor, early_stopping_patience, ema_decay, ema_snapshots, "
            "frozen_views, gradient_clip_norm, ... (22 in all)",
        ),
        (
            "experiment.batch_size=4",
            "experiment.batch_size: expected a key of experiment, got unknown key `experiment.batch_size`; "
            "did you mean `data.batch_size`?",
        ),
        (
            "training.early_stopping_patience=None",
            "training.early_stopping_patience: expected a valid integer, got 'None'; write null for none",
        ),
        (
            "training.device=cdua",
            "training.device: expected 'auto', 'cpu', 'cuda' or 'cuda:N', got 'cdua'; did you mean `cuda`?",
        ),
        (
            "data.num_workers=atuo",
            "data.num_workers: expected a valid integer or 'auto', got 'atuo'; did you mean `auto`?",
        ),
        (
            "data.image_size=8",
            "data.image_size: expected a number greater than or equal to 16, got 8; correct the value (default: null)",
        ),
        (
            "data.image_size=[8,8,8]",
            "data.image_size: expected a list [height, width], got [8, 8, 8]; correct the value (default: null)",
        ),
        (
            "model.pretrained=7",
            "model.pretrained: expected 'auto' or true or false, got 7; correct the value (default: auto)",
        ),
        (
            "augmentation.rotation=much",
            "augmentation.rotation: expected null, true, false, a number or a mapping of parameters, got 'much'; "
            "correct the value",
        ),
        (
            "split=stratified_80",
            "split: expected a group of split, got `stratified_80`; did you mean `stratified_80_20`?",
        ),
        ("experiment=mine", "experiment: expected keys, got 'mine'; write experiment.KEY=VALUE"),
        ("loss=5", "loss: expected a group or keys, got 5; write loss.KEY=VALUE"),
        (
            "model.cbam_stages=3,4",
            "model.cbam_stages: expected one value, got a sweep `model.cbam_stages=3,4`; write a list as "
            "model.cbam_stages=[...], text with commas in quotes",
        ),
        (
            "loss.gamma",
            "override `loss.gamma`: expected section.key=value, got no `=`; write loss.gamma=VALUE, or ~loss.gamma to "
            "delete",
        ),
        (
            "loss.alpha=[1,",
            "override `loss.alpha=[1,`: expected section.key=value, got no viable alternative at input '[1,'; put text "
            "with special characters in quotes",
        ),
        (
            "loss._target_=os.system",
            "loss._target_: expected plain values, got a key that names code to run; choose a part by its name "
            "(loss.name=focal_loss)",
        ),
        (
            "loss.alpha=${oc.env:HOME}",
            "loss.alpha: expected a plain value, got the interpolation '${oc.env:HOME}'; write the value itself",
        ),
        ("~loss.delta", "loss.delta: expected a key of loss, got unknown key `loss.delta`; choose from: name"),
        (
            "~augmentation.blur",
            "augmentation.blur: expected a key that is set, got nothing to delete; remove `~augmentation.blur`",
        ),
        ("recipe=demo", "recipe: expected one recipe, got `severstal` and `demo`; name one"),
        ("model.name=[1]", "model.name: expected a valid string, got [1]; correct the value (default: resnet18)"),
    ],
)
def test_mistake_is_one_line_that_says_what_to_do(override, line):
    assert lines([override]) == [line]


@pytest.mark.parametrize(
    "override", ["", "=", "=3", "a@b=c", "hydra.run.dir=x", "hydra/launcher=x", "loss.=3", ".loss=3"]
)
def test_what_is_no_override_is_refused_in_one_line(override):
    assert len(lines([override])) == 1


def test_code_is_refused_in_a_file_too(tmp_path):
    file = tmp_path / "plant.yaml"
    file.write_text("recipe: severstal\naugmentation: {rotation: {_target_: os.system}}\nhydra: {run: {dir: x}}\n")
    assert [line.partition(":")[0] for line in lines([], None, file=file)] == [
        "augmentation.rotation._target_",
        "hydra",
    ]


@pytest.mark.parametrize("text", ["loss: [1]", "1: {a: b}", "loss: {1: 2}", "training: many", "num_epochs: 3"])
def test_odd_section_in_a_file_is_a_readable_mistake(tmp_path, text):
    from ringlight.errors import UserError

    file = tmp_path / "plant.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"expected .*, got .*; "):
        compose("severstal", file=file)


def test_warmup_longer_than_the_run_is_refused():
    assert lines(["training.num_epochs=2", "scheduler.warmup_epochs=3"]) == [
        "scheduler.warmup_epochs: expected a warm-up no longer than the run's 2 epochs, got 3; shorten it, or raise "
        "training.num_epochs"
    ]


def test_all_mistakes_come_at_once():
    wrong = [
        "training.num_epochs=many",
        "trainig.lr=1",
        "loss.gamma",
        "optimizer.lr=-1",
        "split=strat",
        "data.task=none",
    ]
    assert [line.partition(":")[0] for line in lines(wrong, "severstl")] == [
        "override `loss.gamma`",
        "recipe",
        "split",
        "trainig",
        "data.task",
        "optimizer.lr",
        "training.num_epochs",
    ]


def test_catalogues_lines_come_together_with_the_schemas():
    found = lines(
        ["training.num_epochs=many", "loss.gama=2", "model.drop_rte=0.1", "model.lr=1"],
        check_parts=lambda _: [
            "loss.gama: expected a parameter of loss `focal_loss`, got unknown key `loss.gama`; did you mean `gamma`?",
            "model.drop_rte: expected a key of `x`, got unknown key `model.drop_rte`; choose from: cbam_stages",
            "model.lr: expected a key of `x`, got unknown key `model.lr`; choose from: cbam_stages",
            "training.num_epochs: expected something, got it twice; mend it",
        ],
    )
    assert found == [
        "training.num_epochs: expected a valid integer, got 'many'; correct the value (default: 50)",
        "loss.gama: expected a parameter of loss `focal_loss`, got unknown key `loss.gama`; did you mean `gamma`?",
        "model.drop_rte: expected a key of `x`, got unknown key `model.drop_rte`; did you mean `drop_rate`?",
        "model.lr: expected a key of `x`, got unknown key `model.lr`; did you mean `optimizer.lr`?",
    ]


def test_part_whose_name_is_no_text_is_told_once():
    """The catalogues would fail on a list; the schema's line is enough."""
    checked = []
    found = lines(["loss.name=[1]"], check_parts=lambda tree: checked.append(tree["loss"]) or [])
    assert (len(found), checked) == (1, [{"name": "cross_entropy"}])


@pytest.mark.parametrize(
    ("recipe", "end"),
    [
        ("severstl", "got `severstl`; did you mean `severstal`?"),
        (
            None,
            "got none; choose from: air_leak, cifar100, defect_classifier, demo, folder, frozen, magnetic_tile, "
            "metric_learning, neu, neu_lite0, severstal, strips, table, view_classifier, windows, windows_features",
        ),
        ("plant.yaml", "got `plant.yaml`; read a file with --config plant.yaml"),
    ],
)
def test_recipe_that_is_not_there_is_told_with_what_is(recipe, end):
    assert lines([], recipe) == [f"recipe: expected a recipe, {end}"]


def test_unknown_recipe_does_not_hide_the_users_other_mistakes_behind_invented_ones():
    found = lines(["loss.gamma=2"], "severstl", check_parts=lambda _: ["loss.gamma: expected ..., got gamma; ..."])
    assert len(found) == 1


def test_alias_and_key_with_different_values_are_refused(tmp_path):
    assert lines(["training.lr=1", "optimizer.lr=2"]) == [
        "overrides: expected one value of optimizer.lr, got optimizer.lr=2 and training.lr=1; keep one of the two, "
        "best as `optimizer.lr`"
    ]
    file = tmp_path / "plant.yaml"
    file.write_text("training: {lr: 0.1, learning_rate: 0.2}\noptimizer: {lr: 0.1}\n")
    assert lines([], file=file) == [
        f"{file}: expected one value of optimizer.lr, got training.learning_rate=0.2 and optimizer.lr=0.1; keep one of "
        "the two, best as `optimizer.lr`"
    ]
