"""Logit adjustment (Menon et al. 2021, arXiv:2007.07314): what the training set's shares add to a logit.

A classifier trained on few pictures of a class gives it low scores, as it should where the class is as rare. When a
miss of the rare class matters as much as one of the common class (balanced accuracy), the shares must come out again:
after the training by :func:`post_hoc_logit_adjustment`, or within it by `loss.name=logit_adjustment`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ringlight.errors import ConfigError
from ringlight.losses._checks import check_every_class, check_records
from ringlight.types import Task


def log_priors(
    class_counts: Sequence[int], task: Task, num_records: int | None = None, *, value: str, where: str, fix: str
) -> list[float]:
    """Return log pi_c, the share of class c (multi-class), or log(pi_c / (1 - pi_c)), its odds (multi-label).

    Each class of a multi-label set is a problem of its own with the classes "there" and "not there". Equation 10 adds
    log pi to the logit of the one and log(1 - pi) to that of the other; a sigmoid sees their difference, the log odds.

    Args:
        class_counts: labels of each class in the training set.
        task: `multiclass` or `multilabel`.
        num_records: training records; needed for `multilabel`.
        value: what the shares are for, in an error.
        where: the key an error names.
        fix: what an error advises besides adding images.

    Raises:
        ConfigError: a class without labels, or (multi-label) on every record, or an unknown number of records.

    Examples:
        >>> [round(log, 3) for log in log_priors([30, 10], "multiclass", value="", where="", fix="")]
        [-0.288, -1.386]
        >>> [round(log, 3) for log in log_priors([30, 10], "multilabel", 60, value="", where="", fix="")]
        [0.0, -1.609]
    """
    check_every_class(class_counts, value=value, where=where, fix=fix)
    if task == "multiclass":
        total = sum(class_counts)
        return [math.log(count / total) for count in class_counts]
    records = check_records(class_counts, num_records, value=value, where=where, fix=fix)
    return [math.log(count / (records - count)) for count in class_counts]


def post_hoc_logit_adjustment(
    class_counts: Sequence[int], tau: float, task: Task, num_records: int | None = None
) -> Tensor:
    """Return what to add to each logit of a finished classifier: -tau log pi_c (Menon et al. 2021, equation 9).

    For a multi-label set it is -tau log(pi_c / (1 - pi_c)), see :func:`log_priors`. The classifier must have been
    trained by a loss that follows the shares (cross-entropy, BCE): after a balanced loss they would come out twice.

    Args:
        class_counts: labels of each class as the training saw them; a sampler that repeats records changes them.
        tau: how far the shares come out, 0 or more: 0 leaves the logits, 1 is the balanced decision. Chosen on a
            validation part, it often gains beyond 1.
        task: `multiclass` or `multilabel`.
        num_records: records that the training saw; needed for `multilabel`.

    Returns:
        (K,) of float32.

    Raises:
        ConfigError: `tau` out of range, a class without labels, or (multi-label) on every record, or an unknown number
            of records.

    Examples:
        Three common pictures to a rare one: the rare class gains log 3 on the other.

        >>> first, second = post_hoc_logit_adjustment([30, 10], 1.0, "multiclass").tolist()
        >>> round(second - first, 4) == round(math.log(3), 4)
        True
    """
    if not (math.isfinite(tau) and tau >= 0):
        raise ConfigError("a number of 0 or more", got=f"{tau:g}", where="tau", fix="correct the value")
    logs = log_priors(
        class_counts,
        task,
        num_records,
        value="post-hoc logit adjustment",
        where="class_counts",
        fix="leave the logits as they are",
    )
    return torch.tensor([-tau * log for log in logs], dtype=torch.float32)
