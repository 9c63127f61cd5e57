"""What the doctor says about speed: number formats, allocator, batches per GPU memory."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ringlight.models import build_model
from ringlight.runtime import DeviceChoice
from ringlight.services import allocators
from ringlight.services.allocators import allocator_advice, allocator_in_use, find_library
from ringlight.services.machine import COUNTED, batches_per_gpu, capabilities
from ringlight.training.memory import step_memory

CPU = DeviceChoice("cpu", "test")


@pytest.mark.parametrize(("name", "size"), [("resnet18", (224, 224)), ("efficientnet_b0", (224, 224))])
def test_the_table_is_what_is_counted(name: str, size: tuple[int, int]) -> None:
    """Counting takes seconds, so that the doctor has its numbers written down; a changed model changes them here."""
    module = build_model(name, num_classes=4, pretrained=False).module
    counted = step_memory(module, size)
    written = COUNTED[f"{name} at 224 px"][0]
    assert (written.fixed, written.per_image) == pytest.approx((counted.fixed, counted.per_image), rel=0.02)


@pytest.mark.slow
def test_the_table_is_what_is_counted_for_strips() -> None:
    module = build_model("convnext_tiny_cbam", num_classes=4, pretrained=False).module
    for written, precision in zip(COUNTED["convnext_tiny_cbam at 256x1600"], ("32", "bf16"), strict=True):
        counted = step_memory(module, (256, 1600), precision=precision)
        assert (written.fixed, written.per_image) == pytest.approx((counted.fixed, counted.per_image), rel=0.02)


def test_larger_cards_take_larger_batches_and_none_says_none() -> None:
    tables = [[int(number) for number in re.findall(r" (\d+)(?= /|,|$)", batches_per_gpu(gib))] for gib in (8, 24, 141)]
    assert len({len(row) for row in tables}) == 1
    assert all(
        small <= large for few, many in itertools.pairwise(tables) for small, large in zip(few, many, strict=True)
    )
    assert batches_per_gpu(2).endswith("convnext_tiny_cbam at 256x1600 none / 1")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("sse avx2 avx512f amx_tile amx_bf16 avx512_bf16", "AVX2, AVX-512, bf16 in matrix units (AMX)"),
        ("sse avx2 avx512f avx512_bf16", "AVX2, AVX-512, bf16 instructions without matrix units"),
        ("sse avx2", "AVX2, no bf16: single precision is quickest"),
    ],
)
def test_a_processor_tells_its_number_formats(flags: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(f"model name\t: X\nflags\t\t: {flags}\n")
    assert capabilities(CPU, tmp_path / "cpuinfo").startswith(told)
    assert capabilities(CPU, tmp_path / "nothing") == "number formats unknown"


def test_a_card_tells_its_number_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(major=9, minor=0, total_memory=141 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert capabilities(DeviceChoice("cuda:0", "test")) == "bf16, compute capability 9.0, 141 GiB"


@pytest.mark.parametrize(
    ("mapped", "tunables", "told"),
    [
        ("7f00 r-xp /usr/lib/libtcmalloc_minimal.so.4", "", "tcmalloc"),
        ("7f00 r-xp /usr/lib/libjemalloc.so.2", "", "jemalloc"),
        ("7f00 r-xp /usr/lib/libc.so.6", allocators.TUNABLES, "glibc with tunables"),
        ("7f00 r-xp /usr/lib/libc.so.6", "", None),
    ],
)
def test_the_allocator_in_use_is_seen(
    mapped: str, tunables: str, told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "maps").write_text(mapped)
    monkeypatch.setenv("GLIBC_TUNABLES", tunables)
    assert allocator_in_use(tmp_path / "maps") == told


def test_a_plain_allocator_comes_with_the_command_that_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocators.sys, "platform", "linux")
    monkeypatch.setattr(allocators, "allocator_in_use", lambda: None)
    monkeypatch.setattr(
        allocators, "find_library", lambda name: Path("/lib/libtcmalloc.so") if name == "tcmalloc" else None
    )
    assert (
        allocator_advice()
        == "plain glibc; training is quicker with: LD_PRELOAD=/lib/libtcmalloc.so ringlight train ..."
    )
    monkeypatch.setattr(allocators, "find_library", lambda _: None)
    assert f"GLIBC_TUNABLES={allocators.TUNABLES} ringlight train ..." in allocator_advice()
    assert "apt-get install libtcmalloc-minimal4" in allocator_advice()
    monkeypatch.setattr(allocators, "allocator_in_use", lambda: "tcmalloc")
    assert allocator_advice() == "tcmalloc is in use"
    monkeypatch.setattr(allocators.sys, "platform", "darwin")
    assert allocator_advice() == "the system's own"


def test_a_library_is_found_and_the_debug_one_passed_over(tmp_path: Path) -> None:
    for name in ("libtcmalloc_minimal_debug.so.4", "libtcmalloc_minimal.so.4"):
        (tmp_path / name).touch()
    assert find_library("tcmalloc", (str(tmp_path / "none"), str(tmp_path))) == tmp_path / "libtcmalloc_minimal.so.4"
    assert find_library("jemalloc", (str(tmp_path),)) is None
