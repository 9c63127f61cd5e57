"""Compiling is an option that never costs the run: a failure is one line, and names and numbers stay."""

from __future__ import annotations

import copy
import logging
import shutil
from typing import Any

import pytest
import torch
from torch import nn

from ringlight.training.compiling import compile_in_place, uncompile, untouched

SHAPE = (4, 3, 8, 8)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def broken_backend(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let torch's compiler fail as it does: on the first call, its reason wrapped in an error of its own."""

    def fail(self: nn.Module, *_: Any, **__: Any) -> None:
        def call(*_: Any, **__: Any) -> None:
            raise RuntimeError("backend='inductor' raised:\nlong story") from error

        self._compiled_call_impl = call  # type: ignore[assignment]

    monkeypatch.setattr(nn.Module, "compile", fail)


def test_without_a_compiler_the_model_trains_as_it_is_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken_backend(monkeypatch, FileNotFoundError("No working C++ compiler found\nin PATH"))
    module, plain = network(), network()
    with caplog.at_level(logging.INFO, logger="ringlight"):
        assert not compile_in_place(module, torch.zeros(SHAPE))
    assert [record.getMessage() for record in caplog.records] == [
        "training.compile: not compiled, FileNotFoundError: No working C++ compiler found; training goes on without"
    ]
    images = torch.randn(SHAPE)
    assert torch.equal(module(images), plain(images))


def test_a_trial_leaves_no_trace() -> None:
    module = network().eval()
    before, random = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    module[0].weight.grad = torch.ones_like(module[0].weight)  # type: ignore[index,union-attr,arg-type]
    with untouched(module):
        assert module.training
        module(torch.randn(SHAPE)).sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not module.training
    assert module[0].weight.grad.unique().tolist() == [1.0]  # type: ignore[index,union-attr]
    assert module[4].weight.grad is None  # type: ignore[index,union-attr]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_a_compiled_model_keeps_names_and_values_and_repeats_itself(tmp_path: Any) -> None:
    """Wrapped models (`torch.compile(module)`) prefix every weight with `_orig_mod.`: no bundle could read them."""

    def trained(module: nn.Module, steps: int) -> dict[str, torch.Tensor]:
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        for step in range(steps):
            images = torch.randn(SHAPE if step % 2 else (3, *SHAPE[1:]), generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            module(images).square().mean().backward()
            optimizer.step()
        return copy.deepcopy(module.state_dict())

    first, again, plain = network(), network(), network()
    assert compile_in_place(first, torch.zeros(SHAPE))
    assert compile_in_place(again, torch.zeros(SHAPE))
    assert list(first.state_dict()) == list(plain.state_dict())
    one, two, reference = trained(first, 4), trained(again, 4), trained(plain, 4)
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name])
        torch.testing.assert_close(tensor, reference[name], rtol=1e-4, atol=1e-5)
    twin = copy.deepcopy(first)  # as averaged weights take it
    assert list(twin.state_dict()) == list(plain.state_dict())
    uncompile(first)
    assert first._compiled_call_impl is None
