"""`imbalance.method` from a configuration to a finished run: every method, `auto`, and what is refused."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ringlight.errors import ConfigError, InterruptedRunError, Problems, UserError
from ringlight.losses.adjust import post_hoc_logit_adjustment
from ringlight.services import runs
from ringlight.services.runs import Run
from ringlight.training import build
from ringlight.training.frozen_features import FeatureTable
from ringlight.training.imbalance import METHODS
from ringlight.training.plan import Plan
from ringlight.types import Task

MakeImage = Callable[..., Path]
Train = Callable[..., Run]

SMALL = (
    "data.image_size=32",
    "data.batch_size=8",
    "data.num_workers=0",
    "data.cache=off",
    "augmentation=none",
    "split.groups=none",
    "split.leak_probe=false",
    "model.name=resnet10t",
    "model.pretrained=false",
    "training.num_epochs=1",
    "training.device=cpu",
    "training.num_threads=1",
    "training.precision=32",
    "training.memory_format=contiguous",
    "scheduler.warmup_epochs=0",
    "evaluation.num_resamples=100",
    "evaluation.num_mistakes=0",
)
COUNTS = {"good": 40, "scratch": 16, "PASS": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_image: MakeImage) -> Path:
    """Three classes told apart by brightness, 40, 16 and 8 tiles of 32 x 32."""
    root = tmp_path_factory.mktemp("imbalance") / "tiles"
    for place, (name, count) in enumerate(COUNTS.items()):
        for index in range(count):
            make_image(root / name / f"{index}.png", brightness=60.0 + 70 * place, seed=1000 * place + index)
    return root


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, make_image: MakeImage) -> Path:
    """Several labels: a bright upper half is `top`, a bright left half, four times as rare, `left`."""
    root = tmp_path_factory.mktemp("imbalance") / "table"
    lines = ["path,labels"]
    for index in range(64):
        top, left = index % 2, int(index % 8 in (0, 1))
        pixels = np.random.default_rng(index).normal(70, 10, (32, 32, 3))
        pixels[:16] += 90 * top
        pixels[:, :16] += 60 * left
        make_image(root / f"{index}.png", pixels=np.clip(pixels, 0, 255).astype(np.uint8))
        lines.append(f"{index}.png,{';'.join(['top'] * top + ['left'] * left)}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def settings(task: Task, folder: Path, table: Path, *overrides: str) -> tuple[str, list[str]]:
    if task == "multiclass":
        return "folder", [*SMALL, f"data.root={folder}", *overrides]
    return "table", [*SMALL, f"data.root={table}", "data.task=multilabel", *overrides]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory, folder: Path, table: Path) -> Train:
    workspace = tmp_path_factory.mktemp("imbalance") / "workspace"

    def run(*overrides: str, task: Task = "multiclass", **options: Any) -> Run:
        recipe, values = settings(task, folder, table, *overrides)
        return runs.train(recipe, values, **{"workspace": workspace, **options})

    return run


@pytest.fixture
def planned(folder: Path, table: Path, tmp_path: Path) -> Callable[..., Plan]:
    def make(*overrides: str, task: Task = "multiclass") -> Plan:
        recipe, values = settings(task, folder, table, *overrides)
        return runs.plan(runs.configure(recipe, values), tmp_path / "ws")

    return make


def judged(run: Run) -> npt.NDArray[np.float32]:
    """Return the raw scores of the judged part, (N, K)."""
    kept = pq.read_table(run.folder / "predictions.parquet")
    names = [name for name in kept.column_names if name.startswith("logit/")]
    return np.stack([kept.column(name).to_numpy() for name in names], axis=1)


def weights_of(run: Run) -> dict[str, npt.NDArray[Any]]:
    return dict(load_file(run.bundle / "model.safetensors"))


# --- every method -----------------------------------------------------------------------------------------------------

PAIRS = [(name, task) for name, method in METHODS.items() for task in get_args(Task) if method.suits(task)]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "task"), PAIRS, ids=str)
def test_every_method_trains_and_its_configuration_runs_again_to_the_same_bits(
    method: str, task: Task, train: Train, tmp_path: Path
) -> None:
    run = train(f"imbalance.method={method}", task=task)
    config = runs.read_config(run.folder / "config.yaml")
    assert config.imbalance.method == method
    assert run.results["imbalance"]["method"] == method
    assert run.results["imbalance"]["loss"] == run.results["loss"]["name"] == config.loss.name
    assert run.results["imbalance"]["sampler"] == config.sampler.name
    again = runs.train(None, file=run.folder / "config.yaml", workspace=tmp_path / "elsewhere")
    np.testing.assert_array_equal(judged(again), judged(run))
    for same in ("test", "history", "imbalance", "hyper_parameters"):
        assert again.results[same] == run.results[same], same


@pytest.mark.parametrize(
    ("method", "task"), [("asymmetric", "multiclass"), ("balanced_softmax", "multilabel"), ("ldam_drw", "multilabel")]
)
def test_a_method_without_a_form_for_the_task_is_refused_in_one_line(
    method: str, task: Task, planned: Callable[..., Plan]
) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"^imbalance.method: expected a method for {task} data, got {method}; choose from: none, .*$",
    ):
        planned(f"imbalance.method={method}", task=task)


# --- what follows the training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", get_args(Task))
def test_post_hoc_is_the_plain_run_with_the_prior_taken_out(task: Task, train: Train) -> None:
    plain = train("imbalance.method=none", task=task)
    run = train("imbalance.method=post_hoc", "imbalance.tau=0.7", task=task)
    seen = list(run.results["imbalance"]["seen_per_epoch"].values())
    records = run.results["split"]["parts"]["train"]["num_records"]
    offsets = post_hoc_logit_adjustment(seen, 0.7, task, records).numpy()
    np.testing.assert_allclose(judged(run), judged(plain) + offsets, rtol=1e-5, atol=1e-5)
    assert [row["train/loss"] for row in run.results["history"]] == [
        row["train/loss"] for row in plain.results["history"]
    ]
    assert any(note.startswith("post_hoc: 0.7 of the classes' prior") for note in run.results["notes"])


@pytest.mark.parametrize("task", get_args(Task))
def test_crt_changes_the_classifier_of_the_plain_run_and_nothing_else(task: Task, train: Train) -> None:
    plain, run = (weights_of(train(f"imbalance.method={method}", task=task)) for method in ("none", "crt"))
    assert set(plain) == set(run)
    changed = {name for name in plain if not np.array_equal(plain[name], run[name])}
    assert changed == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("method", ["crt", "post_hoc"])
def test_what_follows_the_training_follows_frozen_features_too(method: str, train: Train) -> None:
    run = train(f"imbalance.method={method}", "training.mode=frozen")
    assert any(note.startswith(f"{method}: ") for note in run.results["notes"])


# --- auto -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def automatic(train: Train) -> Run:
    return train("imbalance.method=auto")


def test_auto_says_in_log_results_and_report_what_it_chose(automatic: Run) -> None:
    auto = automatic.results["imbalance"]["auto"]
    assert auto["tried"][0]["method"] == "none"
    assert auto["rarest"] == "PASS"
    sentence = auto["sentence"]
    assert sentence.startswith("imbalance: auto ")
    assert sentence in automatic.results["notes"]
    assert sentence in (automatic.folder / "train.log").read_text()
    page = (automatic.folder / "report.html").read_text()
    assert "Rare classes" in page
    assert sentence.partition("(")[0].removeprefix("imbalance: ") in page


def test_auto_is_written_down_as_the_method_it_chose_which_runs_again_to_the_same_bits(
    automatic: Run, tmp_path: Path
) -> None:
    auto = automatic.results["imbalance"]["auto"]
    config = runs.read_config(automatic.folder / "config.yaml")
    assert config.imbalance.method == auto["method"] == automatic.results["imbalance"]["method"]
    assert auto["tau"] is None or config.imbalance.tau == auto["tau"]
    again = runs.train(None, file=automatic.folder / "config.yaml", workspace=tmp_path / "elsewhere")
    np.testing.assert_array_equal(judged(again), judged(automatic))
    assert again.results["test"] == automatic.results["test"]


def test_the_run_is_that_of_the_chosen_method(automatic: Run, train: Train) -> None:
    """The trial draws numbers and passes pictures through the model: neither may be felt in the training."""
    config = runs.read_config(automatic.folder / "config.yaml")
    direct = train(f"imbalance.method={config.imbalance.method}", f"imbalance.tau={config.imbalance.tau}")
    np.testing.assert_array_equal(judged(direct), judged(automatic))


@pytest.mark.parametrize("task", get_args(Task))
def test_one_seed_gives_one_choice(task: Task, planned: Callable[..., Plan]) -> None:
    first, second = (planned("imbalance.method=auto", task=task).choice for _ in range(2))
    assert first is not None
    assert first == second


def test_validation_and_test_records_have_no_part_in_the_choice(
    planned: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their features made useless change nothing."""
    plan = planned("imbalance.method=auto")
    table_of = build.feature_table
    kept = set(plan.part("train").ids)

    def spoilt(*arguments: Any, **named: Any) -> FeatureTable:
        table = table_of(*arguments, **named)
        features = table.features.copy()
        features[[row for key, row in table.rows.items() if key not in kept]] = np.nan
        return FeatureTable(features, table.rows)

    monkeypatch.setattr(build, "feature_table", spoilt)
    assert planned("imbalance.method=auto").choice == plan.choice


