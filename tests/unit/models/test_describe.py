"""What the models are, counted without building them in memory."""

from __future__ import annotations

import pytest
import torch

from ringlight.models import MODELS, build_sequence_model, describe_models, is_estimator


def test_every_model_of_our_own_is_described_once_in_order():
    facts = describe_models()
    assert list(facts) == list(MODELS)
    assert facts["convnext_tiny_cbam"].takes == "images"
    assert facts["convnext_tiny_cbam"].num_parameters == 27_915_560
    assert facts["tcn"].takes == "windows"
    assert facts["tcn"].summary == MODELS.describe()["tcn"]
    assert all((facts[name].num_parameters is None) == is_estimator(part) for name, part in MODELS.parts.items())


@pytest.mark.parametrize("sizes", [(9, 1024, 4), (1, 64, 2)])
def test_the_counts_are_those_of_the_models_that_are_built(sizes):
    in_chans, length, num_classes = sizes
    facts = describe_models(in_chans, length, num_classes)
    for name in ("cnn1d", "lstm", "gru", "inception_time", "resnet1d", "tcn"):
        module = build_sequence_model(name, num_classes=num_classes, in_chans=in_chans, length=length).module
        assert facts[name].num_parameters == sum(parameter.numel() for parameter in module.parameters())


def test_describing_draws_no_random_numbers():
    """A run that lists its models before it trains must train the same."""
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    describe_models()
    assert torch.equal(torch.rand(4), expected)
