"""Composition: recipes, files, overrides and aliases become one checked tree."""

from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ringlight.config.load import compose, describe_recipes, recipe_names, to_yaml, vary
from ringlight.config.shipped import group_names

ISSUE_COMMAND = (
    "model.name=convnext_tiny_cbam loss.name=focal_loss loss.alpha=dynamic loss.gamma=2.0 data.batch_size=4 "
    "training.num_epochs=50 training.early_stopping_patience=15 split.strategy=stratified_80_10_10 experiment.seed=42"
)
SEED_COMMAND = (
    "model.name=convnext_tiny_cbam loss.type=focal_loss loss.alpha=dynamic loss.gamma=2.0 data.batch_size=6 "
    "data.split_strategy=stratified_80_10_10 training.num_epochs=100 optimizer.lr=0.001 experiment.seed=42"
)


@pytest.mark.parametrize("recipe", recipe_names())
def test_recipe_composes_and_says_what_it_is_for(recipe):
    config = compose(recipe)
    assert config.recipe == recipe
    assert describe_recipes()[recipe].endswith(".")


def test_every_group_file_composes():
    for section in ("data", "model", "loss", "optimizer", "scheduler", "split", "augmentation", "training"):
        assert group_names(section)
        for group in group_names(section):
            compose("severstal", [f"{section}={group}"])


def test_documented_commands_compose_as_written():
    config = compose("severstal", ISSUE_COMMAND.split())
    assert config.split.strategy == "stratified_80_10_10"
    assert (config.training.num_epochs, config.training.early_stopping_patience) == (50, 15)
    assert config.loss.params() == {"alpha": "dynamic", "gamma": 2.0}
    config = compose("severstal", SEED_COMMAND.split())
    assert (config.data.batch_size, config.split.strategy, config.optimizer.lr) == (6, "stratified_80_10_10", 0.001)


def test_severstal_recipe_is_the_first_systems():
    config = compose("severstal")
    assert config.augmentation == {
        "horizontal_flip": 0.5,
        "vertical_flip": 0.3,
        "rotation": {"degrees": 15, "probability": 0.5},
        "brightness_contrast": {"brightness": 0.2, "contrast": 0.2},
        "color_jitter": {"saturation": 0.1, "hue": 0.05},
        "gaussian_blur": {"kernel_size": 3},
    }
    assert (config.model.name, config.model.params()) == ("convnext_tiny_cbam", {"cbam_stages": [3, 4]})
    assert (config.scheduler.name, config.scheduler.warmup_epochs) == ("warmup_cosine", 5)
    assert (config.data.root, config.data.image_size, config.optimizer.weight_decay) == (Path("data"), None, 0.0001)


@pytest.mark.parametrize(
    ("overrides", "key", "expected"),
    [
        (["augmentation.rotation=null"], "rotation", None),
        (["augmentation.rotation=false"], "rotation", False),
        (["augmentation.rotation.degrees=5"], "rotation", {"degrees": 5, "probability": 0.5}),
        (["augmentation.rotation={degrees: 5}"], "rotation", {"degrees": 5, "probability": 0.5}),
        (["augmentation.rotation=0.25"], "rotation", 0.25),
        (["augmentation.horizontal_flip.probability=0.1"], "horizontal_flip", {"probability": 0.1}),
    ],
)
def test_augmentation_is_switched_off_or_tuned_by_its_own_key(overrides, key, expected):
    augmentation = compose("severstal", overrides).augmentation
    assert augmentation[key] == expected
    assert augmentation["vertical_flip"] == 0.3


@pytest.mark.parametrize("override", ["augmentation=null", "augmentation=false", "augmentation=none", "~augmentation"])
def test_all_augmentations_are_switched_off_at_once(override):
    assert compose("severstal", [override]).augmentation == {}


@pytest.mark.parametrize("override", ["loss=bce_with_logits", "loss.name=bce_with_logits", "loss.type=bce_with_logits"])
def test_another_part_takes_the_recipes_parameters_away(override):
    """`loss.name=bce_with_logits` once kept the recipe's gamma, which that loss refuses."""
    assert compose("severstal", [override]).loss.params() == {}


