"""A model of two files, a backbone's weights and a classifier's, asked as a saved one.

Weights alone do not say what they belong to. What is missing stands in `BACKBONE.json` beside the backbone's file, or
is said on the command line::

    {"architecture": "resnet18", "classes": ["good", "crack"], "image_size": 224}

Further keys, with their defaults: `params` ({}), `task` ("multiclass"), `in_chans` (3), `resize_mode` ("resize"),
`mean` and `std` (ImageNet's), `head` (a linear layer; where the file has a weight and no bias, the head of cosines that
a training with margins leaves, ArcFace's and its like).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from ringlight.data.preprocess import InputSpec
from ringlight.errors import BundleError, UserError, did_you_mean
from ringlight.files import file_sha256
from ringlight.inference.bundle import Bundle
from ringlight.inference.ensembling import Scorer, in_views
from ringlight.inference.predictor import Predictor
from ringlight.models import build_model
from ringlight.models.heads import install_head, make_head, num_features_of
from ringlight.models.two_files import head_state, load_two_files
from ringlight.runtime import LOGGER
from ringlight.services.prediction_models import Asked, asked_of, check_views
from ringlight.types import Task

KEYS = (
    "architecture", "params", "classes", "task", "in_chans", "image_size", "resize_mode", "mean", "std", "head",
)  # fmt: skip
COSINE = {"family": "margin", "name": "cosine"}


def ask_two_files(
    backbone: Path, head: Path, *, architecture: str | None = None, classes: str | None = None,
    image_size: int | None = None, threshold: float | None = None, operating_point: str | None = None,
    tta_runs: int | None = None,
) -> Asked:  # fmt: skip
    """Build the model, load both files as plain tensors (never as a pickle of code), and return it ready to be asked.

    Args:
        backbone: weights by the names they have in the model, with or without `backbone.` before them.
        head: `weight` (K, D), and `bias` (K,) unless the head is one of cosines.
        architecture: a name of `model.name`; what is given goes before what the file beside the backbone says.
        classes: their names in order, with commas between.
        image_size: pixels a side; None keeps every picture's own size, where the architecture allows it.
        threshold: of every label of a multi-label model.
        operating_point: only `default`: no other was fixed.
        tta_runs: views of each image, 1 to 8.

    Raises:
        UserError: architecture or classes are not known, a value is wrong, or views that are not 1 to 8.
        ModelError: a file is damaged, or does not fit the architecture.
        Problems: there is no such architecture, or it has no such parameters.
        DataError: a point or a threshold that cannot be used, an input that cannot be.
    """
    check_views(tta_runs)
    for path in (backbone, head):
        if not path.is_file():
            raise BundleError("a file of weights", got="nothing there", where=str(path), fix="check the path")
    facts = _facts(backbone, architecture=architecture, classes=classes, image_size=image_size)
    names, size = tuple(facts["classes"]), facts.get("image_size")
    in_chans, params = facts.get("in_chans", 3), facts.get("params", {})
    built = build_model(
        facts["architecture"], num_classes=len(names), in_chans=in_chans, pretrained=False, image_size=size,
        params=params,
    )  # fmt: skip
    spec = _head_spec(facts, head)
    if spec:
        install_head(built.module, make_head(spec, num_features_of(built.module), len(names)))
    load_two_files(built.module, backbone, head)
    bundle = Bundle(
        architecture={
            "name": facts["architecture"], "in_chans": in_chans, "drop_rate": 0.0, "params": params,
            **({"head": spec} if spec else {}),
        },
        task=facts.get("task", "multiclass"),
        classes=names,
        input_spec=InputSpec(
            in_chans, size, facts.get("resize_mode", "resize"), tuple(facts.get("mean", built.mean)),
            tuple(facts.get("std", built.std)),
        ),
    )  # fmt: skip
    predictor = Predictor(bundle, built.module, threshold=threshold, operating_point=operating_point)
    if tta_runs is not None:
        in_views(predictor, tta_runs)
    return asked_of(Scorer({backbone.stem: predictor}), [file_sha256(backbone), file_sha256(head)])


def _facts(backbone: Path, **given: Any) -> dict[str, Any]:
    """Return what is known of the model: what is given, else what stands beside the file."""
    beside = backbone.with_suffix(".json")
    facts: dict[str, Any] = _read(beside) if beside.is_file() else {}
    if given["classes"] is not None:
        given["classes"] = [name.strip() for name in given["classes"].split(",")]
    facts |= {key: value for key, value in given.items() if value is not None}
    missing = [key for key in ("architecture", "classes") if key not in facts]
    if missing:
        options = {"architecture": "--architecture NAME", "classes": "--classes A,B,C"}
        raise UserError(
            f"the {' and the '.join(missing)} of the model", got="weights, which do not say", where=str(backbone),
            fix=f"add {' '.join(options[key] for key in missing)}, or write {beside.name} beside the file",
        )  # fmt: skip
    _check(facts, str(beside))
    return facts


def _read(beside: Path) -> dict[str, Any]:
    try:
        facts = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        got = f"{type(error).__name__}: {error}"
        raise UserError("readable JSON", got=got, where=str(beside), fix="correct the file") from error
    if not isinstance(facts, dict):
        raise UserError("an object of keys", got=type(facts).__name__, where=str(beside), fix="correct the file")
    return facts


def _check(facts: Mapping[str, Any], where: str) -> None:
    for key in facts:
        if key not in KEYS:
            raise UserError("a known key", got=f"`{key}`", where=where, fix=did_you_mean(key, KEYS))
    classes = facts["classes"]
    named = isinstance(classes, Sequence) and not isinstance(classes, str) and len(classes) > 0
    if not (named and all(isinstance(one, str) and one for one in classes) and len(set(classes)) == len(classes)):
        raise UserError("the names of the classes, each once", got=repr(classes), where=where, fix="name every class")
    tasks = get_args(Task)
    if facts.get("task", tasks[0]) not in tasks:
        raise UserError(" or ".join(tasks), got=repr(facts["task"]), where=f"{where}: task", fix="correct the value")
    for key, kind, expected in (
        ("architecture", str, "a name"),
        ("params", dict, "an object"),
        ("head", dict, "an object"),
    ):
        if key in facts and not isinstance(facts[key], kind):
            raise UserError(expected, got=repr(facts[key]), where=f"{where}: {key}", fix="correct the value")


def _head_spec(facts: Mapping[str, Any], head: Path) -> dict[str, Any]:
    """Return what the head is: as it is said, else what its tensors look like."""
    if "head" in facts:
        return dict(facts["head"])
    if set(head_state(head)) != {"weight"}:
        return {}
    LOGGER.warning("%s has no bias: taken for a head of cosines, scaled by 30 (say `head` to have another)", head)
    return dict(COSINE)
