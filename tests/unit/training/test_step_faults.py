"""What a step fails of, in one line; what is no such fault passes. Within a training: test_chunks, test_contrastive."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ringlight.errors import TrainingError
from ringlight.training.step_faults import batch_not_divisible, lone_record_told, loss_not_finite


@pytest.mark.parametrize(
    ("size", "rest"),
    [
        (1, "one; set data.batch_size=2 or more, or choose another split, with more records to train on"),
        (
            8,
            "one at a time of 8, for want of memory; make data.image_size smaller, or choose a smaller model or one "
            "without batch normalisation",
        ),
    ],
)
def test_batch_normalisation_of_one_record_is_told_in_a_line(size: int, rest: str) -> None:
    with pytest.raises(TrainingError) as caught, lone_record_told(size, where="epoch 0, step 2"):
        nn.BatchNorm2d(3)(torch.zeros(1, 3, 1, 1))
    expected = "epoch 0, step 2: expected two records or more in a batch for batch normalisation, got "
    assert str(caught.value) == expected + rest
    with lone_record_told(size, where="here"):
        nn.BatchNorm2d(3)(torch.zeros(1, 3, 2, 2))  # one picture whose grid is larger has a variance


def test_another_value_error_stays_what_it_is() -> None:
    with pytest.raises(ValueError, match=r"^something else$"), lone_record_told(1, where="here"):
        raise ValueError("something else")


def test_the_other_two_name_what_helps() -> None:
    assert str(loss_not_finite(float("inf"), epoch=3)).startswith("epoch 3: expected a finite loss, got inf; lower opt")
    told = str(batch_not_divisible("out of memory", where="step 1"))
    assert told.endswith(
        "got out of memory; lower data.batch_size or supcon.num_views, or make data.image_size smaller"
    )
