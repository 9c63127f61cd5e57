"""Mixtures that cut: by a loop over pixels, by torchvision and timm; borders, grids, chunks, devices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.data import mixup as timm_mixup
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it
from torchvision.transforms import v2

from ringlight.errors import ConfigError, DataError
from ringlight.training import mixing_cut
from ringlight.training.mixes import RandomMix
from ringlight.training.mixing import BatchMixer, mixed_loss
from ringlight.training.mixing_cut import CutMix, MixToken, TokenMix, draw_box, draw_regions

NUMBERED = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 3, 20, 27).contiguous()
"""Pictures whose every value is the row's number."""
ROWS = torch.arange(6)

MIXERS: list[BatchMixer] = [
    CutMix(seed=0),
    MixToken(seed=0, patch_size=6),
    TokenMix(seed=0, patch_size=6),
    TokenMix(seed=1, patch_size=4, min_tokens=3),
]


@pytest.mark.parametrize("mixer", MIXERS, ids=["cutmix", "mixtoken", "tokenmix", "least"])
def test_each_pixel_is_the_records_own_or_its_partners_and_the_weight_is_their_share(mixer: BatchMixer) -> None:
    """A naive loop over the pixels, at sizes that no patch divides."""
    weights = set()
    for step in range(30):
        mixed = mixer.mix(NUMBERED, ROWS, epoch=1, step=step)
        assert sorted(mixed.targets_b.tolist()) == ROWS.tolist()
        for row in range(6):
            partner, own = int(mixed.targets_b[row]), 0
            for value in mixed.inputs[row, 0].flatten().tolist():
                assert value in (row, partner)
                own += value == row
            if partner != row:
                assert own / (20 * 27) == pytest.approx(mixed.weight)
        assert torch.equal(mixed.inputs[:, 0], mixed.inputs[:, 2])
        weights.add(mixed.weight)
    assert len(weights) > 15


@pytest.mark.parametrize("mixer", MIXERS[1:], ids=["mixtoken", "tokenmix", "least"])
def test_no_token_holds_pixels_of_two_pictures(mixer: MixToken | TokenMix) -> None:
    for step in range(20):
        mixed = mixer.mix(NUMBERED, ROWS, epoch=0, step=step)
        for token in mixed.inputs[:, 0].split(mixer.patch_size, 1):
            for patch in token.split(mixer.patch_size, 2):
                assert (patch == patch[:, :1, :1]).all()


