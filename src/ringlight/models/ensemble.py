"""Several models of windows as one: a weighted vote over their probabilities, or a regression on them (stacking).

Every member is a model of the catalogue behind its own normalisation, so that a network and a forest take the same
windows in physical units. The whole is one `torch.nn.Module`: its state dict holds every member, and its members'
architectures are enough to build it again. How members and weights are fitted is told in
:mod:`ringlight.training.ensembles`.

Soft voting is the linear opinion pool (Stone 1961), p(k) = sum_m w_m p_m(k) with weights on the simplex and p_m the
probabilities of the member's scores, divided by a temperature of its own (Guo et al. 2017); stacking is
Wolpert's (1992) stacked generalisation, in the form of a multinomial logistic regression on the members' log
probabilities. Shapes: M members, B windows, C channels, T samples, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name

from ringlight.errors import ModelError, Problems
from ringlight.models.build import build_sequence_model
from ringlight.models.ensemble_members import DEFAULT_MEMBERS, MemberSpec, Normalization, parse_members
from ringlight.models.estimator import EstimatorModel, check_least
from ringlight.types import Task

FLOOR = 1e-7
"""The least probability that stacking hears of: a member that is all too sure is no outlier of the regression."""
FROM_RUNS = "`ringlight train windows model.name=ensemble` takes runs"
STILL = 1e-9
"""A deviation below this share of the mean is rounding: the channel stands still (as in `data.window_spec`)."""


class Normaliser(nn.Module):
    """Windows in physical units (B, C, T) -> one member's input, as `data.window_spec.WindowSpec.apply` makes it.

    "channel": (value - mean) / std of the channel, which are buffers; "window": each channel of each window by its own
    mean and deviation, one that stands still becomes 0; "none": as it is.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, normalize: Normalization, in_chans: int) -> None:
        super().__init__()
        self.normalize = normalize
        if normalize == "channel":
            self.register_buffer("mean", torch.zeros(in_chans))
            self.register_buffer("std", torch.ones(in_chans))

    def set_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take the statistics of the training windows, C values each; only "channel" has a use for them."""
        if self.normalize == "channel":
            self.mean.copy_(torch.tensor(mean))
            self.std.copy_(torch.tensor(std))

    def forward(self, windows_bct: Tensor) -> Tensor:
        """Return the normalised windows, of the same shape."""
        if self.normalize == "none":
            return windows_bct
        if self.normalize == "channel":
            return (windows_bct - self.mean[:, None]) / self.std[:, None]
        mean = windows_bct.double().mean(dim=-1, keepdim=True)
        centred = windows_bct - mean.float()
        std = (centred * centred).double().mean(dim=-1, keepdim=True).sqrt()
        is_moving = std > STILL * mean.abs()
        return torch.where(is_moving, centred / torch.where(is_moving, std, 1.0).float(), 0.0)


class Member(nn.Module):
    """One model behind its normalisation; `spec` is what builds it again."""

    def __init__(self, spec: MemberSpec, model: nn.Module, in_chans: int) -> None:
        super().__init__()
        self.spec = spec
        self.normaliser = Normaliser(spec.normalize, in_chans)
        self.model = model

    def forward(self, windows_bct: Tensor) -> Tensor:
        """Return the member's logits (B, K)."""
        logits: Tensor = self.model(self.normaliser(windows_bct))
        return logits


