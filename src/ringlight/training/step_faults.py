"""What ends a training step by the records and numbers it met, told in a line each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ringlight.errors import TrainingError


@contextmanager
def lone_record_told(size: int, *, where: str) -> Iterator[None]:
    """Say in a line that batch normalisation has to learn from one record: it has no variance.

    Args:
        size: records of the batch; above 1 it was divided down to single ones.
        where: of the step.

    Raises:
        TrainingError: the block's forward pass met such a batch, or such a chunk of one.
    """
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("Expected more than 1 value per channel"):
            raise
        expected = "two records or more in a batch for batch normalisation"
        if size == 1:
            fix = "set data.batch_size=2 or more, or choose another split, with more records to train on"
            raise TrainingError(expected, got="one", where=where, fix=fix) from error
        raise TrainingError(
            expected, got=f"one at a time of {size}, for want of memory", where=where,
            fix="make data.image_size smaller, or choose a smaller model or one without batch normalisation",
        ) from error  # fmt: skip


def loss_not_finite(value: float, *, epoch: int) -> TrainingError:
    """Return the error of a loss that is NaN or infinite."""
    return TrainingError(
        "a finite loss", got=str(value), where=f"epoch {epoch}",
        fix="lower optimizer.lr, set training.gradient_clip_norm=1.0, or use training.precision=32",
    )  # fmt: skip


def batch_not_divisible(reason: str, *, where: str) -> TrainingError:
    """Return the error of memory that runs out for a batch whose chunks would have another loss."""
    return TrainingError(
        "memory for a whole batch, whose records are compared with each other", got=reason, where=where,
        fix="lower data.batch_size or supcon.num_views, or make data.image_size smaller",
    )  # fmt: skip
