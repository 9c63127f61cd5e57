"""Mixup: a training step sees blends of its records, and its loss is the same blend of their losses.

H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", 2018, arXiv:1710.09412:
x = w x_a + (1 - w) x_b with w from Beta(alpha, alpha) (equation 1), and, as in their listing, one w and one order of
partners for a batch. The blend of targets is written as the blend of losses, w L(a) + (1 - w) L(b): the same number for
cross-entropy, which is linear in its target, and a meaning for every loss that takes class indices.

Shapes: B records, any input (images and windows alike), K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ringlight.data.augment_config import batch_augmentations
from ringlight.data.augmentations_mix import MixupPart
from ringlight.errors import DataError


@dataclass(frozen=True, slots=True)
class Mixed:
    """A blended batch: input (B, ...) is `weight` of the records with `targets_a`, the rest those with `targets_b`."""

    inputs: Tensor
    targets_a: Tensor
    targets_b: Tensor
    weight: float

    @property
    def targets(self) -> Tensor:
        """Both targets of each record, (B, 2, ...): they are divided along with the records."""
        return torch.stack([self.targets_a, self.targets_b], dim=1)


class Mixup:
    """Blends batches; what happens to a batch is a function of (seed, epoch, step), on whatever device.

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

    def __init__(self, *, alpha: float, probability: float, seed: int) -> None:
        self.part = MixupPart(alpha=alpha, probability=probability)
        self.seed = seed

    def mix(self, inputs: Tensor, targets: Tensor, *, epoch: int, step: int) -> Mixed:
        """Blend every record with a partner from the same batch; `inputs` and `targets` are left alone.

        Args:
            inputs: (B, ...), floating-point.
            targets: (B,) class indices or (B, K) of 0 and 1.
            epoch: from 0.
            step: the batch's place in the epoch, from 0.

        Returns:
            The blend; the batch itself with a weight of 1 where chance leaves it alone.

        Raises:
            DataError: inputs of whole numbers, or another number of targets.
        """
        if not inputs.is_floating_point() or len(inputs) != len(targets):
            raise DataError(
                "floats (B, ...) and B targets",
                got=f"{inputs.dtype} {tuple(inputs.shape)} and {len(targets)} targets",
                where="mixup",
                fix="pass a batch as the model gets it",
            )
        key = repr((self.seed, epoch, step, "mixup")).encode()
        rng = np.random.default_rng(int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), "big"))
        drawn = self.part.draw(len(inputs), rng)
        if drawn is None:
            return Mixed(inputs, targets, targets, 1.0)
        weight, partners = drawn[0], torch.from_numpy(drawn[1]).to(inputs.device)
        return Mixed(inputs.lerp(inputs[partners], 1 - weight), targets, targets[partners], weight)


def mixed_loss(criterion: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor, weight: float) -> Tensor:
    """Return weight L(a) + (1 - weight) L(b) of logits (B, K) and pairs of targets (B, 2, ...), or of a part of them.

    Examples:
        >>> nll = torch.nn.CrossEntropyLoss()
        >>> logits, pairs = torch.tensor([[2.0, 0.0]]), torch.tensor([[0, 1]])
        >>> mixed_loss(nll, logits, pairs, 0.7).allclose(nll(logits, torch.tensor([[0.7, 0.3]])))
        True
    """
    targets_a, targets_b = targets.unbind(1)
    if weight == 1:  # also where the other loss would be infinite
        return criterion(logits, targets_a)
    return weight * criterion(logits, targets_a) + (1 - weight) * criterion(logits, targets_b)


def mixer_of(augmentation: Mapping[str, object], seed: int) -> Mixup | None:
    """Return what blends batches as an augmentation section asks, None where it does not.

    Raises:
        Problems: the section has mistakes, a line each.

    Examples:
        >>> mixer_of({"mixup": {"alpha": 0.4}}, seed=0).part.alpha, mixer_of({"jitter": True}, seed=0)
        (0.4, None)
    """
    given = batch_augmentations(augmentation).get("mixup")
    if given is None:
        return None
    part = MixupPart(**given)
    return Mixup(alpha=part.alpha, probability=part.probability, seed=seed)