def test_cutmix_is_torchvisions_input_and_soft_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two records can only be each other's partners, which torchvision's order (the record before) gives, too."""
    pair, targets = torch.randn(2, 3, 20, 27, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0])
    boxes: list[mixing_cut.Box] = []
    monkeypatch.setattr(mixing_cut, "draw_box", lambda *given: boxes.append(draw_box(*given)) or boxes[-1])
    step = 0
    while (mixed := CutMix(seed=0).mix(pair, targets, epoch=0, step=step)).targets_b.tolist() != [0, 2]:
        step += 1
    top, bottom, left, right = boxes[-1]
    theirs = v2.CutMix(num_classes=3)
    share = 1 - (bottom - top) * (right - left) / (20 * 27)
    monkeypatch.setattr(theirs, "make_params", lambda _: {"box": (left, top, right, bottom), "lam_adjusted": share})
    inputs, soft = theirs(pair, targets)
    assert torch.equal(mixed.inputs, inputs)
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    ours = mixed_loss(nn.CrossEntropyLoss(), logits, mixed.targets, mixed.weight)
    torch.testing.assert_close(ours, F.cross_entropy(logits, soft))


@pytest.mark.parametrize("share", [0.0, 0.04, 0.3, 0.77, 1.0])
def test_boxes_and_weights_are_timms(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(20):
        drawn = np.random.default_rng(seed)
        monkeypatch.setattr(timm_mixup.np.random, "randint", lambda _, high, drawn=drawn, **__: drawn.integers(high))
        theirs, weight = timm_mixup.cutmix_bbox_and_lam((3, 20, 27), 1 - share)
        ours = draw_box((20, 27), share, np.random.default_rng(seed))
        assert ours == tuple(int(end) for end in theirs)
        assert 1 - (ours[1] - ours[0]) * (ours[3] - ours[2]) / 540 == pytest.approx(weight)


def test_a_box_by_hand() -> None:
    """Equation 2: a quarter of 8 x 16 has the sides 4 and 8; around the last row it is cut off."""

    class Middle(np.random.Generator):
        def __init__(self, row: int, column: int) -> None:
            super().__init__(np.random.PCG64(0))
            self.places = [row, column]

        def integers(self, *_: object) -> int:  # type: ignore[override]
            return self.places.pop(0)

    assert draw_box((8, 16), 0.25, Middle(4, 8)) == (2, 6, 4, 12)
    assert draw_box((8, 16), 0.25, Middle(7, 0)) == (5, 8, 0, 4)


def test_regions_are_several_and_hold_as_many_tokens_as_were_asked_for() -> None:
    counts, exact = [], 0
    for seed in range(200):
        mask = draw_regions((14, 14), 98, np.random.default_rng(seed), min_tokens=1)
        exact += int(mask.sum()) == 98
        counts.append(_parts(mask))
        assert mask.sum() <= 98
    assert exact > 150
    assert np.mean(counts) > 1.5  # several places, not one box
    assert not draw_regions((14, 14), 0, np.random.default_rng(0), min_tokens=1).any()


def test_a_region_has_the_least_area_as_long_as_so_much_is_wanted() -> None:
    sizes = [draw_regions((14, 14), 20, np.random.default_rng(seed), min_tokens=20).sum() for seed in range(20)]
    assert max(sizes) <= 20
    assert np.mean(sizes) > 15


def _parts(mask: np.ndarray) -> int:
    """Count regions that do not touch, by flooding."""
    left, found = {tuple(place) for place in np.argwhere(mask).tolist()}, 0
    while left:
        found += 1
        edge = [left.pop()]
        while edge:
            row, column = edge.pop()
            for place in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if place in left:
                    left.remove(place)
                    edge.append(place)
    return found


def test_a_grid_of_one_row_or_of_tokens_of_one_pixel_can_be_mixed() -> None:
    strip = NUMBERED[:, :, :4]
    for mixer in (MixToken(seed=0, patch_size=6), TokenMix(seed=0, patch_size=6), TokenMix(seed=0, patch_size=1)):
        weights = [mixer.mix(strip, ROWS, epoch=0, step=step).weight for step in range(20)]
        assert len(set(weights)) > 2
        assert all(0 <= weight <= 1 for weight in weights)


@pytest.mark.parametrize("make", [CutMix, MixToken, TokenMix, RandomMix])
def test_it_is_a_function_of_seed_epoch_and_step(make: type[BatchMixer]) -> None:
    pictures = torch.randn(6, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    before = pictures.clone()
    several = F.one_hot(ROWS % 3, 3).float()
    first = make(seed=3).mix(pictures, several, epoch=2, step=5)
    torch.manual_seed(99)
    again = make(seed=3).mix(pictures, several, epoch=2, step=5)
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    assert first.targets.shape == (6, 2, 3)
    assert torch.equal(pictures, before)
    other = make(seed=4).mix(pictures, several, epoch=2, step=5)
    assert (other.weight, other.targets.tolist()) != (first.weight, first.targets.tolist())


def test_random_picks_every_way_and_passes_its_numbers_on() -> None:
    mixer = RandomMix(seed=0, alpha=0.5, probability=0.9, patch_size=6)
    assert [one.alpha for one in mixer.mixers] == [0.5] * 4  # type: ignore[attr-defined]
    assert [one.probability for one in mixer.mixers] == [0.9] * 4  # type: ignore[attr-defined]
    assert [one.alpha for one in RandomMix(seed=0).mixers] == [0.2, 1.0, 1.0, 1.0]  # type: ignore[attr-defined]
    blended = [bool((mixer.mix(NUMBERED, ROWS, epoch=0, step=step).inputs % 1).any()) for step in range(40)]
    assert 2 < sum(blended) < 20  # mixup, about a quarter
    assert RandomMix(seed=0, methods=["mixup"]).takes == ("images", "windows")
    assert RandomMix(seed=0, methods=["mixup", "cutmix"]).takes == ("images",)


def test_what_cannot_be_cut_is_refused() -> None:
    windows = torch.zeros(2, 9, 40)
    with pytest.raises(DataError, match=r"cutmix: expected pictures \(B, C, H, W\), got \(2, 9, 40\); set mix=mixup"):
        CutMix(seed=0).mix(windows, ROWS[:2], epoch=0, step=0)
    with pytest.raises(
        DataError, match=r"tokenmix: .* two tokens or more, got patches of 32 in 20x27; lower mix.patch"
    ):
        TokenMix(seed=0, patch_size=32).mix(NUMBERED, ROWS, epoch=0, step=0)
    boxes = torch.zeros(6, 5, 4)
    with pytest.raises(DataError, match=r"class indices \(B,\) or 0 and 1 \(B, K\), got .* targets \(6, 5, 4\)"):
        CutMix(seed=0).mix(NUMBERED, boxes, epoch=0, step=0)
    for make, key in ((CutMix, "alpha"), (MixToken, "patch_size"), (TokenMix, "min_tokens")):
        with pytest.raises(ConfigError, match=rf"mix\.{key}: expected a number from .*, got -1"):
            make(seed=0, **{key: -1})


@pytest.mark.gpu
@pytest.mark.parametrize("make", [CutMix, MixToken, TokenMix, RandomMix])
def test_a_gpu_mixes_the_same(make: type[BatchMixer]) -> None:
    pictures = torch.randn(6, 3, 40, 40)
    here, there = (make(seed=0).mix(one, ROWS.to(one.device), epoch=0, step=1) for one in (pictures, pictures.cuda()))
    assert there.inputs.is_cuda
    assert torch.equal(here.inputs, there.inputs.cpu())
    assert here.weight == there.weight


def test_the_memory_format_stays() -> None:
    tensor: Tensor = NUMBERED.contiguous(memory_format=torch.channels_last)
    for mixer in MIXERS:
        mixed = mixer.mix(tensor, ROWS, epoch=0, step=0).inputs
        assert mixed.is_contiguous(memory_format=torch.channels_last)
