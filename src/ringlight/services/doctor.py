"""`ringlight doctor`: would a training work on this machine? One line a check, with the reason where not."""

from __future__ import annotations

import importlib
import inspect
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from ringlight.config.tracking import TRACKER_NAMES, TrackerName
from ringlight.errors import MissingExtraError, RinglightError
from ringlight.files import unwritable
from ringlight.runtime import choose_device, cpu_count, package_versions, workspace_folder
from ringlight.services.allocators import allocator_advice

GPU_SIZES_GIB = (4, 8, 12, 16, 24, 48, 80, 141)

MIN_FREE_GIB = 2.0
MIN_MEMORY_GIB = 1.0
FAMILIES = ("convnext_tiny_cbam", "resnet18", "efficientnet_b0", "mobilenetv4_conv_small")
IMPORTS = (
    "torch", "torchvision", "timm", "lightning", "hydra", "pydantic", "sklearn", "iterstrat", "pyarrow", "safetensors",
    "albumentations", "cv2", "PIL", "matplotlib", "tensorboard",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkup:
    """One line of the doctor: what was checked, whether it is well, and what was seen."""

    name: str
    ok: bool
    detail: str

    def __str__(self) -> str:
        return f"{'✓' if self.ok else '✗'} {self.name}: {self.detail}"


def examine(workspace: Path | str | None = None) -> list[Checkup]:
    """Run every check; a check that fails never keeps the others from running."""
    checks: dict[str, Callable[[], str]] = {
        "imports": _imports,
        "device": _device,
        "memory": _memory,
        "allocator": allocator_advice,
        **{f"GPU of {gib} GiB": partial(_batches, gib) for gib in GPU_SIZES_GIB},
        "models": _models,
        "models of windows": _models_of_windows,
        "losses": _losses,
        "augmentation": _augmentation,
        "stratified split": _split,
        "catalogues": _catalogues,
        "recipes": _recipes,
        "trackers": _trackers,
        "disk space": lambda: _disk(workspace_folder(workspace)),
        "write access": lambda: _writable(workspace_folder(workspace)),
    }
    return [_run(name, check) for name, check in checks.items()]


def _run(name: str, check: Callable[[], str]) -> Checkup:
    try:
        return Checkup(name, True, check())
    # The doctor reports whatever is wrong with a machine: broken drivers and half-installed packages raise anything.
    except Exception as error:  # noqa: BLE001
        detail = str(error) if isinstance(error, RinglightError) else f"{type(error).__name__}: {error}"
        return Checkup(name, False, detail.replace("\n", "; "))


class _FaultError(RinglightError):
    """A check found something wrong."""


def _imports() -> str:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    for name in IMPORTS:
        importlib.import_module(name)
    return ", ".join(f"{name} {number}" for name, number in package_versions().items())


def _device() -> str:
    from ringlight.services.machine import capabilities

    choice = choose_device("auto")
    return f"{choice.device} ({choice.reason}), {cpu_count()} core(s), {capabilities(choice)}"


def _memory() -> str:
    import psutil
    import torch

    memory = psutil.virtual_memory()
    if memory.available < MIN_MEMORY_GIB * 2**30:
        raise _FaultError(
            f"{MIN_MEMORY_GIB:.0f} GiB of free memory",
            got=f"{memory.available / 2**30:.1f} GiB",
            where="this machine",
            fix="end other programs, or train with a smaller data.batch_size",
        )
    text = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        text += f"; GPU {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    return text


def _batches(gib: int) -> str:
    from ringlight.services.machine import batches_per_gpu

    return batches_per_gpu(gib)


def _models() -> str:
    import torch

    from ringlight.models import MODELS

    with torch.inference_mode():
        for name in FAMILIES:
            scores = MODELS.build(name, num_classes=4, pretrained=False).eval()(torch.zeros(1, 3, 64, 64))
            if scores.shape != (1, 4) or not bool(torch.isfinite(scores).all()):
                raise _FaultError(
                    "finite scores (1, 4)", got=str(tuple(scores.shape)), where=name, fix="reinstall torch and timm"
                )
    return f"{', '.join(FAMILIES)} build and run forward"


def _models_of_windows() -> str:
    import torch

    from ringlight.models import MODELS, build_sequence_model, is_ensemble, is_estimator, takes_of

    windows = torch.randn(8, 3, 64, generator=torch.Generator().manual_seed(0))
    works, lacks = [], []
    for name, part in MODELS.parts.items():
        if takes_of(part) != "windows" or is_ensemble(part):
            continue
        try:
            module = build_sequence_model(name, num_classes=2, in_chans=3, length=64).module.eval()
        except MissingExtraError as error:
            lacks.append(f"{name} does not ({error.fix})")
            continue
        works.append(name)
        if is_estimator(part):
            continue  # fitted, not run: the libraries that fit it were imported
        with torch.inference_mode():
            scores = module(windows)
        if scores.shape != (8, 2) or not bool(torch.isfinite(scores).all()):
            raise _FaultError("finite scores (8, 2)", got=str(tuple(scores.shape)), where=name, fix="reinstall torch")
    return "; ".join([f"{', '.join(works)} build and run", *lacks])


def _losses() -> str:
    import torch

    from ringlight.losses import LOSSES

    values = []
    for name in LOSSES:
        # The first task that a loss has a meaning for; one that names none is taken for multi-label.
        task = getattr(LOSSES.factory(name), "tasks", ("multilabel",))[0]
        takes = inspect.signature(LOSSES.factory(name)).parameters
        good = {"classes": "abcd", "good_class": "a"} if "good_class" in takes else {}
        loss = LOSSES.build(name, num_classes=4, task=task, class_counts=[735, 154, 95, 16], **good)
        targets = torch.tensor([0, 3]) if task == "multiclass" else torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1.0]])
        value = float(loss(torch.tensor([[2.0, -1, 0, 1], [0, 0, 3, -9]]), targets))
        if not math.isfinite(value):
            raise _FaultError("a finite loss", got=str(value), where=name, fix="report this as a bug")
        values.append(f"{name} {value:.3f}")
    return ", ".join(values)


