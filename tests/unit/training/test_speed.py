"""How a run trains fastest is timed, not looked up; short runs are left alone and what is configured is obeyed."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ringlight.errors import ConfigError
from ringlight.runtime import DeviceChoice
from ringlight.training import speed
from ringlight.training.speed import SpeedChoice, apply_speed, choose_speed, default_format
from ringlight.training.speed_trials import Bench, Trial

CPU = DeviceChoice("cpu", "test")
CUDA = DeviceChoice("cuda:0", "test")
SHAPE = (4, 3, 8, 8)
LONG = 100_000


class Adaptive(nn.CrossEntropyLoss):
    """A loss that remembers how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(scores, targets)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
    )


def times(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> list[list[Trial]]:
    """Let the bench report these seconds (`bf16_channels_last=1.0`), the rest as 1; return what it was asked for."""
    asked: list[list[Trial]] = []

    def run(self: Bench, variants: list[Trial]) -> tuple[Trial, ...]:
        asked.append(variants)
        names = [f"{'fp' if one.precision == '32' else ''}{one.precision}_{one.memory_format}" for one in variants]
        names = [f"{name}{'_compiled' if one.compile else ''}" for name, one in zip(names, variants, strict=True)]
        return tuple(
            Trial(one.precision, one.memory_format, one.compile, seconds.get(name, 1.0))
            for name, one in zip(names, variants, strict=True)
        )

    monkeypatch.setattr(Bench, "run", run)
    return asked


def choose(num_steps: int = LONG, **wishes: Any) -> SpeedChoice:
    return choose_speed(network(), Adaptive(), SHAPE, "multiclass", CPU, num_steps_planned=num_steps, **wishes)


def made(choice: SpeedChoice) -> tuple[str, str, bool]:
    return choice.precision, choice.memory_format, choice.compile


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_trial_leaves_weights_statistics_loss_and_random_state_alone(task: Any) -> None:
    module = network()
    criterion: nn.Module = Adaptive() if task == "multiclass" else nn.BCEWithLogitsLoss()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    random = torch.get_rng_state()
    choice = choose_speed(module.eval(), criterion, SHAPE, task, CPU, num_steps_planned=LONG)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not module.training
    assert all(parameter.grad is None for parameter in module.parameters())
    assert getattr(criterion, "calls", 0) == 0
    timed = [(trial.precision, trial.memory_format) for trial in choice.trials]
    assert timed == [(p, f) for p in ("32", "bf16") for f in ("contiguous", "channels_last")]
    assert all(0 < trial.seconds < 60 for trial in choice.trials)
    assert choice.gain > 0


def test_a_run_too_short_to_earn_the_trial_back_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = times(monkeypatch, bf16_contiguous=0.1)
    choice = choose(num_steps=1599)
    assert (made(choice), choice.gain, choice.trials, asked) == (("32", "contiguous", False), 1.0, (), [])
    assert choice.note == "speed: 32 contiguous (1599 steps are too few to try others)"
    assert choose(num_steps=1600).precision == "bf16"


@pytest.mark.parametrize(
    ("seconds", "chosen", "gain"),
    [
        ({"bf16_contiguous": 0.88}, ("32", "contiguous", False), 1.0),  # 1.14 times: not worth the rounding
        ({"bf16_contiguous": 0.86}, ("bf16", "contiguous", False), 1 / 0.86),
        ({"fp32_channels_last": 0.96}, ("32", "contiguous", False), 1.0),  # 1.04 times: noise
        ({"fp32_channels_last": 0.5}, ("32", "channels_last", False), 2.0),
        ({"fp32_channels_last": 0.5, "bf16_contiguous": 0.45}, ("32", "channels_last", False), 2.0),
        ({"fp32_channels_last": 0.9, "bf16_channels_last": 0.5}, ("bf16", "channels_last", False), 2.0),
        ({"bf16_contiguous": math.inf, "bf16_channels_last": math.inf}, ("32", "contiguous", False), 1.0),
        ({"fp32_contiguous": math.inf, "fp32_channels_last": math.inf}, ("bf16", "contiguous", False), 1.0),
    ],
)
def test_single_precision_is_left_only_for_a_gain_that_counts(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], chosen: tuple[str, str, bool], gain: float
) -> None:
    times(monkeypatch, **seconds)
    choice = choose()
    assert made(choice) == chosen
    assert choice.gain == pytest.approx(gain)


