"""`training.mode=frozen` and `head_then_finetune` from a configuration to run folder, report and reloaded model."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import torch

import ringlight as rl
from ringlight.cli.main import main
from ringlight.errors import InterruptedRunError, Problems
from ringlight.services import evaluations, runs
from ringlight.services.runs import Run
from ringlight.training import features
from ringlight.training.heads import HEADS
from ringlight.types import Signal

MakeImage = Callable[..., Path]
Train = Callable[..., Run]

SMALL = (
    "data.image_size=32",
    "data.num_workers=0",
    "split.groups=none",
    "split.leak_probe=false",
    "model.name=resnet10t",
    "model.pretrained=false",
    "evaluation.num_resamples=100",
    "evaluation.num_mistakes=0",
    "training.device=cpu",
    "training.num_threads=1",
    "imbalance.method=none",
)
BRIGHTNESS = {"dark": 50.0, "middle": 128.0, "bright": 205.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_image: MakeImage) -> Path:
    """Three classes told apart by brightness, 20, 16 and 14 tiles of 32 x 32."""
    root = tmp_path_factory.mktemp("frozen") / "tiles"
    for place, (name, brightness) in enumerate(BRIGHTNESS.items()):
        for index in range((20, 16, 14)[place]):
            make_image(root / name / f"{index}.png", brightness=brightness, seed=1000 * place + index)
    return root


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, make_image: MakeImage) -> Path:
    """A table with several labels: a bright upper half is `top`, a bright left half is `left`."""
    root = tmp_path_factory.mktemp("frozen") / "table"
    lines = ["path,labels"]
    for index in range(48):
        top, left = index % 2, index // 2 % 2
        pixels = np.random.default_rng(index).normal(70, 10, (32, 32, 3))
        pixels[:16] += 90 * top
        pixels[:, :16] += 60 * left
        make_image(root / f"{index}.png", pixels=np.clip(pixels, 0, 255).astype(np.uint8))
        lines.append(f"{index}.png,{';'.join(['top'] * top + ['left'] * left)}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Train:
    """Train the recipe `frozen` on the tiles, in one workspace: features are computed once for all tests."""
    workspace = tmp_path_factory.mktemp("frozen") / "workspace"

    def run(*overrides: str, root: Path = folder, **options: Any) -> Run:
        options = {"workspace": workspace, **options}
        return runs.train("frozen", [*SMALL, f"data.root={root}", *overrides], **options)

    return run


def multilabel(table: Path, *overrides: str) -> tuple[list[str], dict[str, Any]]:
    return ["data.source=table", "data.task=multilabel", "loss=bce_with_logits", *overrides], {"root": table}


def judged(run: Run) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return ids and raw scores of the judged part."""
    kept = pq.read_table(run.folder / "predictions.parquet")
    names = [name for name in kept.column_names if name.startswith("logit/")]
    return kept.column("id").to_pylist(), np.stack([kept.column(name).to_numpy() for name in names], axis=1)


