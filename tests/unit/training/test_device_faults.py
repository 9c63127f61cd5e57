"""What an error of the device means, and what a training does then: errors raised by stand-ins, no GPU needed."""

from __future__ import annotations

import pytest
import torch

from ringlight.errors import TrainingError
from ringlight.runtime import DeviceChoice, promise
from ringlight.training.device_faults import cpu_fallback, is_cuda_failure, is_out_of_memory

MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] data. DefaultCPUAllocator: not enough memory: you tried to allocate"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]
DEVICE = [
    torch.AcceleratorError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: no kernel image is available for execution on the device"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ValueError("CUDA error"),
    KeyError("CUDNN"),
    TrainingError("a finite loss", got="nan", where="epoch 0", fix="lower optimizer.lr"),
]


def test_every_error_has_one_meaning() -> None:
    told = [(is_out_of_memory(error), is_cuda_failure(error)) for error in (*MEMORY, *DEVICE, *OTHERS)]
    assert told == [(True, False)] * len(MEMORY) + [(False, True)] * len(DEVICE) + [(False, False)] * len(OTHERS)


def test_the_cpu_takes_over_from_a_device_that_nobody_had_named() -> None:
    error = RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported elsewhere")
    choice = cpu_fallback(error, DeviceChoice("cuda:0", "auto: found card 0"))
    assert choice == DeviceChoice("cpu", "auto: cuda:0 failed (CUDA error: unspecified launch failure)", replaced=True)
    assert promise(choice, 1).startswith("same configuration: close, not identical numbers (the run began")
    assert choice.kind == "cpu"


def test_a_device_that_was_asked_for_stops_the_run_with_the_next_step() -> None:
    error = RuntimeError("CUDA error: unspecified launch failure")
    with pytest.raises(
        TrainingError,
        match=r"^training\.device: expected cuda:1 to work until the run's end, got CUDA error: unspecified launch "
        r"failure; look at the driver \(nvidia-smi\), then go on with ringlight train --resume RUN, or train with "
        r"training\.device=cpu$",
    ) as caught:
        cpu_fallback(error, DeviceChoice("cuda:1", "asked for", asked=True))
    assert caught.value.__cause__ is error
