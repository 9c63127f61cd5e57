"""A run in phases, from the command line's configuration to the saved model: each goes on from the one before."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ringlight as rl
from ringlight.errors import ConfigError, InterruptedRunError, Problems, RunError
from ringlight.inference.bundle import read_bundle
from ringlight.services import runs
from ringlight.services.model_places import load_model
from ringlight.services.runs import Run
from ringlight.services.tune import tune
from ringlight.training import phases, tune_objective
from ringlight.training.learners import learner_of
from ringlight.training.phase_inputs import lesson_of
from ringlight.training.phase_plan import student_plan

SMALL = (
    "data.image_size=32", "data.batch_size=8", "model=resnet10t", "model.pretrained=false", "optimizer.lr=0.002",
    "training.device=cpu", "training.num_threads=1", "training.precision=32", "split.groups=none",
    "split.leak_probe=false", "evaluation.num_resamples=100", "training.tensorboard=false", "supcon.num_epochs=2",
    "margin.num_epochs=2", "distill.num_epochs=2", "distill.model.name=resnet10t",
)  # fmt: skip


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory, make_image: Callable[..., Path]) -> Path:
    """Three classes of eight tiles, told apart by their brightness."""
    root = tmp_path_factory.mktemp("phases") / "parts"
    for place, name in enumerate(("dark", "gray", "light")):
        for index in range(8):
            make_image(root / name / f"{name}_{index}.png", brightness=60.0 + 70 * place, seed=100 * place + index)
    return root


@pytest.fixture(scope="session")
def three(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run through all three phases, which several tests look at."""
    return train(parts, tmp_path_factory.mktemp("three"))


def train(parts: Path, workspace: Path, *overrides: str, **options: Any) -> Run:
    return runs.train("metric_learning", [f"data.root={parts}", *SMALL, *overrides], workspace=workspace, **options)


def state_of(run: Path) -> dict[str, torch.Tensor]:
    return read_bundle(run)[1].state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


class StopsAfter:
    """Lets a number of heartbeats pass, then says pause."""

    def __init__(self, beats: int) -> None:
        self.left = beats

    def heartbeat(self, progress: Any) -> str:
        self.left -= 1
        return "go" if self.left >= 0 else "pause"


def test_one_command_trains_three_phases_and_judges_the_student(three: Run) -> None:
    assert [phase["name"] for phase in three.results["phases"]] == ["supcon", "margin", "distill"]
    assert three.results["model"]["name"] == "resnet10t"
    rows = three.results["history"]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row["phase"] for row in rows] == [0, 0, 1, 1, 2, 2]
    assert all("val/knn_accuracy" in row for row in rows[:2])
    assert three.results["best"]["epoch"] >= 4, "the best epoch is one of the student's"
    for name in ("supcon", "margin", "distill"):
        folder = three.folder / "phases" / name
        assert (folder / "checkpoints" / "last.ckpt").is_file()
        assert (folder / "history.csv").is_file()
        read_bundle(folder)


def test_every_phase_leaves_a_model_that_predicts(three: Run, parts: Path) -> None:
    pictures = [path for path in sorted(parts.rglob("*.png")) if not path.name.startswith(".")][:4]
    for name in ("supcon", "margin", "distill"):
        prediction = rl.load(three.folder / "phases" / name).predict(pictures)
        assert np.isfinite(prediction.probabilities).all()
    assert same(state_of(three.folder), state_of(three.folder / "phases" / "distill"))


@pytest.mark.slow
def test_a_run_stopped_in_any_phase_ends_with_the_same_bits(three: Run, parts: Path, tmp_path: Path) -> None:
    beats = 3  # of the 12 steps: somewhere in each phase
    with pytest.raises(InterruptedRunError):
        train(parts, tmp_path, control=StopsAfter(beats))
    (folder,) = (tmp_path / "runs").iterdir()
    for _ in range(20):
        try:
            finished = runs.resume(folder, control=StopsAfter(beats))
            break
        except InterruptedRunError:
            continue
    else:
        pytest.fail("the run never ended")
    assert same(state_of(finished.folder), state_of(three.folder))
    assert finished.results["history"] == three.results["history"]


def test_a_phase_starts_alone_from_what_another_run_left(three: Run, parts: Path, tmp_path: Path) -> None:
    """The margin phase, begun from the saved warm start of a run on the same split."""
    alone = train(
        parts, tmp_path, "phases=[margin]", f"margin.start_from={three.folder / 'phases' / 'supcon'}",
        f"split.file={three.folder / 'split.csv'}",
    )  # fmt: skip
    assert [phase["name"] for phase in alone.results["phases"]] == ["margin"]
    assert alone.results["test"]["scalars"]["macro_f1"] is not None


def test_a_finished_run_teaches_another(three: Run, parts: Path, tmp_path: Path) -> None:
    taught = train(
        parts, tmp_path, "phases=[distill]", f"distill.teacher={three.folder / 'phases' / 'margin'}",
        f"split.file={three.folder / 'split.csv'}",
    )  # fmt: skip
    assert any("distill.teacher" in note for note in taught.results["notes"])


