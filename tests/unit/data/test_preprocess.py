from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as reference

from ringlight.data.preprocess import (
    InputSpec,
    _gathered,
    fit_boxes,
    fit_mask,
    fit_size,
    normalise,
    prepare,
    read_image,
    to_tensor,
    to_tensors,
)
from ringlight.errors import DataError
from ringlight.types import Box

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_gray_picture_gets_three_equal_channels_and_back_without_loss() -> None:
    gray = RNG.integers(0, 256, (9, 7, 1), dtype=np.uint8)
    three = read_image(gray, in_chans=3)
    assert three.shape == (9, 7, 3)
    np.testing.assert_array_equal(three, np.repeat(gray, 3, axis=2))
    np.testing.assert_array_equal(read_image(three, in_chans=1), gray)


def test_color_becomes_gray_by_the_luma_weights() -> None:
    gray = read_image(COLORS, in_chans=1)
    by_hand = COLORS @ np.array([0.299, 0.587, 0.114])
    assert gray.shape == (20, 30, 1)
    assert np.abs(gray[..., 0] - by_hand).max() <= 0.51
    pillow = np.asarray(Image.fromarray(COLORS).convert("L"))
    assert np.abs(gray[..., 0].astype(int) - pillow).max() <= 1


def test_to_tensor_is_the_formula_and_torchvision() -> None:
    spec = InputSpec(3, None, "resize", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    tensor = to_tensor(COLORS, spec)
    assert tensor.dtype == torch.float32
    assert tensor.shape == (3, 20, 30)
    naive = [
        [[(COLORS[y, x, c] / 255 - spec.mean[c]) / spec.std[c] for x in range(30)] for y in range(20)] for c in range(3)
    ]
    np.testing.assert_allclose(tensor.numpy(), naive, rtol=1e-6, atol=1e-6)
    scaled = torch.from_numpy(COLORS).permute(2, 0, 1).float() / 255
    expected = reference.normalize(scaled, list(spec.mean), list(spec.std))
    torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-5)


def test_one_channel_and_borrowed_memory_are_normalised() -> None:
    gray = COLORS[:, ::-1, :1]
    tensor = to_tensor(gray, InputSpec(1))
    np.testing.assert_allclose(tensor[0].numpy(), gray[..., 0] / 127.5 - 1, atol=1e-6)


def test_without_a_size_the_picture_stays_as_it_is() -> None:
    assert fit_size(COLORS, InputSpec(3)) is COLORS
    assert fit_size(COLORS, InputSpec(3, (20, 30))) is COLORS


def test_shrinking_averages_areas() -> None:
    """A one-pixel scratch must not fall between two samples."""
    scratch = np.zeros((40, 40, 1), np.uint8)
    scratch[:, 17] = 200
    small = fit_size(scratch, InputSpec(1, 10))
    by_hand = scratch.reshape(10, 4, 10, 4).mean((1, 3))
    np.testing.assert_array_equal(small[..., 0], by_hand)
    assert small.max() == 50


def test_one_side_may_shrink_while_the_other_grows() -> None:
    image = RNG.integers(0, 256, (8, 40, 3), dtype=np.uint8)
    fitted = fit_size(image, InputSpec(3, (16, 10)))
    areas = image.reshape(8, 10, 4, 3).mean(2)
    expected = cv2.resize(np.rint(areas).astype(np.uint8), (10, 16), interpolation=cv2.INTER_LINEAR)
    assert fitted.shape == (16, 10, 3)
    assert np.abs(fitted.astype(int) - expected).max() <= 1


def test_letterbox_keeps_proportions_and_its_border_is_zero_after_normalising() -> None:
    spec = InputSpec(3, (64, 64), "letterbox", (0.2, 0.4, 0.6), (0.5,))
    white = np.full((20, 40, 3), 255, np.uint8)
    fitted = fit_size(white, spec)
    assert fitted.shape == (64, 64, 3)
    assert (fitted[16:48] == 255).all()
    np.testing.assert_array_equal(fitted[0, 0], [51, 102, 153])
    tensor = to_tensor(fitted, spec)
    assert tensor[:, :16].abs().max() < 0.005
    assert tensor[:, 48:].abs().max() < 0.005


@pytest.mark.parametrize("mode", ["resize", "letterbox"])
@pytest.mark.parametrize("size", [(64, 64), (30, 90), (200, 100)])
def test_boxes_and_mask_stay_on_their_contents(mode: Any, size: tuple[int, int]) -> None:
    image = np.zeros((50, 100, 1), np.uint8)
    image[10:30, 20:70] = 255
    spec = InputSpec(1, size, mode, (0.0,))
    box = fit_boxes([Box(label=1, x_min=20, y_min=10, x_max=70, y_max=30)], image.shape, spec)[0]
    mask = fit_mask(image[..., 0], spec)
    for picture in (fit_size(image, spec)[..., 0], mask):
        rows, columns = np.nonzero(picture > 127)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose([box["x_min"], box["y_min"], box["x_max"], box["y_max"]], found, atol=1.0)
    assert box["label"] == 1
    assert mask.shape == size
    assert set(np.unique(mask)) == {0, 255}


