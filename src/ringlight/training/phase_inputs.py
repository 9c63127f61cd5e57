"""What a phase begins with that is not of this run: the backbone of another run, a teacher that was trained before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ringlight.data.preprocess import InputSpec
from ringlight.errors import RunError
from ringlight.inference.bundle import Bundle, find_bundle, read_bundle
from ringlight.models.embedding import take_apart
from ringlight.models.heads import num_features_of
from ringlight.models.two_files import last_layer, load_backbone, load_two_files
from ringlight.training.objectives import Teacher
from ringlight.training.other_runs import check_unseen

if TYPE_CHECKING:
    from ringlight.data.specs import Spec
    from ringlight.training.plan import Plan


@dataclass(frozen=True, slots=True)
class Lesson:
    """A teacher as a student asks it; `width` is the length of its embedding."""

    ask: Teacher
    width: int


def start_backbone(plan: Plan, whole: nn.Module, where: Path, key: str) -> str:
    """Load the backbone of another run's model into `whole`, whose last layer stays as it is; return what to note.

    Adapters that `whole` has are merged: they stand beside weights that are replaced.

    Args:
        plan: this run's.
        whole: a model of the same architecture.
        where: the other run, its bundle, or one of its phases.
        key: the key that named it.

    Raises:
        BundleError: there is no model.
        RunError: its model is another one, or it was trained on records that judge this run.
    """
    folder = find_bundle(where)
    bundle, source = read_bundle(folder)
    model = plan.config.model
    here = {"name": model.name, "in_chans": model.in_chans, "params": model.params()}
    there = {name: bundle.architecture.get(name) for name in here}
    wrong = next((name for name in here if here[name] != there[name]), None)
    if wrong is not None:
        raise RunError(
            f"a model like this run's, with {wrong} {here[wrong]}", got=str(there[wrong]), where=f"{key}: {where}",
            fix="set the section model as it is in that run's config.yaml",
        )  # fmt: skip
    state = {name: tensor for name, tensor in source.state_dict().items() if name not in last_layer(source)}
    load_backbone(whole, state, last_layer(whole), f"{key}: {where}")
    return f"{key}: the backbone starts from {where}{_known(plan, folder, key)}"


def teacher_of_bundle(plan: Plan, where: Path) -> tuple[Lesson, str]:
    """Return a trained model as a teacher of the student that `plan` is of, and what to note.

    Raises:
        BundleError: there is no model.
        RunError: it knows other classes, takes another input, or was trained on records that judge this run.
    """
    folder, key = find_bundle(where), "distill.teacher"
    bundle, module = read_bundle(folder)
    _same_classes(plan, bundle, f"{key}: {where}")
    _same_input(plan.spec, bundle.input_spec, f"{key}: {where}")
    return lesson_of(module, bundle.input_spec, plan), f"{key}: {where}{_known(plan, folder, key)}"


def teacher_of_files(plan: Plan, whole: nn.Module, spec: Spec, backbone: Path, head: Path) -> tuple[Lesson, str]:
    """Return a teacher from the files of its backbone and of its linear classifier, and what to note.

    Args:
        plan: the student's.
        whole: a model of the run's architecture, whose weights are replaced.
        spec: its input.
        backbone: tensors by the names they have in the model; those of a classifier among them are left out.
        head: `weight` (K, D) and `bias` (K,), under whatever names they stand.

    Raises:
        ModelError: a file is damaged, or its tensors do not fit.
    """
    load_two_files(whole, backbone, head, head_where=f"distill.teacher_head_path: {head}")
    note = f"distill.teacher_backbone_path: what {backbone.name} was trained on is not known; scores may be too good"
    return lesson_of(whole, spec, plan), note


def lesson_of(module: nn.Module, spec: Spec, plan: Plan) -> Lesson:
    """Return a model as a teacher; input of the student's normalisation (`plan`) is turned into that of `spec`."""
    width = num_features_of(module)
    trunk, head = take_apart(module)
    device = torch.device(plan.device.device)
    for part in (trunk, head):
        part.to(device).eval().requires_grad_(requires_grad=False)
    convert = _renormalised(plan.spec, spec, device)

    def ask(inputs: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            embedding_be = trunk(convert(inputs))
            return head(embedding_be).float(), embedding_be.float()

    return Lesson(ask, width)


class _Affine:
    """x * scale + shift, channel by channel."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        self.scale = scale
        self.shift = shift

    def __call__(self, inputs: Tensor) -> Tensor:
        return inputs * self.scale + self.shift


def _renormalised(given: Spec, wanted: Spec, device: torch.device) -> _Affine | nn.Identity:
    """Return what turns (x - mean) / std of one model's input into that of another's.

    Of windows that are normalised by channel, too: another run has measured other means. The other ways have none.
    """
    by_channel = isinstance(given, InputSpec) or given.normalize == "channel"
    if not by_channel or (given.mean, given.std) == (wanted.mean, wanted.std):
        return nn.Identity()
    shape = (1, -1, 1, 1) if isinstance(given, InputSpec) else (1, -1, 1)
    mean, std, mean_to, std_to = (
        torch.tensor(values, device=device).view(shape) for values in (given.mean, given.std, wanted.mean, wanted.std)
    )
    return _Affine(std / std_to, (mean - mean_to) / std_to)


def _same_classes(plan: Plan, bundle: Bundle, where: str) -> None:
    here = (plan.dataset.task, plan.dataset.classes)
    if (bundle.task, bundle.classes) != here:
        raise RunError(
            f"a teacher of the classes of the data ({here[0]}: {', '.join(here[1])})",
            got=f"{bundle.task}: {', '.join(bundle.classes)}", where=where,
            fix="train the teacher on the same classes, in the same order",
        )  # fmt: skip


def _same_input(here: Spec, there: Spec, where: str) -> None:
    def told(spec: Spec) -> Mapping[str, object]:
        return {key: value for key, value in spec.to_dict().items() if key not in ("mean", "std")}

    one, other = told(here), told(there)
    wrong = next((key for key in one if one[key] != other.get(key)), None)
    if wrong is not None:
        raise RunError(
            f"a teacher of the same input, {wrong} {one[wrong]}", got=str(other.get(wrong)), where=where,
            fix="set the section data as it is in the teacher's config.yaml",
        )  # fmt: skip


def _known(plan: Plan, folder: Path, key: str) -> str:
    known = check_unseen(plan, folder, key, who="no earlier run")
    return "" if known else "; what it was trained on is not known, and scores may be too good"
