"""Models that a caller brings: a network of his own, a Keras model, an estimator of scikit-learn.

Each becomes a module of windows, (B, C, T) -> raw scores (B, K), so that everything behind training takes it like one
of the catalogue. What a model gives is found out on the first records: a model that ends in a soft-max is taken as it
is, and the logarithm of its probabilities are the scores, which cross-entropy turns back into the same probabilities.

Shapes: B windows, C channels, T samples, D features of a vector (then T is 1 and C is D), K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ringlight.errors import BundleError, ModelError
from ringlight.models.estimator import ClassWeight, EstimatorModel
from ringlight.models.scikit_adapters import ScikitOnFeatures, ScikitOnVectors
from ringlight.optional import require
from ringlight.types import Task

CUSTOM = "custom"
"""What `model.name` is of a model that is in no catalogue."""
Outputs = Literal["scores", "probabilities"]
PROBED = 8
"""Records on which a model is tried before it is trained."""
SUM = 1e-3
"""How far from 1 the outputs of a record may add up and still be probabilities."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """A model behind the interface of windows, and what its bundle has to know: `params`, plain values."""

    module: nn.Module
    params: dict[str, Any]
    notes: tuple[str, ...] = ()


class CustomNetwork(nn.Module):
    """A network of one's own: windows (B, C, T), or vectors (B, D) with `vectors`, to raw scores (B, K).

    `outputs` says what the network gives: scores as they are, or probabilities, whose logarithm is taken.
    """

    takes: ClassVar[str] = "windows"

    def __init__(
        self, module: nn.Module, *, vectors: bool = False, outputs: Outputs = "scores", task: Task = "multiclass"
    ) -> None:
        super().__init__()
        self.module = module
        self.vectors = vectors
        self.outputs: Outputs = outputs
        self.task: Task = task

    def forward(self, windows_bct: Tensor) -> Tensor:
        """Return raw scores (B, K)."""
        found: Tensor = self.module(windows_bct.flatten(1) if self.vectors else windows_bct)
        return as_scores(found, self.outputs, self.task)


class KerasNetwork(nn.Module):
    """A Keras 3 model on its PyTorch backend: it is given (B, T, C), or vectors (B, D), as Keras has them.

    Its variables are this module's parameters, by their order in the model: Keras numbers layers through the whole
    process, so that the names of one model differ from those of the same model built again.

    Args:
        model: it; built for its input, or given `shape` to be built for.
        vectors: it takes (B, D).
        outputs: what it gives: scores, or probabilities as after a soft-max.
        task: how scores become probabilities.
        shape: samples and channels (T, C) of its input.

    Raises:
        MissingExtraError: keras is not installed.
        ModelError: Keras does not compute with PyTorch here.
    """

    takes: ClassVar[str] = "windows"

    def __init__(
        self, model: Any, *, shape: tuple[int, int], vectors: bool = False, outputs: Outputs = "scores",
        task: Task = "multiclass",
    ) -> None:  # fmt: skip
        super().__init__()
        backend = require("keras", extra="dev").backend.backend()
        if backend != "torch":
            raise ModelError(
                "Keras on its PyTorch backend", got=str(backend), where="model",
                fix="set KERAS_BACKEND=torch before keras is imported",
            )  # fmt: skip
        self.vectors = vectors
        self.outputs: Outputs = outputs
        self.task: Task = task
        self._held = (model,)  # in a tuple: as a submodule it would list its variables twice, under its own names
        if not model.built:
            model(torch.zeros(1, shape[1]) if vectors else torch.zeros(1, *shape))
        for place, variable in enumerate(model.variables):
            self.register_parameter(f"variable_{place}", variable.value)

    def forward(self, windows_bct: Tensor) -> Tensor:
        """Return raw scores (B, K)."""
        inputs = windows_bct.flatten(1) if self.vectors else windows_bct.transpose(1, 2)
        found: Tensor = self._held[0](inputs, training=self.training)
        return as_scores(found, self.outputs, self.task)


def as_scores(outputs_bk: Tensor, kind: Outputs, task: Task) -> Tensor:
    """Return raw scores (B, K): of probabilities their logarithm, of several labels their log odds."""
    if kind == "scores":
        return outputs_bk
    least = torch.finfo(outputs_bk.dtype).tiny
    logs = outputs_bk.clamp(min=least).log()
    return logs if task == "multiclass" else logs - (1 - outputs_bk).clamp(min=least).log()


def is_keras(model: object) -> bool:
    """Return whether a model is Keras', without importing it."""
    return any(kind.__module__.split(".")[0] == "keras" for kind in type(model).__mro__)