def test_a_sliver_keeps_one_pixel_in_a_letterbox() -> None:
    sliver = np.full((1, 1000, 1), 9, np.uint8)
    fitted = fit_size(sliver, InputSpec(1, 32, "letterbox"))
    assert fitted.shape == (32, 32, 1)
    assert (fitted == 9).any()


def test_prepare_is_the_same_for_a_file_and_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "part.png"
    Image.fromarray(COLORS).save(path)
    spec = InputSpec(3, (16, 16), "letterbox")
    from_file = prepare(path, spec)
    assert from_file.shape == (3, 16, 16)
    for source in (COLORS, path.read_bytes(), Image.fromarray(COLORS)):
        assert torch.equal(prepare(source, spec), from_file)


def test_spec_survives_json() -> None:
    for spec in (InputSpec(1), InputSpec(3, (256, 1600), "letterbox", (0.4, 0.5, 0.6), (0.2, 0.2, 0.3))):
        assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_single_numbers_are_spread() -> None:
    spec = InputSpec(3, 64, mean=(0.5,), std=(0.25,))
    assert spec.size == (64, 64)
    assert spec.mean == (0.5, 0.5, 0.5)
    assert spec.std == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_chans": 4}, "input.in_chans: expected 1 or 3, got 4"),
        ({"in_chans": True}, "input.in_chans: expected 1 or 3, got True"),
        ({"resize_mode": "crop"}, "input.resize_mode: expected resize or letterbox, got 'crop'"),
        ({"image_size": 0}, "input.image_size: expected None, or one or two whole numbers above 0, got 0"),
        ({"image_size": (3, 4, 5)}, "input.image_size: expected None, or one or two whole numbers above 0"),
        ({"image_size": (3, 4.5)}, "input.image_size: expected None, or one or two whole numbers above 0"),
        ({"image_size": "64"}, "input.image_size: expected None, or one or two whole numbers above 0"),
        ({"mean": (0.1, 0.2)}, "input.mean: expected 1 or 3 finite numbers, got (0.1, 0.2)"),
        ({"mean": (float("nan"),)}, "input.mean: expected 1 or 3 finite numbers"),
        ({"std": 0.5}, "input.std: expected 1 or 3 finite numbers, got 0.5"),
        ({"std": (0.0,)}, "input.std: expected numbers above 0, got (0.0, 0.0, 0.0)"),
    ],
)
def test_spec_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        InputSpec(**{"in_chans": 3, **changes})
    assert str(caught.value).startswith(message)


def test_saved_spec_with_missing_or_unknown_keys_is_refused() -> None:
    whole = InputSpec(3).to_dict()
    with pytest.raises(DataError, match="input: expected a known key, got `men`; did you mean `mean`"):
        InputSpec.from_dict({**whole, "men": 1})
    del whole["std"]
    with pytest.raises(DataError, match=r"input\.std: expected a value"):
        InputSpec.from_dict(whole)
    with pytest.raises(DataError, match="input: expected a mapping, got None"):
        InputSpec.from_dict(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("archive", ["severstal-sample", "neu-det", "magnetic-tile"])
def test_real_pictures_are_prepared(real_data: Any, archive: str) -> None:
    pictures = sorted(real_data(archive).rglob("*.jpg"))[:5]
    assert pictures
    for picture in pictures:
        tensor = prepare(picture, InputSpec(1, 64, "letterbox"))
        assert tensor.shape == (1, 64, 64)
        assert tensor.std() > 0.01


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_normalised_as_single_pictures_are_bit_for_bit(channels: Any) -> None:
    """A model that learnt from batches normalised on a device is served by `prepare`."""
    spec = InputSpec(channels, mean=(0.485, 0.456, 0.406)[:channels], std=(0.229, 0.224, 0.225)[:channels])
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 17, channels), dtype=np.uint8)
    images.ravel()[: 256 * channels] = np.repeat(np.arange(256, dtype=np.uint8), channels)  # every value, each channel
    expected = torch.stack([to_tensor(image, spec) for image in images])
    assert torch.equal(to_tensors(images, spec), expected)
    assert to_tensors(images, spec).is_contiguous()
    found = normalise(torch.from_numpy(images), spec, "cpu")
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    # What a GPU does, on the tensors of a CPU.
    gathered = _gathered(torch.from_numpy(images), spec).reshape(images.shape).permute(0, 3, 1, 2)
    assert torch.equal(gathered, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_normalises_bit_for_bit_as_a_cpu() -> None:
    spec = InputSpec(3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 32, 33, 3), dtype=np.uint8))
    assert torch.equal(normalise(images, spec, "cuda").cpu(), normalise(images, spec, "cpu"))
