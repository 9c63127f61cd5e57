"""Mixed batches: a training step sees mixtures of its records, and its loss is the same mixture of their losses.

A mixture is one input with two targets and a weight w. The mixture of targets is written as the mixture of losses,
w L(a) + (1 - w) L(b): the same number for cross-entropy, soft-max and binary alike, which is linear in its target, and
a meaning for every loss that takes class indices.

Mixup is here; what cuts pictures, in :mod:`ringlight.training.mixing_cut`; the catalogue, in
:mod:`ringlight.training.mixes`.

Shapes: B records, any input (images and windows alike), K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ringlight.data.augmentations_base import Kind
from ringlight.data.augmentations_mix import draw_partners
from ringlight.errors import ConfigError, DataError

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """A mixed batch: input (B, ...) is `weight` of the records with `targets_a`, the rest those with `targets_b`."""

    inputs: Tensor
    targets_a: Tensor
    targets_b: Tensor
    weight: float

    @property
    def targets(self) -> Tensor:
        """Both targets of each record, (B, 2, ...): they are divided along with the records."""
        return torch.stack([self.targets_a, self.targets_b], dim=1)


class Mixer(Protocol):
    """What mixes batches: the parts of the catalogue `mix`."""

    takes: tuple[Kind, ...]
    """What the records may be."""

    def mix(self, inputs: Tensor, targets: Tensor, *, epoch: int, step: int) -> Mixed:
        """Mix every record with a partner from the same batch; what happens is a function of (seed, epoch, step)."""
        ...

    def size_problem(self, size: Size) -> str | None:
        """Return in one line why pictures (H, W) cannot be mixed, None when they can."""
        ...


class NoMix:
    """Leave every batch as it is.

    Args:
        seed: as every mixer has one; nothing is drawn.
    """

    takes: tuple[Kind, ...] = ("images", "windows")

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def mix(self, inputs: Tensor, targets: Tensor, *, epoch: int, step: int) -> Mixed:  # noqa: ARG002 - as every mixer
        """Return the batch itself with a weight of 1."""
        return Mixed(inputs, targets, targets, 1.0)

    def size_problem(self, size: Size) -> str | None:  # noqa: ARG002 - as every mixer
        """Any picture will do."""
        return None


class BatchMixer:
    """What all ways of mixing have in common: weight and partners are drawn, one weight and one order for a batch.

    Args:
        alpha: the weight is drawn from Beta(alpha, alpha), 0.01 to 10: below 1 mostly near 0 or 1, at 1 any share.
        probability: of a batch being mixed, 0 to 1.
        seed: together with epoch and step it determines what happens to a batch, on whatever device.

    Raises:
        ConfigError: a number is out of range.
    """

    takes: tuple[Kind, ...] = ("images",)
    name: ClassVar[str]

    def __init__(self, *, alpha: float, probability: float, seed: int) -> None:
        check_number("alpha", alpha, 0.01, 10)
        check_number("probability", probability, 0, 1)
        self.alpha = alpha
        self.probability = probability
        self.seed = seed

    def mix(self, inputs: Tensor, targets: Tensor, *, epoch: int, step: int) -> Mixed:
        """Mix every record with a partner from the same batch; `inputs` and `targets` are left alone.

        Args:
            inputs: (B, C, H, W), or what else `takes` names, floating-point.
            targets: (B,) class indices or (B, K) of 0 and 1.
            epoch: from 0.
            step: the batch's place in the epoch, from 0.

        Returns:
            The mixture; the batch itself with a weight of 1 where chance leaves it alone.

        Raises:
            DataError: inputs of whole numbers or of another shape, or another number or kind of targets.
        """
        self._check(inputs, targets)
        rng = chance(self.seed, epoch, step, self.name)
        drawn = draw_partners(len(inputs), rng, alpha=self.alpha, probability=self.probability)
        if drawn is None:
            return Mixed(inputs, targets, targets, 1.0)
        partners = torch.from_numpy(drawn[1]).to(inputs.device)
        mixed, weight = self._mixture(inputs, partners, drawn[0], rng)
        return Mixed(mixed, targets, targets[partners], weight)

    def size_problem(self, size: Size) -> str | None:  # noqa: ARG002 - as every mixer
        """Any picture will do."""
        return None

    def _mixture(
        self, inputs: Tensor, partners: Tensor, weight: float, rng: np.random.Generator
    ) -> tuple[Tensor, float]:
        """Return the mixed inputs and the weight that they have in truth."""
        raise NotImplementedError

    def _check(self, inputs: Tensor, targets: Tensor) -> None:
        if not inputs.is_floating_point() or len(inputs) != len(targets) or targets.ndim not in (1, 2):
            raise DataError(
                "floats (B, ...) and B targets, class indices (B,) or 0 and 1 (B, K)",
                got=f"{inputs.dtype} {tuple(inputs.shape)} and {len(targets)} targets {tuple(targets.shape)}",
                where=self.name,
                fix="pass a batch as the model gets it",
            )
        if "windows" not in self.takes and inputs.ndim != 4:
            raise DataError(
                "pictures (B, C, H, W)", got=f"{tuple(inputs.shape)}", where=self.name, fix="set mix=mixup or mix=none"
            )


class Mixup(BatchMixer):
    """Blend every record of a batch with another one; images and windows alike (Zhang and others 2018).

    x = w x_a + (1 - w) x_b with w from Beta(alpha, alpha) (H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup:
    Beyond Empirical Risk Minimization", arXiv:1710.09412, equation 1), and, as in their listing, one w and one order of
    partners for a batch.

    Args:
        alpha: how strongly records are blended, 0.01 to 10: below 1 mostly one of the two, at 1 any share.
        probability: of a batch being blended, 0 to 1.
        seed: together with epoch and step it determines weight and partners.

    Raises:
        ConfigError: a number is out of range.

    Examples:
        >>> mixed = Mixup(alpha=1.0, probability=1.0, seed=0).mix(torch.eye(3), torch.arange(3), epoch=0, step=0)
        >>> 0 < mixed.weight < 1, mixed.inputs.sum(1).allclose(torch.ones(3)), sorted(mixed.targets_b.tolist())
        (True, True, [0, 1, 2])
    """

    takes: tuple[Kind, ...] = ("images", "windows")
    name = "mixup"

    def __init__(self, *, alpha: float = 0.2, probability: float = 1.0, seed: int) -> None:
        super().__init__(alpha=alpha, probability=probability, seed=seed)

    def _mixture(
        self, inputs: Tensor, partners: Tensor, weight: float, rng: np.random.Generator  # noqa: ARG002 - nothing is cut
    ) -> tuple[Tensor, float]:  # fmt: skip
        return inputs.lerp(inputs[partners], 1 - weight), weight


def mixed_loss(criterion: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor, weight: float) -> Tensor:
    """Return weight L(a) + (1 - weight) L(b) of logits (B, K) and pairs of targets (B, 2, ...), or of a part of them.

    Examples:
        >>> nll = torch.nn.CrossEntropyLoss()
        >>> logits, pairs = torch.tensor([[2.0, 0.0]]), torch.tensor([[0, 1]])
        >>> mixed_loss(nll, logits, pairs, 0.7).allclose(nll(logits, torch.tensor([[0.7, 0.3]])))
        True
    """
    targets_a, targets_b = targets.unbind(1)
    if weight in (0, 1):  # also where the other loss would be infinite
        return criterion(logits, targets_a if weight == 1 else targets_b)
    return weight * criterion(logits, targets_a) + (1 - weight) * criterion(logits, targets_b)


def chance(seed: int, epoch: int, step: int, name: str) -> np.random.Generator:
    """Return the source of chance of one batch, for one way of mixing.

    Examples:
        >>> chance(0, 1, 2, "mixup").random() == chance(0, 1, 2, "mixup").random() != chance(0, 1, 3, "mixup").random()
        True
    """
    key = repr((seed, epoch, step, name)).encode()
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), "big"))


def check_number(key: str, value: float, low: float, high: float) -> None:
    """Refuse a parameter of `mix` outside `low` to `high`, NaN included.

    Raises:
        ConfigError: naming the key in full.
    """
    if not low <= value <= high:
        raise ConfigError(
            f"a number from {low:g} to {high:g}", got=repr(value), where=f"mix.{key}", fix="correct the value"
        )


Mask = npt.NDArray[np.bool_]
"""What of a picture, or of its grid of tokens, is the partner's."""