def test_each_phase_trains_adapters_of_its_own_and_a_teacher_is_asked_in_its_own_numbers(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the adapters of one phase froze is free for those of the next; the student normalises pictures otherwise."""
    asked: list[tuple[Any, Any]] = []

    def heard(module: Any, spec: Any, plan: Any) -> Any:
        asked.append((spec.mean, plan.spec.mean))
        return lesson_of(module, spec, plan)

    def other_numbers(plan: Any) -> Any:
        made = student_plan(plan)
        return replace(made, spec=replace(made.spec, mean=(0.5, 0.5, 0.5)))  # type: ignore[type-var]

    monkeypatch.setattr(phases, "lesson_of", heard)
    monkeypatch.setattr(phases, "student_plan", other_numbers)
    run = train(
        parts, tmp_path, "model.lora={rank: 2}", "supcon.num_epochs=1", "margin.num_epochs=1", "distill.num_epochs=1",
        "evaluation.embedding=false",
    )  # fmt: skip
    warm, fine = (state_of(run.folder / "phases" / name) for name in ("supcon", "margin"))
    name = "layer2.0.downsample.1.weight"
    assert warm.keys() - fine.keys() == {"fc.features", "fc.votes", "fc.bias"}
    assert not torch.equal(warm[name], fine[name]), "the second phase's adapters have moved it"
    assert torch.equal(warm["layer1.0.conv1.weight"], fine["layer1.0.conv1.weight"]), "and nothing beside them"
    assert asked == [((0.485, 0.456, 0.406), (0.5, 0.5, 0.5))]


def test_a_study_trains_the_phases_of_every_fold(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds that shared a folder would take the phases of the first for their own, trained on what judges them."""
    folders: list[Path] = []

    def heard(plan: Any, folder: Path, on_epoch: Any) -> Any:
        folders.append(folder)
        return learner_of(plan, folder, on_epoch)

    monkeypatch.setattr(tune_objective, "learner_of", heard)
    asked = [
        f"data.root={parts}", *SMALL, "phases=[margin]", "margin.num_epochs=1", "evaluation.embedding=false",
        "tune.space={optimizer.lr:[0.001]}", "tune.method=grid",
    ]  # fmt: skip
    found = tune(
        "metric_learning", [*asked, "tune.objective=crossval", "cv.n_splits=2"], workspace=tmp_path
    )  # fmt: skip
    assert found.study["states"]["complete"] == 1
    assert len({folder.parent for folder in folders}) == len(folders) == 2
    assert not list(found.folder.rglob("phase.json")), "removed with the checkpoints"
    with pytest.raises(ConfigError, match=r"tune.pruner: expected none for a run in phases, .* got median; set"):
        tune("metric_learning", [*asked, "tune.pruner=median"], workspace=tmp_path / "other")


def test_two_files_make_a_teacher(three: Run, parts: Path, tmp_path: Path) -> None:
    state = state_of(three.folder / "phases" / "distill")
    head = {name: tensor for name, tensor in state.items() if name.startswith("fc.")}
    torch.save({name: tensor for name, tensor in state.items() if name not in head}, tmp_path / "backbone.pth")
    torch.save({name.removeprefix("fc."): tensor for name, tensor in head.items()}, tmp_path / "head.pth")
    asked = [f"distill.teacher_backbone_path={tmp_path / 'backbone.pth'}"]
    with pytest.raises(Problems, match=r"expected both .* got only distill\.teacher_backbone_path"):
        train(parts, tmp_path / "w", "phases=[distill]", *asked)
    asked.append(f"distill.teacher_head_path={tmp_path / 'head.pth'}")
    taught = train(parts, tmp_path / "w", "phases=[distill]", *asked, "distill.num_epochs=1")
    assert any("is not known" in note for note in taught.results["notes"])


def test_a_model_that_has_seen_what_judges_does_not_start_a_phase(three: Run, parts: Path, tmp_path: Path) -> None:
    """Another split of the same pictures: what the earlier run was trained on is this one's test part."""
    with pytest.raises(RunError, match="that no earlier run was trained or tuned on"):
        train(
            parts, tmp_path, "phases=[margin]", f"margin.start_from={three.folder / 'phases' / 'supcon'}",
            "experiment.seed=7",
        )  # fmt: skip


def test_supcon_alone_lets_neighbours_vote(parts: Path, tmp_path: Path) -> None:
    run = train(
        parts, tmp_path, "phases=[supcon]", "supcon.num_epochs=1", "supcon.loss=nt_xent", "supcon.augmentation=none",
    )  # fmt: skip
    bundle, _ = read_bundle(run.folder)
    assert any("views of a record are one and the same" in note for note in run.results["notes"])
    assert bundle.architecture["head"]["name"] == "knn"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["phases=[margin,supcon]"],
            r"phases: expected each phase once, in the order supcon, margin, distill, got marg",
        ),
        (["phases=[supcon,supcon]"], r"phases: expected each phase once"),
        (["phases=[distill]"], r"distill.teacher: expected a run or a bundle that teaches.* got none; set distill"),
        (["phases=[margin]", "margin.start_from=nowhere"], r"margin.start_from: expected a run.* nothing at nowhere"),
        (["margin.start_from=src"], r"margin.start_from: expected null, since the phase supcon comes before it"),
        (["distill.teacher=src"], r"distill: expected one teacher, got distill.teacher and the phase before"),
        (["supcon.num_views=1"], r"supcon.num_views: expected 2 or more with sampler=shuffle"),
        (["supcon.num_views=1", "supcon.loss=nt_xent"], r"expected 2 or more for supcon.loss=nt_xent"),
        (["margin.head=arcfase"], r"margin.head: expected a known margin, got `arcfase`; did you mean `arcface`"),
        (["margin.scal=2"], r"margin.scal: .*did you mean `scale`"),
        (["supcon.optimizer={lrr: 1}"], r"supcon.optimizer.lrr: .*did you mean `lr`"),
        (["supcon.lr=0.1", "supcon.optimizer={lr: 0.2}"], r"supcon.lr: expected one learning rate, got 0.1 and"),
        (["distill.model.name=resnet1"], r"distill.model.name: expected a known model"),
        (
            ["supcon.augmentation={per_class_factor: {dark: 3}}"],
            r"supcon.augmentation.per_class_factor: expected",
        ),
        (
            ["phases=[supcon]", "evaluation.open_set=energy"],
            r"evaluation.open_set: expected distance for a run",
        ),
        (["training.mode=frozen"], r"phases: expected training.mode=finetune, got frozen"),
        (["imbalance.method=crt"], r"phases: expected a method against imbalance that acts in training, got crt"),
    ],
)
def test_phases_that_cannot_be_are_refused_before_anything_is_written(
    parts: Path, tmp_path: Path, overrides: list[str], told: str
) -> None:
    with pytest.raises(Problems, match=told):
        train(parts, tmp_path, *overrides)
    assert not (tmp_path / "runs").exists()