def adapt(
    model: Any, probe_bct: Tensor, *, num_classes: int, vectors: bool = False, task: Task = "multiclass", seed: int = 0,
    class_weight: ClassWeight = None,
) -> Adapted:  # fmt: skip
    """Put a model behind the interface of windows, and try it.

    Args:
        model: a network, a Keras model, or an estimator of scikit-learn.
        probe_bct: some records as the model will see them, (B, C, T); only the first few are used.
        num_classes: K.
        vectors: the records are vectors: a network is given (B, D), an estimator (N, D) as it is.
        task: how scores become probabilities.
        seed: of an estimator.
        class_weight: of an estimator; a network hears of it from its loss.

    Raises:
        ModelError: it is no model, does not take such records, or gives no score for each class.
    """
    channels, length = probe_bct.shape[1:]
    if not isinstance(model, nn.Module):
        made = ScikitOnVectors if vectors else ScikitOnFeatures
        fitted = made(num_classes, channels, task=task, seed=seed, class_weight=class_weight, estimator=model)
        told = " ".join(repr(model).split())
        return Adapted(fitted, {"kind": made.__name__, "module": type(model).__name__, "settings": told})
    if isinstance(model, EstimatorModel):
        raise ModelError(
            "a network or an estimator of scikit-learn", got=f"{type(model).__name__} of the catalogue", where="model",
            fix="pass ringlight.trainers.RandomForestModel(config).model, or train it with ringlight train",
        )  # fmt: skip
    kind = KerasNetwork.__name__ if is_keras(model) else CustomNetwork.__name__
    params = {"kind": kind, "module": type(model).__name__, "vectors": vectors, "outputs": "scores"}
    outputs = tried(_network(model, params, (length, channels), task), probe_bct[:PROBED], num_classes)
    if _gives_probabilities(model, outputs, task):
        params["outputs"] = "probabilities"
    note = f"{type(model).__name__} gives probabilities, whose logarithm the loss is given"
    notes = (note,) if params["outputs"] == "probabilities" else ()
    return Adapted(_network(model, params, (length, channels), task), params, notes)


def rebuilt(
    params: Mapping[str, Any], module: Any, *, num_classes: int, shape: tuple[int, int], task: Task, where: str
) -> nn.Module:
    """Return the module that the weights of a saved custom model fit into.

    Args:
        params: what :func:`adapt` said of it.
        module: the model, built as for its training; an estimator of scikit-learn needs none.
        num_classes: K.
        shape: samples and channels (T, C).
        task: how scores become probabilities.
        where: the file the message is about.

    Raises:
        BundleError: a network of one's own, and none was passed.
    """
    for kind in (ScikitOnFeatures, ScikitOnVectors):
        if params.get("kind") == kind.__name__:
            return kind(num_classes, shape[1], task=task)
    if not isinstance(module, nn.Module):
        name = params.get("module", "the model")
        raise BundleError(
            f"the module it was trained with, {name}, which is in no catalogue",
            got="none" if module is None else type(module).__name__, where=where,
            fix=f"build it and pass it: ringlight.load(FOLDER, module={name}(...))",
        )  # fmt: skip
    return _network(module, params, shape, task)


def _network(model: nn.Module, params: Mapping[str, Any], shape: tuple[int, int], task: Task) -> nn.Module:
    vectors, outputs = bool(params["vectors"]), params["outputs"]
    if params["kind"] == KerasNetwork.__name__:
        return KerasNetwork(model, shape=shape, vectors=vectors, outputs=outputs, task=task)
    return CustomNetwork(model, vectors=vectors, outputs=outputs, task=task)


def tried(network: nn.Module, probe_bct: Tensor, num_classes: int) -> Tensor:
    """Return what a network gives for some records.

    Raises:
        ModelError: an error, or outputs of another shape.
    """
    vectors = bool(getattr(network, "vectors", False))
    shown = tuple(probe_bct.flatten(1).shape if vectors else probe_bct.shape)
    if isinstance(network, KerasNetwork) and not vectors:
        shown = (shown[0], shown[2], shown[1])
    own = next(network.parameters(), None)
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            found = network(probe_bct if own is None else probe_bct.to(own.device))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ModelError(
            f"a model that takes {'vectors' if vectors else 'windows'} {shown}",
            got=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}", where="model",
            fix="(B, C, T) is what a network is given of X (N, T, C): build it for these channels and this length",
        ) from error  # fmt: skip
    finally:
        network.train(was_training)
    if not isinstance(found, Tensor) or found.shape != (len(probe_bct), num_classes):
        got = str(tuple(found.shape)) if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(
            f"a score for each of {num_classes} classes: {(len(probe_bct), num_classes)}", got=got, where="model",
            fix=f"end the model in {num_classes} outputs",
        )  # fmt: skip
    return found.detach().float()


def _gives_probabilities(model: nn.Module, outputs_bk: Tensor, task: Task) -> bool:
    """Return whether outputs are probabilities: of one label they add up to 1, of several the last layer says so."""
    if task == "multiclass":
        in_range = bool((outputs_bk >= 0).all() and (outputs_bk <= 1).all())
        return in_range and bool(((outputs_bk.sum(dim=1) - 1).abs() < SUM).all())
    if is_keras(model):
        layers = getattr(model, "layers", [])
        return bool(layers) and getattr(getattr(layers[-1], "activation", None), "__name__", "") == "sigmoid"
    return isinstance([*model.modules()][-1], nn.Sigmoid)