def _augmentation() -> str:
    import numpy as np

    from ringlight.data.augment import Augmenter
    from ringlight.data.augment_config import augmentation_names
    from ringlight.data.signal_augment import SignalAugmenter

    image, window = np.full((64, 96, 3), 128, np.uint8), np.zeros((64, 3), np.float32)
    for_images, for_windows = augmentation_names("images"), augmentation_names("windows")
    augmenter = Augmenter(dict.fromkeys(for_images, True), seed=0)
    first, again = (augmenter(image, epoch=0, record_id="a").image for _ in range(2))
    if first.shape != image.shape or not np.array_equal(first, again):
        raise _FaultError("the same picture twice", got="two", where="augmentation", fix="reinstall albumentations")
    signals = SignalAugmenter(dict.fromkeys(for_windows, True), seed=0)
    noisy, repeated = (signals(window, epoch=0, record_id="a") for _ in range(2))
    if noisy.shape != window.shape or not np.array_equal(noisy, repeated):
        raise _FaultError("the same window twice", got="two", where="augmentation", fix="reinstall numpy")
    return f"{', '.join([*for_images, *for_windows])} run, and repeat themselves for one seed"


def _split() -> str:
    import numpy as np

    from ringlight.data.split import StratifiedSplitter

    labels = (np.random.default_rng(0).random((400, 4)) < [0.4, 0.08, 0.06, 0.02]).astype(np.uint8)
    parts = StratifiedSplitter(random_state=42).split(labels)
    whole = labels.mean(0)
    worst = max(float(np.abs(labels[part].mean(0) - whole).max()) for part in parts)
    if sorted(np.concatenate(parts).tolist()) != list(range(400)) or worst > 0.05:
        raise _FaultError(
            "three disjoint parts with equal shares",
            got=f"{worst:.3f} apart",
            where="split",
            fix="report this as a bug",
        )
    return f"400 records in three disjoint parts, class shares within {100 * worst:.1f} points"


def _catalogues() -> str:
    from ringlight.data import SOURCES
    from ringlight.data.augmentations import AUGMENTATIONS
    from ringlight.data.sampling import SAMPLERS
    from ringlight.losses import LOSSES
    from ringlight.models import MODELS
    from ringlight.optim import OPTIMIZERS, SCHEDULERS
    from ringlight.training.heads import HEADS

    catalogues = (MODELS, HEADS, LOSSES, SAMPLERS, OPTIMIZERS, SCHEDULERS, SOURCES, AUGMENTATIONS)
    empty = [catalogue.family for catalogue in catalogues if not catalogue.names()]
    if empty:
        raise _FaultError("parts in every catalogue", got="none", where=", ".join(empty), fix="reinstall ringlight")
    return ", ".join(f"{len(catalogue.names())} {catalogue.family}" for catalogue in catalogues)


def _recipes() -> str:
    from ringlight.config.load import recipe_names
    from ringlight.services.runs import configure

    names = recipe_names()
    for name in names:
        configure(name)
    return f"{', '.join(names)} are well-formed"


def _trackers() -> str:
    """Tell which trackers a run may have; that one's extra is not installed is no fault."""
    lacks: dict[TrackerName, str] = {}
    if find_spec("mlflow") is None:  # looked for, not imported: that takes seconds
        lacks["mlflow"] = " (install it with: pip install 'ringlight[mlflow]')"
    return ", ".join(f"{name}{lacks.get(name, '')}" for name in TRACKER_NAMES)


def _existing(folder: Path) -> Path:
    """Return the folder itself, or the nearest one above it: the doctor creates nothing."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _disk(workspace: Path) -> str:
    free = shutil.disk_usage(_existing(workspace)).free / 2**30
    if free < MIN_FREE_GIB:
        raise _FaultError(
            f"{MIN_FREE_GIB:.0f} GiB free", got=f"{free:.1f} GiB", where=str(workspace), fix="free some space"
        )
    return f"{free:.1f} GiB free for {workspace}"


def _writable(workspace: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=_existing(workspace)) as stream:
            stream.write(b"ringlight")
    except OSError as error:
        raise unwritable(workspace, error) from error
    return f"{workspace} can be written"
