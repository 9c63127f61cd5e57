from __future__ import annotations

import pytest
import torch

from ringlight.models.pooling import AveragePooling, GeMPooling, make_pooling


@pytest.fixture
def maps():
    return torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) + 0.1


def _naive(maps: torch.Tensor, power: float) -> torch.Tensor:
    rows = []
    for image in maps:
        row = []
        for channel in image:
            values = [max(float(value), 1e-6) ** power for value in channel.flatten()]
            row.append((sum(values) / len(values)) ** (1 / power))
        rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize("power", [1.0, 3.0, 6.5])
def test_the_generalised_mean_is_that_of_a_loop(maps, power):
    torch.testing.assert_close(GeMPooling(power=power)(maps), _naive(maps, power))


def test_between_mean_and_maximum(maps):
    torch.testing.assert_close(GeMPooling(power=1.0)(maps), AveragePooling()(maps))
    torch.testing.assert_close(GeMPooling(power=5000.0)(maps), maps.amax(dim=(2, 3)), rtol=1e-3, atol=0)
    torch.testing.assert_close(AveragePooling()(maps), torch.nn.functional.adaptive_avg_pool2d(maps, 1).flatten(1))


def test_gradients_are_those_of_the_plain_formula(maps):
    """The division by the maximum is a constant to autograd; the generalised mean is homogeneous, so it may be."""
    pooling = GeMPooling().double()
    plain, ours = maps.double().requires_grad_(), maps.double().requires_grad_()
    power = torch.tensor(3.0, dtype=torch.double, requires_grad=True)
    plain.pow(power).mean(dim=(2, 3)).pow(1 / power).sum().backward()
    pooling(ours).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(pooling.power.grad, power.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("value", [0.0, -3.0, 1e-4, 6e4])
def test_small_large_and_dead_maps_stay_finite(dtype, value):
    """0.0001^3 vanishes in 16 bits, and the root of 0 has an endless slope; 60000^3 overflows."""
    maps = torch.full((1, 2, 3, 3), value, dtype=dtype, requires_grad=True)
    pooling = GeMPooling()
    pooled = pooling(maps)
    pooled.float().sum().backward()
    assert pooled.dtype == dtype
    assert torch.isfinite(pooled).all()
    assert torch.isfinite(maps.grad).all()
    assert torch.isfinite(pooling.power.grad)


def test_they_are_built_by_name():
    assert isinstance(make_pooling("avg"), AveragePooling)
    assert isinstance(make_pooling("gem"), GeMPooling)