def test_auto_with_a_scarce_class_keeps_plain_cross_entropy_and_says_why(
    train: Train, tmp_path: Path, make_image: MakeImage
) -> None:
    for name, count in (("good", 20), ("rare", 5)):
        for index in range(count):
            seed = 40 * count + index
            make_image(tmp_path / "tiles" / name / f"{index}.png", brightness=float(seed % 200), seed=seed)
    run = train("imbalance.method=auto", f"data.root={tmp_path / 'tiles'}", workspace=tmp_path / "ws")
    entry = run.results["imbalance"]
    assert entry["method"] == entry["auto"]["method"] == "none"
    assert entry["auto"]["tried"] == []
    sentence = entry["auto"]["sentence"]
    assert sentence == (
        "imbalance: auto keeps plain cross-entropy, as nothing can be tried: "
        "`rare` has 3 independent training records, 4 needed"
    )
    assert sentence in (run.folder / "train.log").read_text()


def test_auto_keeps_its_story_when_the_run_is_resumed(train: Train, tmp_path: Path) -> None:
    """`config.yaml` holds the chosen method: a resumed run once knew no more that `auto` had chosen it, and why."""

    class Stop:
        def heartbeat(self, progress: Any) -> Any:
            return "pause"

    with pytest.raises(InterruptedRunError):
        train("imbalance.method=auto", control=Stop(), workspace=tmp_path / "ws")
    (run,) = (tmp_path / "ws" / "runs").iterdir()
    resumed = runs.resume(run)
    auto = resumed.results["imbalance"]["auto"]
    assert auto is not None
    assert auto["sentence"] in resumed.results["notes"]


