"""The plan: every choice written out, classes counted where the model learns, faults refused before a run exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ringlight.config.load import compose
from ringlight.errors import ConfigError, DataError, Problems, SplitError
from ringlight.losses import LOSSES
from ringlight.training.plan import Plan, make_plan, part_problems
from ringlight.training.records import load_dataset, make_source

PlanOf = Callable[..., Plan]


@pytest.fixture(autouse=True)
def random_state() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


def test_every_automatic_choice_is_written_out(plan_of: PlanOf, tile_folder: Path) -> None:
    config = plan_of("training.num_threads=null", "training.precision=auto").config
    assert config.training.device == "cpu"
    assert config.training.precision == "32"
    assert config.training.num_threads == torch.get_num_threads()
    assert config.data.task == "multiclass"
    assert config.split.groups == "duplicates"
    assert plan_of(r"data.group_regex=_(\d)\.").config.split.groups == "given"
    assert isinstance(config.data.num_workers, int)
    assert config.data.root == tile_folder
    assert config.model.num_classes == 3
    assert config.model.pretrained is False


def test_dynamic_class_weights_count_the_training_part_alone(plan_of: PlanOf) -> None:
    """Counted over all records, the weights of the loss would know the test part."""
    plan = plan_of("loss.name=focal_loss", "loss.alpha=dynamic", "split.strategy=stratified_70_15_15")
    train = plan.part("train").class_counts()
    assert train != plan.dataset.class_counts()
    other = plan_of("loss.name=focal_loss", "loss.alpha=dynamic", "split.strategy=stratified_80_10_10")
    assert plan.config.loss.params()["alpha"] != other.config.loss.params()["alpha"]
    expected = LOSSES.build(
        "focal_loss", num_classes=3, task="multiclass", class_counts=list(train.values()), alpha="dynamic"
    )
    assert plan.config.loss.params()["alpha"] == expected.get_params()["alpha"]


def test_the_plan_of_a_written_plan_is_the_same(plan_of: PlanOf) -> None:
    first = plan_of("loss.name=focal_loss", "loss.alpha=dynamic")
    again = make_plan(first.config, Path("unused"))
    assert again.config == first.config
    assert again.dataset.fingerprint == first.dataset.fingerprint
    state = again.module.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in first.module.state_dict().items())


def test_without_a_validation_part_nothing_is_monitored_and_it_is_said(plan_of: PlanOf) -> None:
    plan = plan_of("split.strategy=stratified_80_20", "training.early_stopping_patience=3")
    assert plan.monitor is None
    assert "no validation part: early stopping is off and the last weights are judged" in plan.notes
    assert plan_of("split.strategy=stratified_80_10_10").monitor == "macro_f1"


def test_the_notes_tell_the_weights_and_what_the_check_found(plan_of: PlanOf, tile_folder: Path) -> None:
    (tile_folder / "bright" / "copy.png").write_bytes((tile_folder / "dark" / "dark_0.png").read_bytes())
    notes = plan_of().notes
    assert any("random weights" in note for note in notes)
    assert any("copy.png" in note and "dark_0.png" in note for note in notes)


def test_parts_are_the_splits_records_in_order(plan_of: PlanOf) -> None:
    plan = plan_of("split.strategy=stratified_80_10_10")
    ids = {name: plan.part(name).ids for name in ("train", "val", "test")}
    assert sorted([*ids["train"], *ids["val"], *ids["test"]]) == sorted(plan.dataset.ids)
    assert ids["val"] == [plan.dataset.ids[row] for row in plan.split.val]


def test_found_copies_stay_together_and_are_no_part_of_the_datas_identity(plan_of: PlanOf, tile_folder: Path) -> None:
    """The same data had another fingerprint when it was split in another way: its runs could not be compared."""
    for number in range(4):
        (tile_folder / "dark" / f"copy_{number}.png").write_bytes((tile_folder / "dark" / "dark_0.png").read_bytes())
    plan = plan_of()
    groups = dict(zip(plan.dataset.ids, plan.dataset.groups or [], strict=True))
    copies = ["dark/dark_0.png", *(f"dark/copy_{number}.png" for number in range(4))]
    assert {groups[key] for key in copies} == {"near:dark/copy_0.png"}
    assert sum(bool(set(copies) & set(plan.part(name).ids)) for name in ("train", "val", "test")) == 1
    assert plan.given.groups is None
    assert plan.fingerprint == plan.given.fingerprint != plan.dataset.fingerprint
    alone = plan_of("split.groups=none", "split.allow_leak=true")
    assert alone.fingerprint == plan.fingerprint
    assert alone.split.leaky == any("leak: " in note for note in alone.notes)
    assert plan.split.groups == "near-duplicates found in the files"
    assert plan.split.leak_check == "near-duplicates found in the files, identical files: no leak found"
    assert any(note.startswith("near-duplicates: 5 of 19 records share their group") for note in plan.notes)


def test_a_leak_is_refused_before_a_model_is_built(plan_of: PlanOf, tile_folder: Path) -> None:
    for number in range(6):
        (tile_folder / "dark" / f"copy_{number}.png").write_bytes((tile_folder / "dark" / "dark_0.png").read_bytes())
    with pytest.raises(
        SplitError, match=r"^tiles: expected what belongs together in one part, got 1 group in two parts"
    ):
        plan_of("split.groups=none")


def test_images_of_several_sizes_ask_for_one(plan_of: PlanOf, tile_folder: Path, make_image: Any) -> None:
    make_image(tile_folder / "dark" / "wide.png", size=(32, 64))
    with pytest.raises(
        DataError, match=r"expected images of one size, or data.image_size, got 2 sizes \(.*32.*\); set data.image_size"
    ):
        plan_of("data.image_size=null")
    assert plan_of("data.image_size=[32,48]").spec.image_size == (32, 48)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.num_classes=5", r"^model.num_classes: expected num_classes=3, the classes of .*: bright, dark, middle"),
        ("training.monitor=recall/drak", r"training.monitor: expected a validation metric, got `recall/drak`; .*dark"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(plan_of: PlanOf, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of(override)


def test_every_unusable_file_gets_its_line_and_many_are_counted(plan_of: PlanOf, tile_folder: Path) -> None:
    for number in range(22):
        (tile_folder / "dark" / f"broken_{number:02d}.png").write_bytes(b"")
    with pytest.raises(Problems) as caught:
        plan_of()
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert "broken_00.png" in lines[0]
    assert lines[-1] == "tiles: and 2 more faults of this kind (22 in all)"


def test_a_label_only_table_is_not_trained_on(plan_of: PlanOf, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("id,label\n" + "".join(f"r{index},{'ab'[index % 2]}\n" for index in range(12)))
    with pytest.raises(DataError, match=r"expected records with images, got a label-only table; add a path column"):
        plan_of("data.source=table", "data.label_columns=label", root=table)


def test_a_source_without_a_root_is_refused_except_the_synthetic_one(tmp_path: Path) -> None:
    config = compose("demo", ["data.num_images=6", "data.height=16", "data.width=32"])
    first = make_source(config, tmp_path).root
    assert first.parent == tmp_path
    other = compose("demo", ["data.num_images=7", "data.height=16", "data.width=32"])
    assert make_source(other, tmp_path).root != first
    with pytest.raises(ConfigError, match=r"data.root: expected a folder, got none; set data.root=FOLDER"):
        make_source(compose("folder", []), tmp_path)


def test_a_task_that_the_source_cannot_give_is_refused(tmp_path: Path) -> None:
    config = compose("demo", ["data.num_images=6", "data.height=32", "data.width=32", "data.task=multiclass"])
    with pytest.raises(ConfigError, match=r"^data.task: expected multilabel, got multiclass; leave it out"):
        load_dataset(config, tmp_path)


def test_a_loaded_data_set_carries_its_content(tile_folder: Path, tmp_path: Path) -> None:
    dataset = load_dataset(compose("folder", [f"data.root={tile_folder}"]), tmp_path).dataset
    assert dataset.table.column("content").null_count == 0


def test_every_wrong_part_name_and_parameter_gets_a_line() -> None:
    tree = {
        "model": {"name": "resnet10t", "depht": 3},
        "loss": {"name": "focal_los"},
        "optimizer": {"name": "adamw", "momentum": 0.9},
        "scheduler": {"name": "plateau"},
        "data": {"source": "folder", "root": "x"},
        "augmentation": {"horizontal_flop": True},
    }
    lines = part_problems(tree)
    for words in (("depht",), ("focal_los", "focal_loss"), ("momentum",), ("horizontal_flop", "horizontal_flip")):
        assert any(all(word in line for word in words) for line in lines), words
    assert len(lines) == 4


def test_a_plan_changes_neither_threads_nor_determinism(plan_of: PlanOf) -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    plan_of("training.num_threads=1")
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
