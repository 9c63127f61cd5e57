"""A student learns from labels and from a teacher's scores and features (Hinton et al. 2015, arXiv:1503.02531).

B batch, K classes, D student features, E teacher features.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ConfigError, DataError
from ringlight.types import Task

SHORTEST = 1e-3
"""Shorter features are divided by this: their gradient, which goes with 1 / length, still fits half precision."""


class DistillationLoss(nn.Module):
    """hard_weight x hard + soft_weight x soft + feature_weight x features.

    * hard: a loss of the labels, any of the catalogue.
    * soft: T^2 KL(teacher || student) of the soft-max of logits / T (Hinton et al. 2015, equation 1), averaged over B.
      T^2 keeps its gradient as large as the hard loss's whatever T (section 2.1). Several labels an image: the
      divergence of each class's sigmoid at T, averaged over B x K.
    * features: |r(s) / |r(s)| - t / |t||^2, averaged over B, of the student's features s behind a learned linear map r
      and the teacher's t: the hint of FitNets (Romero et al. 2015, arXiv:1412.6550, equation 3). Lengths are taken out
      here, so that the term lies in 0..4 and its weight means the same for every teacher.

    The teacher gets no gradient. `projection` (r, D -> E) is a parameter of the loss: the optimiser has to be given it.
    Everything is float32 whatever the inputs' type, also under autocast.

    Args:
        hard: the loss of the labels; its `task` says which divergence is meant, its `reduction` has to be `mean`.
        temperature: T, above 0.
        hard_weight: 0 or more.
        soft_weight: 0 or more.
        feature_weight: 0 or more; above 0 it takes the two widths.
        num_student_features: D.
        num_teacher_features: E.

    Raises:
        ConfigError: a number out of range, all weights 0, a weight for features without their widths, a hard loss that
            is not averaged.

    Examples:
        A student that cannot tell, a teacher with odds of 3 to 1, T = 1: 0.75 log 1.5 + 0.25 log 0.5

        >>> from ringlight.losses import CrossEntropy
        >>> loss = DistillationLoss(CrossEntropy(2), temperature=1.0, hard_weight=0.0, soft_weight=1.0)
        >>> told = loss(torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log(), torch.tensor([0]))
        >>> round(float(told), 4)
        0.1308
    """

    def __init__(
        self,
        hard: nn.Module,
        *,
        temperature: float = 4.0,
        hard_weight: float = 0.5,
        soft_weight: float = 0.5,
        feature_weight: float = 0.0,
        num_student_features: int | None = None,
        num_teacher_features: int | None = None,
    ) -> None:
        super().__init__()
        if not (math.isfinite(temperature) and temperature > 0):
            raise _refused("a number above 0", temperature, "temperature")
        weights = {"hard_weight": hard_weight, "soft_weight": soft_weight, "feature_weight": feature_weight}
        for key, value in weights.items():
            if not (math.isfinite(value) and value >= 0):
                raise _refused("a number of 0 or more", value, key)
        if not any(weights.values()):
            raise ConfigError(
                "a weight above 0", got="none", where="distillation", fix="set hard_weight or soft_weight to 0.5"
            )
        if getattr(hard, "reduction", "mean") != "mean":
            raise ConfigError(
                "a loss that is averaged", got=f"reduction={getattr(hard, 'reduction', '')}", where="distillation.hard",
                fix="set loss.reduction=mean: the weights compare means",
            )  # fmt: skip
        self.hard = hard
        self.task: Task = getattr(hard, "task", "multiclass")
        self.temperature = float(temperature)
        self.hard_weight = float(hard_weight)
        self.soft_weight = float(soft_weight)
        self.feature_weight = float(feature_weight)
        self.projection = self._projection(num_student_features, num_teacher_features)

    def _projection(self, num_student: int | None, num_teacher: int | None) -> nn.Linear | None:
        if self.feature_weight == 0:
            return None
        if num_student is None or num_teacher is None:
            raise ConfigError(
                "the widths of the student's and the teacher's features", got=f"{num_student} and {num_teacher}",
                where="distillation.feature_weight", fix="pass num_student_features and num_teacher_features",
            )  # fmt: skip
        return nn.Linear(num_student, num_teacher)

    def set_progress(self, epoch: int, num_epochs: int) -> None:
        """Tell a hard loss that changes in the course of a run how far it is."""
        set_progress = getattr(self.hard, "set_progress", None)
        if set_progress is not None:
            set_progress(epoch, num_epochs)

    def forward(
        self,
        student_logits_bk: Tensor,
        teacher_logits_bk: Tensor,
        targets: Tensor,
        student_features_bd: Tensor | None = None,
        teacher_features_be: Tensor | None = None,
    ) -> Tensor:
        """Return the loss, one float32 number; `targets` are those of the hard loss.

        Raises:
            DataError: teacher logits of another shape than the student's; features that are missing or of another
                width; what the hard loss refuses.
        """
        if student_logits_bk.shape != teacher_logits_bk.shape:
            raise DataError(
                f"teacher logits {tuple(student_logits_bk.shape)}, as the student's",
                got=str(tuple(teacher_logits_bk.shape)),
                where="distillation",
                fix="take a teacher of the same classes",
            )
        with torch.autocast(student_logits_bk.device.type, enabled=False):
            total = torch.zeros((), device=student_logits_bk.device)
            if self.hard_weight:
                total = total + self.hard_weight * self.hard(student_logits_bk.float(), targets)
            if self.soft_weight:
                total = total + self.soft_weight * self.soft(student_logits_bk, teacher_logits_bk)
            if self.projection is not None:
                total = total + self.feature_weight * self.hint(student_features_bd, teacher_features_be)
            return total

    def soft(self, student_logits_bk: Tensor, teacher_logits_bk: Tensor) -> Tensor:
        """Return T^2 KL(teacher || student) at temperature T, averaged."""
        student_bk = student_logits_bk.float() / self.temperature
        teacher_bk = teacher_logits_bk.detach().float() / self.temperature
        if self.task == "multilabel":
            # Per class the soft-max of (z, 0) is the sigmoid of z and its rest.
            student_bk = torch.stack([F.logsigmoid(student_bk), F.logsigmoid(-student_bk)], dim=-1)
            teacher_bk = torch.stack([F.logsigmoid(teacher_bk), F.logsigmoid(-teacher_bk)], dim=-1)
        else:
            student_bk, teacher_bk = student_bk.log_softmax(dim=1), teacher_bk.log_softmax(dim=1)
        divergences = F.kl_div(student_bk, teacher_bk, reduction="none", log_target=True).sum(dim=-1)
        return self.temperature**2 * divergences.mean()

    def hint(self, student_bd: Tensor | None, teacher_be: Tensor | None) -> Tensor:
        """Return the mean squared distance, 0..4, of projected student and teacher features of length 1.

        Raises:
            DataError: features are missing, or of another width than the projection's.
        """
        projection = self.projection
        if projection is None or student_bd is None or teacher_be is None:
            raise DataError(
                "features of student and teacher", got="none", where="distillation",
                fix="pass both, or set feature_weight to 0",
            )  # fmt: skip
        if student_bd.shape[1:] != (projection.in_features,) or teacher_be.shape[1:] != (projection.out_features,):
            raise DataError(
                f"features (B, {projection.in_features}) of the student, (B, {projection.out_features}) of the teacher",
                got=f"{tuple(student_bd.shape)} and {tuple(teacher_be.shape)}",
                where="distillation",
                fix="build the loss for the widths of the two models",
            )
        mapped_be = F.linear(student_bd.float(), projection.weight.float(), projection.bias.float())
        mapped_be = F.normalize(mapped_be, dim=1, eps=SHORTEST)
        return (mapped_be - F.normalize(teacher_be.detach().float(), dim=1, eps=SHORTEST)).square().sum(dim=1).mean()

    def get_params(self) -> dict[str, Any]:
        """Return the parameters as they act, ready for JSON, the hard loss's among them."""
        name = getattr(self.hard, "name", type(self.hard).__name__)
        get_params = getattr(self.hard, "get_params", None)
        params: dict[str, Any] = {} if get_params is None else get_params()
        return {
            "hard": {"name": name, **params},
            "temperature": self.temperature,
            "hard_weight": self.hard_weight,
            "soft_weight": self.soft_weight,
            "feature_weight": self.feature_weight,
        }


def _refused(expected: str, value: float, key: str) -> ConfigError:
    return ConfigError(expected, got=f"{value:g}", where=f"distillation.{key}", fix="correct the value")
