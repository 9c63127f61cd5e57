"""Which loader a configuration gets: from the cache, from the device, and what is said where that cannot be."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ringlight.data.loader import ImageLoader
from ringlight.data.resident import ResidentLoader
from ringlight.errors import InterruptedRunError
from ringlight.training.feeding import Feeder
from ringlight.training.plan import Plan

PlanOf = Callable[..., Plan]
KEEP = ("data.cache=disk", "data.augment_on=device", "data.keep_on_device=true")


def feeder_of(plan: Plan) -> Feeder:
    feeder = Feeder(plan.spec, plan.device, config=plan.config, augmenter=plan.augmenter)
    feeder.open_cache(plan)
    return feeder


def test_kept_pictures_give_the_batches_of_the_ordinary_loader(plan_of: PlanOf) -> None:
    batches = []
    for kept in ("true", "false"):
        plan = plan_of(*KEEP, f"data.keep_on_device={kept}")
        loader = feeder_of(plan).train_loader(plan.part("train"), plan.sampler)
        assert isinstance(loader, ResidentLoader if kept == "true" else ImageLoader)
        loader.sampler.set_epoch(2)
        batches.append(list(loader))
    for one, other in zip(*batches, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_without_augmentation_kept_bytes_are_normalised_on_the_device(plan_of: PlanOf) -> None:
    plan = plan_of("augmentation=none", "data.cache=disk", "data.keep_on_device=true")
    feeder, train = feeder_of(plan), plan.part("train")
    loader = feeder.train_loader(train, None)
    turn = feeder.device_input(train)
    assert isinstance(loader, ResidentLoader)
    assert turn is not None
    batch = turn(next(iter(loader)), epoch=0, training=True, device=torch.device("cpu"))
    plain = Feeder(plan.spec, plan.device)
    expected = {
        int(index): image
        for known in plain.loader(train)
        for index, image in zip(known["index"], known["input"], strict=True)
    }
    for index, image in zip(batch["index"], batch["input"], strict=True):
        assert torch.equal(image, expected[int(index)])


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("data.cache=off",), "it needs the cache of decoded pictures (data.cache=disk)"),
        (
            ("data.augment_on=cpu",),
            "pictures that the CPU augments come from there (data.augment_on=device augments them in place)",
        ),
    ],
)
def test_pictures_that_cannot_stay_on_the_device_are_one_line(
    plan_of: PlanOf, caplog: pytest.LogCaptureFixture, overrides: tuple[str, ...], reason: str
) -> None:
    plan = plan_of(*KEEP, *overrides)
    feeder = feeder_of(plan)
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        loader = feeder.train_loader(plan.part("train"), None)
    assert caplog.messages == [f"data.keep_on_device: {reason}; batches go to the device one by one"]
    assert isinstance(loader, ImageLoader)
    assert next(iter(loader))["input"].dtype == torch.uint8  # the task turns bytes into input all the same


def test_a_second_fit_on_other_records_lets_go_of_the_first_ones(plan_of: PlanOf) -> None:
    plan = plan_of(*KEEP)
    feeder = feeder_of(plan)
    first = feeder.train_loader(plan.part("train"), None)
    second = feeder.train_loader(plan.part("test"), None)
    assert (first.nbytes, second.nbytes) == (0, len(plan.part("test")) * 32 * 32 * 3)
    feeder.release()
    assert second.nbytes == 0


def test_records_the_cache_does_not_hold_are_read_from_their_files(
    plan_of: PlanOf, tmp_path: Path, make_image: Callable[..., Path]
) -> None:
    plan = plan_of("data.cache=disk")
    feeder = feeder_of(plan)
    other = plan.part("test").take([0])
    path = make_image(tmp_path / "other.png", seed=123)
    other = other.with_column("uri", [str(path)]).with_column("content", ["00" * 32])
    (batch,) = feeder.loader(other)
    assert batch["input"].shape == (1, 3, 32, 32)


def test_the_building_of_a_cache_can_be_watched_and_stopped(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of("data.cache=disk")
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        raise InterruptedRunError("a run to its end", got="Ctrl-C", where="cache", fix="go on")

    feeder = Feeder(plan.spec, plan.device, config=plan.config)
    with pytest.raises(InterruptedRunError):
        feeder.open_cache(plan, stop)
    assert seen == [(8, 15)]
    assert list((tmp_path / "cache").rglob("*pixels-*")) == []
    feeder.open_cache(plan, lambda *told: seen.append(told))
    assert seen[1:] == [(8, 15), (15, 15)]


def test_the_first_picture_tells_the_size_where_none_is_configured(plan_of: PlanOf) -> None:
    plan: Any = plan_of("data.image_size=null")
    assert feeder_of(plan).size_of(plan.part("train")) == (32, 32)
