"""What went wrong on the device: out of memory (a smaller step does), or the device itself (the CPU takes over)."""

from __future__ import annotations

import torch

from ringlight.errors import TrainingError
from ringlight.runtime import DeviceChoice

_MEMORY_WORDS = (
    "not enough memory",  # the CPU allocator on Windows and macOS
    "can't allocate memory",  # the CPU allocator on Linux
    "out of memory",  # CUDA, NCCL, oneDNN
    "CUBLAS_STATUS_ALLOC_FAILED",  # cuBLAS reserves its workspace late and tells no OutOfMemoryError
    "CUDNN_STATUS_ALLOC_FAILED",
)
_CUDA_WORDS = ("cuda error", "cudnn", "cublas", "cusolver", "device-side assert", "no kernel image", "nccl error")


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out, on a GPU or on the CPU.

    Examples:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
        True
        >>> is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        False
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _MEMORY_WORDS)


def is_cuda_failure(error: BaseException) -> bool:
    """Say whether an error comes from the GPU or its libraries and leaves the device unusable for this process.

    Running out of memory is none: the device goes on. What the model or the data did wrong is none either.

    Examples:
        >>> is_cuda_failure(RuntimeError("CUDA error: an illegal memory access was encountered"))
        True
        >>> is_cuda_failure(ValueError("CUDA error")), is_cuda_failure(torch.OutOfMemoryError("CUDA out of memory."))
        (False, False)
    """
    if is_out_of_memory(error):
        return False
    # torch.AcceleratorError came with torch 2.8; before that every such fault was a bare RuntimeError.
    if isinstance(error, getattr(torch, "AcceleratorError", ())):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _CUDA_WORDS)


def cpu_fallback(error: BaseException, device: DeviceChoice) -> DeviceChoice:
    """Return the CPU to go on with after a failure of the GPU that nobody had asked for by name.

    Args:
        error: the failure, one that :func:`is_cuda_failure` knows.
        device: the device it happened on.

    Raises:
        TrainingError: the user had asked for this device: a run that silently takes ten times as long helps nobody.
    """
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    if device.asked:
        raise TrainingError(
            f"{device.device} to work until the run's end",
            got=first,
            where="training.device",
            fix="look at the driver (nvidia-smi), then go on with ringlight train --resume RUN, or train with "
            "training.device=cpu",
        ) from error
    return DeviceChoice("cpu", f"auto: {device.device} failed ({first})", replaced=True)
