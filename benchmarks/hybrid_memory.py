"""Memory of a training step of the hybrid models on strips of 256 x 1600, a picture, and what saves some of it.

What is counted is what the forward pass keeps for the backward pass (`ringlight.training.memory.step_memory`), in 32
bits; a block that is computed again under gradient checkpointing comes on top of it. Usage:

    python benchmarks/hybrid_memory.py
"""

from __future__ import annotations

from ringlight.config.load import group_values
from ringlight.models import build_model
from ringlight.models.lora import add_lora
from ringlight.training.memory import step_memory

SIZE = (256, 1600)
WAYS = {
    "as it is": {},
    "grad_checkpointing": {"grad_checkpointing": True},
    "frozen_branches": {"frozen_branches": ["first"]},
}


def mebibytes(name: str, options: dict[str, object], *, lora: bool = False) -> float:
    """Return the memory of one picture in a step."""
    params = {key: value for key, value in (group_values("model", name) or {}).items() if key != "name"}
    module = build_model(
        "hybrid", num_classes=4, pretrained=False, image_size=SIZE, params={**params, **options}
    ).module
    if lora:
        add_lora(module)
    return step_memory(module, SIZE).per_image / 2**20


def main() -> None:
    for name in ("hybrid_tiny", "hybrid"):
        for way, options in WAYS.items():
            print(f"{name:12} {way:20} {mebibytes(name, options):8,.0f} MiB a picture", flush=True)
        print(f"{name:12} {'lora':20} {mebibytes(name, {}, lora=True):8,.0f} MiB a picture", flush=True)


if __name__ == "__main__":
    main()
