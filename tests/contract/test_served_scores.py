"""What is served is what was judged: every family's bundle predicts as its learner does, to 1e-5 on probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ringlight as rl
from ringlight.config.load import compose
from ringlight.data.preprocess import InputSpec
from ringlight.data.window_spec import WindowSpec
from ringlight.data.window_store import WindowReader
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.inference.bundle import write_bundle
from ringlight.models import MARGINS, MODELS, build_model, build_sequence_model, is_ensemble, is_estimator, takes_of
from ringlight.models.heads import install_evidential, install_head, num_features_of
from ringlight.runtime import choose_device
from ringlight.training.arrays import dataset_of
from ringlight.training.learner import DeepLearner
from ringlight.training.learners import learner_of
from ringlight.training.plan import make_plan, part_problems, plan_on, prepare
from ringlight.training.rules import Rules
from ringlight.training.splitting import split_as_configured
from ringlight.training.trackers import QuietControl, QuietTracker
from ringlight.types import Dataset, Record

CLASSES = ("dark", "bright", "riß")
TOLERANCE = 1e-5
SIZE = (32, 48)
BATCH = 4
COMMON = ("training.num_epochs=1", "training.device=cpu", "training.num_threads=1", "scheduler.warmup_epochs=0")

HYBRID = {
    "first": "convnextv2_atto",
    "first_options": {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
    "second_options": {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
    "embed_dim": 16,
}


def margin(module: nn.Module) -> None:
    width = num_features_of(module)
    install_head(module, MARGINS.build("arcface", in_features=width, out_features=len(CLASSES)))


IMAGES: dict[str, tuple[str, dict[str, Any], Callable[[nn.Module], None] | None]] = {
    "residual": ("resnet10t", {}, None),
    "efficient": ("test_efficientnet", {}, None),
    "convnext": ("test_convnext", {}, None),
    "transformer": ("test_vit", {}, None),
    "hybrid": ("hybrid", HYBRID, None),
    "margin": ("test_efficientnet", {}, margin),
    "evidential": ("test_efficientnet", {}, install_evidential),
}
"""The deep families of images, each small: a name, its parameters, and what is put in the classifier's place."""

WINDOW_MODELS = [name for name, part in MODELS.parts.items() if takes_of(part) == "windows" and not is_ensemble(part)]
NETWORKS = [name for name in WINDOW_MODELS if not is_estimator(MODELS.parts[name])]
ESTIMATORS = [name for name in WINDOW_MODELS if is_estimator(MODELS.parts[name])]
MEMBERS = "[{name: random_forest, n_estimators: 5, feature_groups: [statistics]}, {name: cnn1d, filters: [4, 4]}]"
SMALL = {
    "random_forest": ("model.n_estimators=5",), "extra_trees": ("model.n_estimators=5",),
    "gradient_boosting": ("model.min_samples_leaf=2", "model.n_estimators=5"),
}  # fmt: skip
FITTED: dict[str, tuple[str, ...]] = {
    **{name: (f"model.name={name}", *SMALL.get(name, ())) for name in ESTIMATORS},
    "ensemble": ("model.name=ensemble", f"model.members={MEMBERS}", "model.num_folds=2"),
}
"""What is fitted at once, on windows."""


@dataclass(frozen=True)
class Case:
    """A learner that can predict, and the records it is asked about."""

    learner: DeepLearner
    data: Dataset