# --- what losses are told ---------------------------------------------------------------------------------------------


def test_a_class_that_is_shown_often_is_not_weighted_as_well(planned: Callable[..., Plan]) -> None:
    factors = "augmentation.per_class_factor={PASS: 5}"
    loss = ["loss=weighted_cross_entropy", "loss.weights=balanced"]
    told = planned(factors, "augmentation.horizontal_flip=0.5", *loss)
    bare = planned(*loss)
    place = told.dataset.classes.index("PASS")
    assert told.seen.class_counts[place] == 5 * bare.seen.class_counts[place]
    weights = [plan.criterion.get_params()["weights"] for plan in (told, bare)]  # type: ignore[operator]
    ratios = [one[place] / one[told.dataset.classes.index("good")] for one in weights]
    assert ratios[0] == pytest.approx(ratios[1] / 5)
    assert ratios[0] == pytest.approx(1.0, abs=0.2)  # 8 records five times are the 40 of the frequent class


# --- the checkpoint follows what is asked -----------------------------------------------------------------------------


@pytest.mark.parametrize("monitor", ["recall/PASS", "balanced_accuracy", "macro_f1"])
def test_the_checkpoint_follows_it_and_every_class_is_logged(monitor: str, train: Train) -> None:
    run = train(f"training.monitor={monitor}", "training.num_epochs=3")
    rows = list(csv.DictReader((run.folder / "history.csv").read_text().splitlines()))
    values = [float(row[f"val/{monitor}"]) for row in rows]
    assert len(values) == 3
    best = run.results["best"]
    assert best["monitor"] == monitor
    assert values[best["epoch"]] == max(values)
    events = EventAccumulator(str(run.folder / "logs"))
    events.Reload()
    for name in COUNTS:
        for metric in ("precision", "recall", "f1"):
            tag = f"val/{metric}/{name}"
            assert tag in rows[0]
            assert [event.step for event in events.Scalars(tag)] == [0, 1, 2]


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["imbalance.method=autoo"], "imbalance.method: expected .*got.*`?autoo"),
        (["head.name=knnn"], "head.name: .*knnn.*did you mean `knn`"),
        (["head.penalti=1"], "head.penalti.*did you mean `penalty`"),
        (["sampler=balancd"], "sampler.*balancd.*did you mean `balanced`"),
        (["imbalance.tau=0"], "imbalance.tau: expected"),
        (["imbalance.candidates=[focl]"], "imbalance.candidates.*focl"),
        (["training.mode=frosen"], "training.mode: expected.*frosen"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_wrong_names_and_values_are_refused_with_a_near_miss(overrides: list[str], line: str, folder: Path) -> None:
    with pytest.raises(Problems) as caught:
        runs.configure("folder", [f"data.root={folder}", *overrides])
    (told,) = caught.value.problems
    assert re.search(line, told), told


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["augmentation.per_class_factor={PAS: 20}"], "per_class_factor.*PAS.*did you mean `PASS`"),
        (
            ["sampler=balanced", "data.batch_size=2"],
            "sampler.name: expected a batch that can hold every class for `balanced`, got .*=2 for 3 classes",
        ),
        (["training.mode=frozen", "head.penalty=-1"], "head.penalty: expected.*0 or more, got -1"),
        (["augmentation.defect_blackout=0.5"], "augmentation.defect_blackout: expected records with boxes"),
        (
            ["training.mode=frozen", "model.name=resnetv2_50"],
            "training.mode: expected a model that ends in one linear layer",
        ),
        (
            ["imbalance.method=post_hoc", "model.name=resnetv2_50"],
            "training.mode: expected a model that ends in one linear layer",
        ),
        (
            ["imbalance.method=crt", "head.name=knn"],
            r"head.name: expected a linear head for imbalance.method=crt \(logistic, linear, ridge\), got knn; set",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_fit_the_records_is_refused_before_anything_is_written(
    overrides: list[str], line: str, train: Train, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=line):
        train(*overrides, workspace=tmp_path / "ws")
    assert not (tmp_path / "ws" / "runs").exists()


def test_a_class_of_one_record_under_a_balanced_sampler_is_refused(tmp_path: Path, make_image: MakeImage) -> None:
    for name, count in (("a", 12), ("b", 1)):
        for index in range(count):
            make_image(tmp_path / "tiles" / name / f"{index}.png", seed=index + 100 * count)
    with pytest.raises(
        UserError, match="2 training records of every class for `balanced`, got a single one of class `b`"
    ):
        runs.train(
            "folder",
            [*SMALL, f"data.root={tmp_path / 'tiles'}", "sampler=balanced", "data.min_samples_per_class=1"],
            workspace=tmp_path / "ws",
        )