def test_parameter_the_user_gave_stays_for_the_catalogue_to_judge():
    config = compose("severstal", ["loss.gamma=3", "loss.name=bce_with_logits", "loss.pos_weight=2"])
    assert config.loss.params() == {"gamma": 3, "pos_weight": 2}


@pytest.mark.parametrize("choice", ["optimizer=sgd", "optimizer.name=sgd", "training.optimizer=sgd"])
def test_group_file_of_another_part_brings_its_values(choice):
    optimizer = compose("severstal", [choice]).optimizer
    assert (optimizer.name, optimizer.lr, optimizer.params()) == ("sgd", 0.01, {"momentum": 0.9})
    assert compose("severstal", ["training.lr=0.5", choice]).optimizer.lr == 0.5


def test_part_without_a_group_file_keeps_the_family_fields():
    model = compose("severstal", ["model=efficientnet_b0", "model.drop_rate=0.1"]).model
    assert (model.name, model.drop_rate, model.params()) == ("efficientnet_b0", 0.1, {})
    data = compose("severstal", ["data.source=table"]).data
    assert (data.batch_size, data.params()) == (4, {})


def test_file_lies_between_recipe_and_overrides(tmp_path):
    file = tmp_path / "plant.yaml"
    file.write_text(
        "recipe: severstal\nloss: {name: bce_with_logits, pos_weight: 3}\nsplit: stratified_80_20\n"
        "training: {lr: 0.5, epochs: 7}\naugmentation: {rotation: {degrees: 2}, gaussian_blur: null}\nmodel: resnet18\n"
    )
    config = compose(None, ["training.num_epochs=9"], file=file)
    assert (config.recipe, config.split.strategy, config.model.name) == ("severstal", "stratified_80_20", "resnet18")
    assert (config.optimizer.lr, config.training.num_epochs) == (0.5, 9)
    assert config.loss.params() == {"pos_weight": 3}
    assert config.augmentation["rotation"] == {"degrees": 2, "probability": 0.5}
    assert config.augmentation["gaussian_blur"] is None
    switched = compose(None, ["loss.name=cross_entropy"], file=file)
    assert switched.loss.params() == {}, "the file's pos_weight belonged to the file's loss"


def test_files_learning_rate_outlives_the_group_of_another_optimizer(tmp_path):
    file = tmp_path / "plant.yaml"
    file.write_text("optimizer: {lr: 0.02}\n")
    assert compose("severstal", ["optimizer.name=sgd"], file=file).optimizer.lr == 0.02


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("data.root=/data/strips 2024 (new), [a]", Path("/data/strips 2024 (new), [a]")),
        ("data.root=Prüfung/Ä=b", Path("Prüfung/Ä=b")),
        ("data.root='quoted path'", Path("quoted path")),
        ("data.root=007", Path("007")),
        ("data.root=", None),
        ("data.root=null", None),
        ("data.data_dir=x", Path("x")),
        ("++data.root=x", Path("x")),
    ],
)
def test_path_is_taken_as_it_stands(override, read):
    assert compose("severstal", [override]).data.root == read


@pytest.mark.parametrize(
    ("override", "key", "read"),
    [
        (r"data.label_regex=^(.+)_\d{1,3}\.(jpg|png)$", "label_regex", r"^(.+)_\d{1,3}\.(jpg|png)$"),
        ("data.label_regex=[a-z]+", "label_regex", "[a-z]+"),
        ("+data.note=größer", "note", "größer"),
        ("data.frequencies=[0.5,0.5]", "frequencies", [0.5, 0.5]),
        ("data.difficulty=1e-1", "difficulty", 0.1),
    ],
)
def test_parameter_of_a_part_is_read_as_it_is_meant(override, key, read):
    assert compose("folder", [override]).data.params()[key] == read


def test_deleted_key_returns_to_its_default():
    config = compose("severstal", ["~training.num_epochs", "~loss.gamma", "~augmentation.rotation", "~split"])
    assert (config.training.num_epochs, config.loss.params()) == (50, {"alpha": "dynamic"})
    assert "rotation" not in config.augmentation
    assert config.split.strategy == "stratified_70_15_15"