def reloaded(run: Run, root: Path) -> npt.NDArray[np.float32]:
    """Return the raw scores that the saved model gives to the judged files."""
    predictor = rl.load(run, device="cpu")
    return predictor.predict([root / key for key in judged(run)[0]]).prediction.logits


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many pictures pass through a backbone, pass by pass."""
    counted: list[int] = []
    compute = features._compute

    def counting(dataset: Any, *arguments: Any) -> Any:
        counted.append(len(dataset))
        return compute(dataset, *arguments)

    monkeypatch.setattr(features, "_compute", counting)
    return counted


# --- an ordinary run --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(train: Train) -> Run:
    return train()


def test_it_leaves_a_run_folder_as_any_other(finished: Run) -> None:
    for name in (
        "config.yaml", "split.csv", "manifest.json", "train.log", "history.csv", "results.json", "report.html",
        "report.md", "metrics.csv", "per_class.csv", "predictions.parquet", "bundle/bundle.json",
        "bundle/model.safetensors", "logs",
    ):  # fmt: skip
        assert (finished.folder / name).exists(), name
    assert runs.read_manifest(finished.folder)["status"] == "completed"
    assert not list(finished.folder.rglob("*.part"))
    (row,) = csv.DictReader((finished.folder / "history.csv").read_text().splitlines())
    assert {"epoch", "train/loss", "val/loss", "val/macro_f1", "val/recall/dark"} <= set(row)
    assert json.loads((finished.folder / "results.json").read_text())["history"][0]["epoch"] == 0


def test_an_easy_signal_is_learned(finished: Run) -> None:
    assert finished.results["test"]["scalars"]["macro_f1"] == 1.0


def test_every_choice_is_written_out(finished: Run) -> None:
    config = runs.read_config(finished.folder / "config.yaml")
    assert config.training.mode == "frozen"
    assert (config.training.precision, config.training.memory_format) == ("32", "channels_last")
    assert config.data.cache == "off"


def test_its_configuration_runs_again_to_the_same_bits(finished: Run, tmp_path: Path) -> None:
    again = runs.train(None, file=finished.folder / "config.yaml", workspace=tmp_path / "elsewhere")
    np.testing.assert_array_equal(judged(again)[1], judged(finished)[1])
    assert (again.folder / "history.csv").read_text() == (finished.folder / "history.csv").read_text()
    assert again.results["test"] == finished.results["test"]


@pytest.mark.parametrize("head", list(HEADS))
def test_the_saved_model_gives_the_scores_that_were_judged(head: str, train: Train, folder: Path) -> None:
    run = train(f"head.name={head}")
    np.testing.assert_allclose(reloaded(run, folder), judged(run)[1], rtol=1e-5, atol=1e-5)
    assert run.results["test"]["scalars"]["macro_f1"] >= 0.8


@pytest.mark.parametrize("head", list(HEADS))
def test_with_several_labels_too(head: str, train: Train, table: Path) -> None:
    overrides, options = multilabel(table, f"head.name={head}")
    run = train(*overrides, **options)
    np.testing.assert_allclose(reloaded(run, table), judged(run)[1], rtol=1e-5, atol=1e-5)
    assert run.results["test"]["scalars"]["macro_f1"] >= 0.7


@pytest.mark.parametrize("head", ["logistic", "knn"])
def test_a_saved_model_is_judged_again_as_it_was(head: str, train: Train) -> None:
    run = train(f"head.name={head}")
    again = evaluations.evaluate(run.folder)
    for name, value in run.results["test"]["scalars"].items():
        # The features were computed in another batch than the pictures are now: the last digits differ.
        expected = value if value is None else pytest.approx(value, rel=1e-4, abs=1e-6)
        assert again.results["test"]["scalars"][name] == expected, name


def test_the_command_line_trains_and_judges_it(
    folder: Path, tmp_path: Path, own_logging: None, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = ["--workspace", str(tmp_path / "ws")]
    assert main(["train", "frozen", *SMALL, f"data.root={folder}", *workspace]) == 0
    (run,) = (tmp_path / "ws" / "runs").iterdir()
    assert main(["evaluate", str(run), *workspace]) == 0
    assert "Traceback" not in capsys.readouterr().err


# --- features are computed once ---------------------------------------------------------------------------------------


def test_a_second_run_reads_the_features(train: Train, passes: list[int], tmp_path: Path) -> None:
    workspace = tmp_path / "fresh"
    train(workspace=workspace)
    assert passes == [50]
    train("head=ridge", workspace=workspace)
    train("split.strategy=stratified_80_20", workspace=workspace)
    assert passes == [50]


def test_another_seed_reads_the_features_where_the_weights_are_given(
    train: Train, passes: list[int], tmp_path: Path
) -> None:
    """Random weights are the seed's; trained ones are the same for every seed."""
    from ringlight.models import build_model

    torch.manual_seed(0)
    weights = tmp_path / "weights" / "resnet10t.pth"
    weights.parent.mkdir()
    torch.save(build_model("resnet10t", num_classes=1000, pretrained=False).module.state_dict(), weights)
    given = ("model.pretrained=true", f"weights.folder={weights.parent}")
    first, second = (train(*given, f"experiment.seed={seed}", workspace=tmp_path / "ws") for seed in (1, 2))
    assert passes == [50]
    assert judged(first)[0] != judged(second)[0]  # another split


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        (["training.frozen_views=2", "augmentation=light"], lambda counts: 2 * sum(counts.values())),
        (
            ["augmentation.per_class_factor={bright: 4}", "augmentation.horizontal_flip=0.5"],
            lambda counts: 3 * counts["bright"],
        ),
    ],
    ids=["views", "factor"],
)
def test_augmented_copies_of_training_records_pass_through_it(
    settings: list[str], more: Callable[[Mapping[str, int]], int], train: Train, passes: list[int]
) -> None:
    run = train(*settings)
    counts = run.results["split"]["parts"]["train"]["class_counts"]
    assert sum(passes) - (passes[0] if passes[0] == 50 else 0) == more(counts)