def pictures(folder: Path, count: int = 6) -> Dataset:
    """Pictures of several sizes, gray and coloured; the model's own size is another."""
    records = []
    for index in range(count):
        shape = (40 + index, 60, 3) if index % 2 else (40 + index, 60)
        pixels = np.random.default_rng(index).integers(0, 255, shape, np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        records.append(Record(id=f"{index}.png", uri=str(folder / f"{index}.png"), labels=(index % 3,)))
    return Dataset.from_records(records, CLASSES, "multiclass")


def windows(folder: Path) -> Dataset:
    """Forty-eight windows of two channels, in groups of two."""
    rng, place = np.random.default_rng(0), np.arange(48) // 2
    truth = np.eye(3, dtype=int)[place % 3]
    values = rng.normal(size=(48, 16, 2)) + (truth @ np.array([[2.0, 0.0], [0.0, 2.0], [-2.0, -2.0]]))[:, None]
    return dataset_of(values.astype(np.float32), place % 3, folder=folder, classes=CLASSES, groups=place)


def shaken(module: nn.Module) -> nn.Module:
    """Give every weight and every running value another one: a model as it is made tells classes from nothing."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                spread = 0.2 if tensor.ndim == 1 else 0.0
                tensor *= 1 + 0.4 * torch.rand(tensor.shape, generator=generator)
                tensor += spread * torch.rand(tensor.shape, generator=generator)
    return module


def image_case(name: str, folder: Path) -> Case:
    model, params, put = IMAGES[name]
    torch.manual_seed(0)
    built = build_model(model, num_classes=3, pretrained=False, image_size=SIZE, params=params)
    if put is not None:
        put(built.module)
    given = [f"model.{key}={_literal(value)}" for key, value in params.items()]
    config = compose("folder", [f"model.name={model}", f"data.batch_size={BATCH}", *given, *COMMON])
    spec = InputSpec(3, SIZE, "letterbox", built.mean, built.std)
    learner = DeepLearner(
        shaken(built.module), spec=spec, classes=CLASSES, task="multiclass", config=config.replacing(RESOLVED),
        criterion=nn.CrossEntropyLoss(), device=choose_device("cpu"), folder=folder,
    )  # fmt: skip
    return Case(learner, pictures(folder))


RESOLVED = {"model.in_chans": 3, "data.num_workers": 0, "data.cache": "off"}


def network_case(name: str, folder: Path) -> Case:
    data = windows(folder)
    torch.manual_seed(0)
    module = build_sequence_model(name, num_classes=3, in_chans=2, length=16).module
    config = compose("windows", [f"model.name={name}", f"data.batch_size={BATCH}", *COMMON])
    learner = DeepLearner(
        shaken(module), spec=WindowSpec.fit(data, normalize="channel"), classes=CLASSES, task="multiclass",
        config=config.replacing({"model.in_chans": 2, "data.num_workers": 0}), criterion=nn.CrossEntropyLoss(),
        device=choose_device("cpu"), folder=folder,
    )  # fmt: skip
    return Case(learner, data)


def fitted_case(name: str, folder: Path) -> Case:
    overrides = [f"data.batch_size={BATCH}", *FITTED[name], *COMMON]
    prepared = prepare(compose("windows", overrides, check_parts=part_problems), folder, dataset=windows(folder))
    plan = plan_on(prepared, *split_as_configured(prepared.config, prepared.inspection.dataset, folder))
    learner = learner_of(plan, folder / "checkpoints", lambda *_: None)
    learner.fit(plan.part("train"), plan.part("val"), tracker=QuietTracker(), control=QuietControl(), resume=None)
    return Case(learner, plan.part("val"))


def frozen_case(head: str, folder: Path) -> Case:
    """A head fitted to frozen features, which are kept: its learner scores them by the head alone."""
    data = pictures(folder, 18)
    lines = ["path,label", *(f"{row.id},{CLASSES[row.labels[0]]}" for row in data)]
    (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    overrides = [
        f"data.root={folder / 'labels.csv'}", "data.source=table", "data.path_column=path", "data.label_columns=label",
        "data.task=multiclass", f"data.image_size=[{SIZE[0]},{SIZE[1]}]", f"data.batch_size={BATCH}",
        "data.num_workers=0", "model.name=test_efficientnet", "model.pretrained=false", "training.mode=frozen",
        f"head.name={head}", *COMMON,
    ]  # fmt: skip
    plan = make_plan(compose("folder", overrides, check_parts=part_problems), folder)
    learner = learner_of(plan, folder / "checkpoints", lambda *_: None)
    learner.fit(plan.part("train"), plan.part("val"), tracker=QuietTracker(), control=QuietControl(), resume=None)
    return Case(learner, plan.part("train"))


def _literal(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_literal(one)}" for key, one in value.items()) + "}"
    return str(value).replace("'", "")


def cases() -> Iterable[tuple[str, Callable[[str, Path], Case]]]:
    yield from ((name, image_case) for name in IMAGES)
    yield from ((name, network_case) for name in NETWORKS)
    yield from ((name, fitted_case) for name in FITTED)
    yield from ((head, frozen_case) for head in ("linear", "knn"))


RULES = Rules(
    task="multiclass", classes=CLASSES, good_class="dark", reject_threshold=0.4,
    calibration=Calibration(
        kind="temperature", calibrator=Calibrator("temperature", (0.7,), ()), accepted=True, reason="it helps"
    ),
)  # fmt: skip


@pytest.mark.parametrize(("name", "make"), [pytest.param(*case, id=case[0]) for case in cases()])
def test_a_bundle_predicts_as_its_learner_is_judged(
    name: str, make: Callable[[str, Path], Case], tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        case = make(name, tmp_path)
    learner = case.learner
    judged = RULES.decide(learner.predict(case.data))
    write_bundle(tmp_path / "bundle", learner.bundle({}, RULES), learner.module)
    predictor = rl.load(tmp_path / "bundle", device="cpu")
    given: Any = case.data.uris
    if case.data.signals is not None:
        given = WindowReader.of(case.data).read(np.arange(len(case.data)))
    served = predictor.predict(given, batch_size=BATCH)
    assert judged.probabilities.std(axis=0).max() > 1e-4, "scores that are all alike prove nothing"
    np.testing.assert_allclose(served.probabilities, judged.probabilities, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(served.decisions, judged.decisions)
    assert set(served.verdicts) <= {"ok", "defect", "human"}
