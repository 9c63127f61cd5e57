"""`imbalance.method`: one setting that stands for a loss, a sampler, or what follows the training.

A method names what it replaces and leaves the rest as it is set. Each is described, with its paper, where it is built:
in `losses/`, in `data/sampling.py`, and here for the two that act after the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ringlight.config.schema import Config
from ringlight.errors import ConfigError
from ringlight.training.drawing import Seen
from ringlight.types import Task

if TYPE_CHECKING:
    from torch import nn

PLAIN: Mapping[Task, str] = {"multiclass": "cross_entropy", "multilabel": "bce_with_logits"}
"""The loss that follows the shares of the classes, with which every comparison begins."""

Part = tuple[str, Mapping[str, Any]]
"""A name of a catalogue and the parameters that make it the method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What a method replaces: the loss of each task it has one for, the sampler, and what follows the training."""

    loss: Mapping[Task, Part] = field(default_factory=dict)
    sampler: str | None = None
    after: Literal["post_hoc", "crt"] | None = None

    def suits(self, task: Task) -> bool:
        """Whether the method is defined for a task: one that replaces the loss must have one for it."""
        return not self.loss or task in self.loss


def _plainly(after: Literal["post_hoc", "crt"]) -> Method:
    return Method(
        loss={"multiclass": (PLAIN["multiclass"], {}), "multilabel": (PLAIN["multilabel"], {"pos_weight": None})},
        after=after,
    )


METHODS: Mapping[str, Method] = {
    "none": Method(),
    "class_weights": Method(
        loss={
            "multiclass": ("weighted_cross_entropy", {"weights": "balanced"}),
            "multilabel": ("bce_with_logits", {"pos_weight": "balanced"}),
        }
    ),
    "effective_number": Method(
        loss={
            "multiclass": ("weighted_cross_entropy", {"weights": "effective_number"}),
            "multilabel": ("focal_loss", {"alpha": "effective_number", "gamma": 0.0}),
        }
    ),
    "balanced_softmax": Method(loss={"multiclass": ("balanced_softmax", {})}),
    "logit_adjustment": Method(loss={"multiclass": ("logit_adjustment", {}), "multilabel": ("logit_adjustment", {})}),
    "post_hoc": _plainly("post_hoc"),
    "ldam_drw": Method(loss={"multiclass": ("ldam", {})}),
    "focal": Method(loss={"multiclass": ("focal_loss", {}), "multilabel": ("focal_loss", {})}),
    "asymmetric": Method(loss={"multilabel": ("asymmetric_loss", {})}),
    "stratified_batches": Method(sampler="stratified"),
    "balanced_batches": Method(sampler="balanced"),
    "class_balanced": Method(sampler="class_balanced"),
    "square_root": Method(sampler="square_root"),
    "progressive": Method(sampler="progressive"),
    "crt": _plainly("crt"),
}
"""Every method but `auto`, which is one of these in the end."""


def with_method(config: Config, method: str, task: Task, tau: float | None = None) -> Config:
    """Return the configuration with a method put in: its loss and its sampler in the place of the former ones.

    Applied again it changes nothing, so that a run's `config.yaml` runs as it ran. A loss that is the method's already
    keeps the parameters that do not make the method.

    Raises:
        ConfigError: the method has no form for the task.
    """
    chosen = METHODS[method]
    if not chosen.suits(task):
        others = ", ".join(name for name, other in METHODS.items() if other.suits(task))
        raise ConfigError(
            f"a method for {task} data", got=method, where="imbalance.method", fix=f"choose from: {others}"
        )
    tree = config.model_dump()
    tree["imbalance"] |= {"method": method, **({} if tau is None else {"tau": tau})}
    if chosen.loss:
        name, params = chosen.loss[task]
        own = config.loss.params() if _same(config.loss.name) == name else {}
        extra = {"tau": tree["imbalance"]["tau"]} if name == "logit_adjustment" else {}
        tree["loss"] = {"name": name, **own, **params, **extra}
    if chosen.sampler is not None and config.sampler.name != chosen.sampler:
        tree["sampler"] = {"name": chosen.sampler}
    return Config.model_validate(tree)


def shifts_scores(config: Config) -> bool:
    """Whether a training moves the scores in favour of rare classes: by its method, its loss, or what it draws."""
    weights = config.loss.params().get("pos_weight")
    return (
        config.imbalance.method not in ("none", "stratified_batches")
        or config.loss.name in ("logit_adjustment", "asymmetric_loss")
        or weights is not None
        or config.sampler.name not in ("shuffle", "stratified")
    )


def plain(config: Config, task: Task) -> Config:
    """Return the configuration with the plain loss of the task; one that is it keeps all but class weights."""
    own = config.loss.params() if _same(config.loss.name) == PLAIN[task] else {}
    tree = config.model_dump()
    tree["loss"] = {"name": PLAIN[task], **{key: value for key, value in own.items() if key != "pos_weight"}}
    return Config.model_validate(tree)


def _same(name: str) -> str:
    """Return the loss behind another library's name of it."""
    from ringlight.losses import SAME_LOSS

    return SAME_LOSS.get(name, name)


def take_out_prior(module: nn.Module, seen: Seen, task: Task, tau: float) -> str:
    """Take a share `tau` of the classes' prior out of a trained model's scores, by the bias of its classifier.

    Post-hoc logit adjustment (Menon et al. 2021, arXiv:2007.07314, equation 9): what is added to a logit is the same
    for every image, so that the model is saved and served like any other. Returns the note for the log.
    """
    from ringlight.losses.adjust import post_hoc_logit_adjustment
    from ringlight.models.heads import shift_scores

    offsets = post_hoc_logit_adjustment(list(seen.class_counts), tau, task, seen.num_records)
    shift_scores(module, offsets)
    listed = ", ".join(f"{value:+.2f}" for value in offsets.tolist())
    return f"post_hoc: {tau:g} of the classes' prior is taken out of the scores ({listed})"