def test_recipes_warmup_shrinks_with_a_run_that_was_made_short(tmp_path):
    """Two epochs of a recipe that warms up for five once stopped in the schedule."""
    assert compose("severstal", ["training.num_epochs=2"]).scheduler.warmup_epochs == 0.1
    assert compose("severstal", ["training=quick"]).scheduler.warmup_epochs == 0.1
    assert compose("severstal", ["training.num_epochs=50"]).scheduler.warmup_epochs == 5
    assert compose("severstal", ["training.num_epochs=200"]).scheduler.warmup_epochs == 5
    assert compose("severstal", ["training.num_epochs=2", "training.warmup_epochs=2"]).scheduler.warmup_epochs == 2
    run = tmp_path / "config.yaml"
    run.write_text(to_yaml(compose("severstal", ["training.num_epochs=2", "scheduler.warmup_epochs=2"])))
    assert compose(None, file=run).scheduler.warmup_epochs == 2
    assert compose(None, ["training.num_epochs=1"], file=run).scheduler.warmup_epochs == 0.5


def test_recipe_can_be_named_among_the_overrides():
    assert compose(None, ["recipe=demo"]).recipe == "demo"


def test_last_of_two_equal_spellings_wins():
    assert compose("demo", ["training.num_epochs=3", "training.num_epochs=4"]).training.num_epochs == 4
    assert compose("demo", ["training.epochs=3", "training.num_epochs=3"]).training.num_epochs == 3


def test_parts_are_checked_on_the_merged_plain_tree():
    seen = []
    compose("severstal", ["loss.gamma=1"], check_parts=lambda tree: seen.append(tree) or [])
    assert seen[0]["loss"] == {"name": "focal_loss", "alpha": "dynamic", "gamma": 1}
    assert seen[0]["data"]["source"] == "severstal"
    assert "schema_version" not in seen[0]


def test_composing_leaves_hydra_and_logging_as_they_were():
    from hydra.core.global_hydra import GlobalHydra

    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    compose("severstal", ["model=resnet18"])
    assert not GlobalHydra.instance().is_initialized()
    assert (list(root.handlers), root.level) == before


def test_threads_compose_side_by_side():
    from ringlight.config.load import _hydra_compose

    _hydra_compose.cache_clear()
    names = recipe_names() * 3
    with ThreadPoolExecutor(6) as pool:
        assert [config.recipe for config in pool.map(compose, names)] == names


def test_configurations_do_not_share_what_they_hold():
    compose("severstal").augmentation["rotation"] = None
    assert compose("severstal").augmentation["rotation"] is not None


def test_importing_and_composing_loads_no_torch():
    code = (
        "import sys, ringlight.config.load as load; assert 'hydra' not in sys.modules; load.compose('severstal');"
        "print([name for name in ('torch', 'numpy', 'pyarrow', 'lightning', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(
    ("overrides", "sam", "own"),
    [
        (["optimizer.sam.rho=0.1"], {"rho": 0.1}, {}),
        (["optimizer.sam={}"], {"rho": 0.05}, {}),
        (["optimizer.sam.rho=0.1", "optimizer.sam=null"], None, {}),
        (["optimizer.sam.rho=0.1", "~optimizer.sam"], None, {}),
        (["optimizer.sam.rho=0.1", "optimizer=sgd", "optimizer.nesterov=false"], {"rho": 0.1}, {"nesterov": False}),
    ],
)
def test_what_is_put_around_an_optimizer_is_set_key_by_key_and_is_no_parameter_of_its_own(overrides, sam, own):
    """It stays when another optimiser is chosen, whose own parameters must not hold it."""
    section = compose("demo", overrides).optimizer
    assert section.model_dump()["sam"] == sam
    assert own.items() <= section.params().items()
    assert not {"sam", "asam", "lookahead", "gradient_centralization"} & section.params().keys()


def test_the_whole_of_an_optimizer_is_written_as_one_mapping_and_read_back(tmp_path):
    text = "optimizer={name: adamw, sam: {rho: 0.05}, lookahead: {k: 6, alpha: 0.5}, gradient_centralization: true}"
    config = compose("demo", [text])
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config))
    again = compose(None, file=file).optimizer
    assert again == config.optimizer
    assert (again.lookahead.k, again.sam.rho, again.gradient_centralization) == (6, 0.05, True)
    assert vary(config, {"optimizer.sam.rho": 0.2}).optimizer.sam.rho == 0.2
