"""Files: YAML without traps, versions, round trips, faults with file and line."""

from __future__ import annotations

import pytest

from ringlight.config.files import read_tree, to_yaml
from ringlight.config.load import compose, read_config, recipe_names
from ringlight.config.schema import Config
from ringlight.errors import ConfigError, Problems


@pytest.fixture
def written(tmp_path):
    def write(text, name="plant.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


FIRST_SYSTEM = """
model:
  name: "convnext_tiny_cbam"
  num_classes: 4
  pretrained: true
  cbam_stages: [3, 4]
loss:
  type: "focal_loss"
  alpha: "dynamic"
  gamma: 2.0
  reduction: "mean"
training:
  num_epochs: 100
  learning_rate: 0.001
  weight_decay: 0.0001
  early_stopping_patience: 15
  warmup_epochs: 5
data:
  batch_size: 4
  split_strategy: "stratified_70_15_15"
"""


def test_first_systems_file_is_migrated(written):
    config = compose(None, file=written(FIRST_SYSTEM, "train_config.yaml"))
    assert (config.schema_version, config.recipe) == (1, "severstal")
    assert config.model.params() == {"cbam_stages": [3, 4]}
    assert config.model.pretrained is True
    assert config.loss.params() == {"alpha": "dynamic", "gamma": 2.0, "reduction": "mean"}
    assert (config.optimizer.lr, config.optimizer.weight_decay) == (0.001, 0.0001)
    assert (config.scheduler.warmup_epochs, config.split.strategy) == (5, "stratified_70_15_15")


def test_first_systems_file_can_be_laid_over_another_recipe(written):
    assert compose("strips", file=written(FIRST_SYSTEM)).data.source == "synthetic"


@pytest.mark.parametrize("recipe", recipe_names())
def test_config_yaml_reads_back_the_same(recipe, written):
    config = compose(
        recipe, ["data.root=/a b/ä", "experiment.name=1e-3", "optimizer.lr=1e-5", "augmentation.rotation=false"]
    )
    text = to_yaml(config)
    assert read_config(written(text)) == config
    assert to_yaml(read_config(written(text))) == text


def test_complete_file_stands_in_the_recipes_place(written):
    """A run that had switched everything off must not get the recipe's augmentations back."""
    config = compose("severstal", ["augmentation=none"])
    path = written(to_yaml(config))
    assert compose("severstal", file=path).augmentation == {}
    assert compose(None, ["training.num_epochs=2"], file=path).training.num_epochs == 2
    switched = compose(None, ["loss.name=bce_with_logits"], file=path)
    assert (switched.loss.name, switched.loss.params()) == ("bce_with_logits", {})


def test_complete_file_of_another_recipe_is_refused(written):
    path = written(to_yaml(compose("severstal")))
    with pytest.raises(
        Problems, match=r"recipe: expected `severstal`, which .* was written from, got `demo`; leave it out"
    ):
        compose("demo", file=path)


@pytest.mark.parametrize("version", ["2", "-1", "true", "one", "null"])
def test_unknown_schema_version_is_refused(written, version):
    with pytest.raises(
        ConfigError, match=r"plant.yaml: schema_version: expected schema version 1 or older, got"
    ) as caught:
        read_tree(written(f"schema_version: {version}\nrecipe: demo\n"))
    assert ("upgrade" in str(caught.value)) == (version == "2")


def test_numbers_dates_and_versions_are_read_as_written(written):
    tree = read_tree(written("a: {lr: 1e-3, big: 1_000, day: 2024-01-31, blur: off, s: '1e-3', minus: -5E2, n: 12}"))
    assert tree == {
        "a": {"lr": 0.001, "big": 1000, "day": "2024-01-31", "blur": False, "s": "1e-3", "minus": -500.0, "n": 12}
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "loss:\n  gamma: [1, 2\n",
            r"plant.yaml: line 3, column 1: expected valid YAML, got .*; correct that line or the one",
        ),
        ("loss:\n  gamma: 1\n  gamma: 2\n", r"line 3, column 3: expected valid YAML, got the key `gamma` stands twice"),
        ("loss:\n\tgamma: 1\n", r"line 2, column 1: expected valid YAML"),
        ("a: !!python/object/apply:os.system [x]\n", r"line 1, column 4: expected valid YAML, got could not determine"),
        ("- loss\n", r"plant.yaml: expected sections of keys, got list .*; write `section:`"),
        ("just text\n", r"plant.yaml: expected sections of keys, got str 'just text'"),
    ],
)
def test_broken_file_is_named_with_its_line(written, text, line):
    with pytest.raises(ConfigError, match=line):
        read_tree(written(text))


def test_missing_file_folder_and_binary_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.yaml: expected a configuration file, got none; check the path"):
        compose("demo", file=tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match=r"expected a readable UTF-8 text file, got .*directory"):
        compose("demo", file=tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"x.yaml: expected a readable UTF-8 text file, got .*decode"):
        compose("demo", file=tmp_path / "x.yaml")


def test_empty_file_changes_nothing(written):
    assert compose("demo", file=written("")) == compose("demo")
    assert compose("demo", file=written("loss:\ntraining:\n")) == compose("demo")


def test_text_that_looks_like_a_number_is_quoted():
    assert "name: '1e-3'" in to_yaml(Config().replacing({"experiment.name": "1e-3"}))