def test_the_choice_is_one_line_in_the_log_with_its_gain(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    times(monkeypatch, fp32_channels_last=0.5, bf16_contiguous=math.inf, bf16_channels_last=3.0)
    with caplog.at_level(logging.INFO, logger="ringlight"):
        choose()
    assert [record.getMessage() for record in caplog.records] == [
        "speed: 32 channels_last, 2.00 times the plain way (32 contiguous 1000 ms, 32 channels_last 500 ms, "
        "bf16 contiguous failed, bf16 channels_last 3000 ms)"
    ]


def test_what_is_configured_is_obeyed_and_the_rest_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = times(monkeypatch, bf16_channels_last=0.5)
    assert made(choose(wish_precision="32", wish_format="channels_last")) == ("32", "channels_last", False)
    assert asked == []
    assert made(choose(wish_precision="bf16")) == ("bf16", "channels_last", False)
    assert made(choose(wish_format="contiguous", wish_compile=True)) == ("32", "contiguous", True)
    assert [len(variants) for variants in asked] == [2, 2]
    with pytest.raises(ConfigError, match="expected bf16 or 32 on a CPU"):
        choose(wish_precision="16")


def test_compiling_is_tried_only_where_it_can_pay_and_kept_only_where_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = times(monkeypatch, fp32_contiguous_compiled=0.5)
    assert choose(wish_compile="auto").compile
    assert [len(variants) for variants in asked] == [4, 1]
    times(monkeypatch, fp32_contiguous_compiled=0.97)
    assert not choose(wish_compile="auto").compile
    asked = times(monkeypatch, fp32_contiguous_compiled=0.1, fp32_contiguous=1e-3)
    assert not choose(wish_compile="auto").compile  # 100 s of training: compiling takes longer
    assert [len(variants) for variants in asked] == [4]


def test_a_network_without_convolutions_has_one_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = times(monkeypatch)
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    choose_speed(module, Adaptive(), SHAPE, "multiclass", CPU, num_steps_planned=LONG)
    assert {trial.memory_format for trial in asked[0]} == {"contiguous"}
    assert default_format(module, CUDA) == "contiguous"
    assert default_format(network(), CUDA) == "channels_last"
    assert default_format(network(), CPU) == "contiguous"


def test_a_way_that_does_not_fit_in_memory_is_not_chosen() -> None:
    class Tight(nn.Module):
        """A network whose device has room for one precision only."""

        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(192, 3)

        def forward(self, images: Tensor) -> Tensor:
            scores: Tensor = self.last(images.flatten(1))
            if scores.dtype == torch.bfloat16:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return scores

    choice = choose_speed(Tight(), Adaptive(), SHAPE, "multiclass", CPU, num_steps_planned=LONG)
    assert [math.isinf(trial.seconds) for trial in choice.trials] == [False, True]
    assert choice.precision == "32"


def test_a_loss_that_is_not_finite_is_no_way_to_train() -> None:
    class Overflowing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(192, 3)

        def forward(self, images: Tensor) -> Tensor:
            scores: Tensor = self.last(images.flatten(1))
            return scores * math.inf if scores.dtype == torch.bfloat16 else scores

    choice = choose_speed(Overflowing(), Adaptive(), SHAPE, "multiclass", CPU, num_steps_planned=LONG)
    assert [math.isinf(trial.seconds) for trial in choice.trials] == [False, True]


def test_a_layout_changes_neither_values_nor_names() -> None:
    module, plain = network(), network()
    assert not apply_speed(module, SpeedChoice("32", "channels_last", False, 1.0, (), ""), SHAPE, CPU)
    convolution = module[0]  # type: ignore[index]
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert list(module.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in module.state_dict().items())
    images = torch.randn(SHAPE)
    assert module[0](images).is_contiguous(memory_format=torch.channels_last)  # type: ignore[index]
    torch.testing.assert_close(module.eval()(images), plain.eval()(images))


def test_the_margins_are_those_of_the_documentation() -> None:
    assert (speed.MIN_PRECISION_GAIN, speed.MIN_FORMAT_GAIN, speed.EARN_BACK) == (1.15, 1.05, 100)