def test_views_without_an_augmentation_are_refused(train: Train, tmp_path: Path) -> None:
    """They were once left out without a word: a view that nothing changes is the picture again."""
    with pytest.raises(Problems, match=r"training.frozen_views: expected an augmentation.*set augmentation=light"):
        train("augmentation=none", "training.frozen_views=4", workspace=tmp_path / "ws")


def test_fitting_the_classifier_again_reads_the_features(train: Train, passes: list[int], tmp_path: Path) -> None:
    """Of a frozen backbone; one that was trained meanwhile has other features."""
    train("imbalance.method=crt", workspace=tmp_path / "ws")
    assert passes == [50]


# --- judged as any other ----------------------------------------------------------------------------------------------


def test_views_at_test_time_and_operating_points(train: Train, folder: Path) -> None:
    run = train(
        "evaluation.tta_runs=2",
        "evaluation.operating_points={careful: {kind: recall_at_least, label: dark, target: 0.6}}",
        "evaluation.operating_point=careful",
    )
    assert run.results["tta"] is not None
    assert "careful" in [point["name"] for point in run.results["operating_points"]]
    np.testing.assert_allclose(reloaded(run, folder), judged(run)[1], rtol=1e-5, atol=1e-5)


# --- stopped and resumed ----------------------------------------------------------------------------------------------


class StopAt:
    """A control that says `signal` at its heartbeat number `number`."""

    def __init__(self, number: int, signal: Signal) -> None:
        self.left, self.signal = number, signal
        self.seen: list[Mapping[str, float]] = []

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        self.seen.append(progress)
        self.left -= 1
        return self.signal if self.left == 0 else "go"


def test_a_control_pauses_it_while_features_are_computed_and_it_is_resumed(
    train: Train, finished: Run, tmp_path: Path
) -> None:
    with pytest.raises(InterruptedRunError, match=r"got `pause` after 50 of 50 images; go on with .*--resume"):
        train(control=StopAt(1, "pause"), workspace=tmp_path / "ws")
    (folder,) = (tmp_path / "ws" / "runs").iterdir()
    assert runs.read_manifest(folder)["status"] == "paused"
    resumed = runs.resume(folder)
    assert runs.read_manifest(folder)["status"] == "completed"
    np.testing.assert_array_equal(judged(resumed)[1], judged(finished)[1])


def test_a_control_stops_it_while_augmented_copies_are_computed(train: Train, tmp_path: Path) -> None:
    """The passes of the augmented copies, many times as long as the first, once ran on whatever the control said."""
    control = StopAt(3, "cancel")
    with pytest.raises(InterruptedRunError, match=r"got `cancel` after .*; nothing is left to go on from; start a new"):
        train("training.frozen_views=4", "augmentation=light", control=control, workspace=tmp_path / "ws")
    assert len(control.seen) == 3


# --- the head first, then the whole -----------------------------------------------------------------------------------

FEW = ("data.batch_size=8", "training.num_epochs=1", "training.precision=32", "training.memory_format=contiguous")


def test_the_whole_is_trained_from_the_fitted_head_on(train: Train) -> None:
    # No batch normalisation: its statistics, of random weights, would change under the fitted head in the first epoch.
    rates = [*FEW, "model.name=convnext_atto", "optimizer.lr=1e-6", "scheduler=constant", "scheduler.warmup_epochs=0"]
    plain = train("training.mode=finetune", *rates)
    fitted = train("training.mode=head_then_finetune", *rates)
    losses = [run.results["history"][0]["val/loss"] for run in (fitted, plain)]
    assert losses[0] < 0.5 * losses[1]
    assert len(fitted.results["history"]) == 1


@pytest.mark.parametrize("head", ["knn", "ridge"])
def test_a_method_that_the_head_would_not_hear_of_is_refused(head: str, train: Train, tmp_path: Path) -> None:
    with pytest.raises(
        Problems,
        match=rf"head.name: expected a head that is fitted by the loss, for imbalance.method=focal, got {head}; "
        r"set head.name=logistic, or imbalance.method=post_hoc",
    ):
        train("imbalance.method=focal", f"head.name={head}", workspace=tmp_path / "ws")


@pytest.mark.parametrize("head", ["knn", "cosine"])
def test_a_head_that_cannot_be_trained_further_is_refused(head: str, train: Train, tmp_path: Path) -> None:
    with pytest.raises(
        Problems,
        match=rf"head.name: expected a head that can be trained further \(logistic, linear, ridge\), got {head}; "
        r"set head.name=logistic, or training.mode=frozen",
    ):
        train("training.mode=head_then_finetune", f"head.name={head}", workspace=tmp_path / "ws")
    assert not (tmp_path / "ws" / "runs").exists()
