"""What `ringlight doctor` says about a machine's speed: number formats of the device, batches per GPU memory."""

from __future__ import annotations

from pathlib import Path

from ringlight.runtime import DeviceChoice
from ringlight.training.memory import StepMemory

CONTEXT_GIB = 0.6
"""What CUDA and its libraries take of a GPU before the first tensor."""
COUNTED = {
    "resnet18 at 224 px": (StepMemory(178_933_984, 29_204_500), StepMemory(201_252_704, 15_706_132)),
    "efficientnet_b0 at 224 px": (StepMemory(64_539_272, 98_424_820), StepMemory(72_377_864, 49_513_476)),
    "convnext_tiny_cbam at 256x1600": (StepMemory(446_648_960, 982_001_372), StepMemory(502_351_816, 505_890_844)),
}
"""What :func:`ringlight.training.memory.step_memory` counts for training with AdamW, in 32 and in bf16, fixed and per
image (a test compares): counting takes seconds, the doctor should not."""


def batches_per_gpu(gib: int) -> str:
    """Estimate the largest batches that train on a GPU of so many GiB, in 32 and in bf16.

    Examples:
        >>> batches_per_gpu(8)[:64]
        'estimated largest batch in 32 / bf16: resnet18 at 224 px 128 / 2'
    """
    free = (gib - CONTEXT_GIB) * 2**30
    parts = (
        f"{name} {' / '.join(str(need.largest(free) or 'none') for need in needs)}" for name, needs in COUNTED.items()
    )
    return f"estimated largest batch in 32 / bf16: {', '.join(parts)}"


def capabilities(device: DeviceChoice, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Say which number formats the device computes in quickly; on a CPU by the processor's own flags."""
    if device.kind == "cuda":
        import torch

        card = torch.cuda.get_device_properties(torch.device(device.device))
        has_bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16"
        return f"{has_bf16}, compute capability {card.major}.{card.minor}, {card.total_memory / 2**30:.0f} GiB"
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "number formats unknown"
    flags = next(
        (set(line.partition(":")[2].split()) for line in lines if line.startswith(("flags", "Features"))), set()
    )
    found = [name for name, flag in (("AVX2", "avx2"), ("AVX-512", "avx512f"), ("NEON", "asimd")) if flag in flags]
    if "amx_bf16" in flags:
        return ", ".join([*found, "bf16 in matrix units (AMX): training.precision=auto will try it"])
    if flags & {"avx512_bf16", "bf16"}:
        return ", ".join([*found, "bf16 instructions without matrix units"])
    return ", ".join([*found, "no bf16: single precision is quickest"])
