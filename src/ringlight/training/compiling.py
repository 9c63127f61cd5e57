"""`torch.compile` where it works: compiled in place and tried once; where it does not work, one line says why.

A model that is compiled in place keeps its class, its `state_dict` keys and its place in checkpoints: only the call
goes through compiled code. Shapes are compiled one by one (`dynamic=False`): which code a batch meets then depends on
its shape alone and not on the shapes seen before it, so that a resumed run repeats an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ringlight.runtime import LOGGER


def compile_in_place(module: nn.Module, images: Tensor, *, precision: str = "32") -> bool:
    """Compile `module` and try it on a batch; without a working compiler leave it as it was and say so in one line.

    The trial leaves weights, running statistics, gradients and random state untouched.

    Args:
        module: on the device that it will be trained on.
        images: a batch of the training's shape (B, C, H, W), on that device.
        precision: what the training runs in: `32`, `bf16` or `16`.

    Returns:
        Whether the module is compiled.
    """
    started = time.perf_counter()
    try:
        with untouched(module):
            module.compile(dynamic=False)
            with autocast(images.device, precision):
                scores = module(images)
            torch.autograd.backward(scores.float().square().mean())
    # torch's compiler reaches into a C++ compiler, Triton, the file system and the model's own source: its failures
    # have no common class, and a training that runs a little slower is better than none. What is wrong with the model
    # itself shows again, uncompiled, in the first step.
    except Exception as error:  # noqa: BLE001
        uncompile(module)
        LOGGER.warning("training.compile: not compiled, %s; training goes on without", _first_line(error))
        return False
    LOGGER.info("training.compile: compiled in %.0f s", time.perf_counter() - started)
    return True


def uncompile(module: nn.Module) -> None:
    """Let calls go to the plain module, and the plain parts of it, again.

    What was compiled is forgotten with it: PyTorch keeps eight variants of a function, and gives up beyond them.
    """
    compiled = [part for part in module.modules() if part._compiled_call_impl is not None]
    if compiled:
        torch.compiler.reset()
    for part in compiled:
        part._compiled_call_impl = None


def _first_line(error: BaseException) -> str:
    """Return the root of an error in one line: the compiler wraps what went wrong in errors of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0][:200]}"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context of a forward pass in `precision`: `32`, `bf16` or `16`."""
    kinds = {"bf16": torch.bfloat16, "16": torch.float16}
    return torch.autocast(device.type, kinds.get(precision), enabled=precision in kinds)


@contextlib.contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Put running statistics, gradients, the training mode and the random state back when the block ends."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    gradients = [(parameter, parameter.grad) for parameter in module.parameters()]
    modes = [(part, part.training) for part in module.modules()]
    devices = {parameter.device for parameter in module.parameters()}
    cards = [device.index or 0 for device in devices if device.type == "cuda"]
    try:
        with torch.random.fork_rng(devices=cards):
            module.train()
            for parameter, _ in gradients:
                parameter.grad = None
            yield
    finally:
        for part, training in modes:
            part.training = training
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        for parameter, gradient in gradients:
            parameter.grad = gradient