class EnsembleModel(nn.Module):
    """Soft voting or stacking over members of the catalogue, weights fitted on records no member was trained on.

    Args:
        members: two or more: the name of a model of windows; or a mapping with `name`, the model's own parameters,
            `drop_rate` and `normalize` (channel, window, none; without it as that model alone would have it); or a
            mapping with `run` alone, the folder of a trained run whose model is taken as it is. Names alone are built
            with the model's defaults here, with its shipped settings in a run.
        voting: "soft" or "stacking".
        scaled: whether soft voting fits a temperature to each member first. Some models give scores that are no log
            probabilities (a support-vector machine's margins): as they stand their votes are too timid to count.
        num_folds: grouped folds of the training part whose held out scores fit the weights; without use where a member
            is a trained run (then the validation part does).
        penalty: of stacking, the ridge on the regression's weights over standardised log probabilities, above 0.

    Raises:
        Problems: members that cannot be built, a line each.
        ModelError: a number out of range.

    Examples:
        >>> model = EnsembleModel(2, 3, length=8, members=["logistic_regression", {"name": "svm", "C": 2.0}])
        >>> [member["name"] for member in model.architecture], model.weights.tolist()
        (['logistic_regression', 'svm'], [0.5, 0.5])
    """

    takes: ClassVar[str] = "windows"
    is_ensemble: ClassVar[bool] = True
    """Such a model is fitted by `training.ensembles.EnsembleLearner`, members first."""
    weights: Tensor
    temperatures: Tensor

    def __init__(
        self, num_classes: int, in_chans: int, *, length: int, task: Task = "multiclass", seed: int = 0,
        members: Sequence[str | dict[str, Any]] = DEFAULT_MEMBERS,
        voting: Literal["soft", "stacking"] = "soft", scaled: bool = True, num_folds: int = 3, penalty: float = 0.001,
    ) -> None:  # fmt: skip
        super().__init__()
        check_least("num_folds", num_folds, 2)
        check_least("penalty", penalty, 0, above=True)
        specs, lines = parse_members(members)
        runs = [place for place, spec in enumerate(specs) if spec.run is not None]
        lines += [f"model.members[{place}]: expected a model, got a run; {FROM_RUNS}" for place in runs]
        if lines:
            raise Problems(lines)
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.task: Task = task
        self.voting = voting
        self.scaled = scaled
        self.num_folds = num_folds
        self.penalty = penalty
        self.members = nn.ModuleList(
            Member(spec, _built(place, spec, num_classes, in_chans, length, task, seed), in_chans)
            for place, spec in enumerate(specs)
        )
        if voting == "soft":
            self.register_buffer("weights", torch.full((len(specs),), 1 / len(specs), dtype=torch.float64))
            self.register_buffer("temperatures", torch.ones(len(specs), dtype=torch.float64))
        else:
            self.stack = nn.Linear(len(specs) * num_classes, num_classes)
            with torch.no_grad():  # until it is fitted: the mean of the members' scores
                self.stack.weight.copy_(torch.eye(num_classes).repeat(1, len(specs)) / len(specs))
                self.stack.bias.zero_()

    @property
    def architecture(self) -> list[dict[str, Any]]:
        """What `members` must be to build the same members again, whatever runs they came from."""
        return [member.spec.to_dict() for member in self.parts]

    @property
    def parts(self) -> list[Member]:
        """The members, in order."""
        return [member for member in self.members if isinstance(member, Member)]

    def forward(self, windows_bct: Tensor) -> Tensor:
        """Return logits (B, K) of windows in physical units (B, C, T).

        Raises:
            ModelError: another number of channels, or a member that was not fitted.
        """
        return self.combine(self.member_logits(windows_bct))

    def member_logits(
        self, windows_bct: Tensor, described: Mapping[int, npt.NDArray[np.float32]] | None = None
    ) -> Tensor:
        """Return the logits (M, B, K) of every member; `described` holds features (B, D) that are known, by member."""
        if windows_bct.ndim != 3 or windows_bct.shape[1] != self.in_chans:
            raise ModelError(
                f"windows (B, {self.in_chans}, T): {self.in_chans} channels, then time",
                got=str(tuple(windows_bct.shape)), where="input of EnsembleModel",
                fix="give the channels it was built for, in their order",
            )  # fmt: skip
        known, found = described or {}, []
        for place, member in enumerate(self.parts):
            if place in known and isinstance(member.model, EstimatorModel):
                found.append(torch.from_numpy(member.model.scores(known[place])).to(windows_bct.device))
            else:
                found.append(member(windows_bct))
        return torch.stack([logits.float() for logits in found])

    def combine(self, logits_mbk: Tensor) -> Tensor:
        """Return the ensemble's logits (B, K), float32, of its members' (M, B, K)."""
        if self.voting == "stacking":
            stacked: Tensor = self.stack(stacking_features(logits_mbk, self.task))
            return stacked
        logs_m11 = self.weights.log()[:, None, None].to(logits_mbk.device)
        scaled_mbk = logits_mbk.double() / self.temperatures[:, None, None].to(logits_mbk.device)
        if self.task == "multiclass":
            return torch.logsumexp(F.log_softmax(scaled_mbk, dim=-1) + logs_m11, dim=0).float()
        yes, no = (torch.logsumexp(F.logsigmoid(sign * scaled_mbk) + logs_m11, dim=0) for sign in (1.0, -1.0))
        return (yes - no).float()


def stacking_features(logits_mbk: Tensor, task: Task) -> Tensor:
    """Return what stacking regresses on, float32 (B, M * K): log probabilities; of several labels their log odds.

    No probability counts as less than :data:`FLOOR`.
    """
    least = float(np.log(FLOOR))
    if task == "multiclass":
        values = F.log_softmax(logits_mbk.double(), dim=-1).clamp(min=least)
    else:
        values = logits_mbk.double().clamp(min=least, max=-least)
    return values.transpose(0, 1).flatten(1).float()


def _built(
    place: int, spec: MemberSpec, num_classes: int, in_chans: int, length: int, task: Task, seed: int
) -> nn.Module:
    try:
        return build_sequence_model(
            spec.name, num_classes=num_classes, in_chans=in_chans, length=length, drop_rate=spec.drop_rate, task=task,
            seed=seed, params=spec.params,
        ).module  # fmt: skip
    except ModelError as error:
        key = error.where.removeprefix("model.")
        raise ModelError(error.expected, got=error.got, where=f"model.members[{place}].{key}", fix=error.fix) from error