def test_several_labels_a_record_are_told_what_has_a_meaning_for_them(tmp_path: Path, small: list[str]) -> None:
    with pytest.raises(Problems) as caught:
        runs.train("demo", ["phases=[supcon,margin]", *small], workspace=tmp_path)
    assert str(caught.value).splitlines() == [
        "supcon.loss: expected nt_xent for records with several labels, where no two need be of one class, got supcon; "
        "set supcon.loss=nt_xent",
        "margin.head: expected a head for records with several labels, got arcface: a margin needs the one true class; "
        "choose from: linear, cosine",
    ]


def test_windows_are_trained_in_phases_too(tmp_path: Path) -> None:
    run = runs.train(
        "air_leak",
        ["data.num_windows=48", "data.length=64", "data.windows_per_recording=2", "phases=[supcon,margin]",
         "supcon.num_epochs=1", "margin.num_epochs=1", "margin.head=cosface", "training.tensorboard=false",
         "augmentation=signals_light", "split.leak_probe=false"],
        workspace=tmp_path,
    )  # fmt: skip
    assert [phase["name"] for phase in run.results["phases"]] == ["supcon", "margin"]


def test_the_phases_stand_in_the_report_and_in_the_configuration(three: Run) -> None:
    report = (three.folder / "report.html").read_text(encoding="utf-8")
    assert "Phases" in report
    config = (three.folder / "config.yaml").read_text(encoding="utf-8")
    assert "order:" in config
    parameters = three.results["hyper_parameters"]
    assert parameters["supcon.num_views"] == 2
    card = json.loads((three.folder / "phases" / "margin" / "phase.json").read_text(encoding="utf-8"))
    assert card["num_epochs"] == 2


@pytest.mark.slow
def test_three_phases_learn_real_steel_surfaces(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """NEU at 96 px with ten training pictures a class and the small hybrid: far above the one in six of chance."""
    images = real_data("neu-det") / "images"
    for name in sorted({path.name.rpartition("_")[0] for path in images.glob("*.jpg")}):
        files = sorted(images.glob(f"{name}_*.jpg"))
        for part, some in (("train", files[:10]), ("val", files[10:14]), ("test", files[14:29])):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for path in some:
                (tmp_path / "data" / part / name / path.name).symlink_to(path)
    run = runs.train(
        "metric_learning",
        [f"data.root={tmp_path / 'data'}", "split=predefined", "split.groups=none", "split.leak_probe=false",
         "data.image_size=96", "data.batch_size=12", "model.pretrained=false", "evaluation.num_resamples=200",
         "training.restore=last", "supcon.num_epochs=8", "margin.num_epochs=8", "distill.num_epochs=2"],
        workspace=tmp_path / "ws",
    )  # fmt: skip
    warm, fine, _ = run.results["phases"]
    assert warm["best"]["val/knn_accuracy"] > 0.35
    assert fine["best"]["val/accuracy"] > 0.35
    teacher = load_model(run.folder / "phases" / "margin")
    pictures = sorted((tmp_path / "data" / "test").rglob("*.jpg"))
    labels = teacher.predict(pictures).labels
    right = [label == [path.parent.name] for label, path in zip(labels, pictures, strict=True)]
    assert np.mean(right) > 0.22
