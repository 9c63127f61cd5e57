"""Contact sheets of windows: what the model is shown before and after augmentation, and pairs that were linked.

Every channel has a lane of its own, four deviations up and down from its mean; the grey line is the mean. So a channel
that is dead, clipped or out of scale is seen before a night of training.

Shapes: T samples, C channels.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ringlight.data.duplicate_sheet import choose_links
from ringlight.data.links import Duplicates
from ringlight.data.preview import CAPTION, GAP, INK, PAPER, choose_rows
from ringlight.data.window_loader import WindowAugmenter
from ringlight.data.window_spec import WindowSpec
from ringlight.data.window_store import WindowReader, require_signals
from ringlight.errors import DataError
from ringlight.files import whole_file
from ringlight.types import Dataset

Window = npt.NDArray[np.float32]

WIDTH = 300
"""Width of a plotted window in pixels."""
NAMES = 96
"""Width of the column with the channels' names."""
LANE = 26
"""Height of a channel's lane."""
REACH = 4.0
"""A lane shows so many deviations up and down."""
SHOWN = 24
"""More channels are not drawn; the caption says so."""
GRID = (222, 222, 222)


def window_sheet(
    dataset: Dataset,
    spec: WindowSpec,
    augmenter: WindowAugmenter | None,
    path: Path | str,
    *,
    num_samples: int = 8,
    num_augmented: int = 3,
    seed: int = 0,
) -> Path:
    """Write a PNG with `num_samples` windows, each followed by `num_augmented` augmented versions of itself.

    The records are drawn by `seed` so that every class is shown before one is shown twice. Augmented version k is what
    training sees in epoch k. With `augmenter` None only the originals are shown.

    Args:
        dataset: windows.
        spec: fitted on them with normalize="channel": it says how large a channel's deviation is.
        augmenter: for training.
        path: the PNG.
        num_samples: windows shown.
        num_augmented: versions of each.
        seed: of the choice.

    Returns:
        `path`.

    Raises:
        DataError: the records are no windows, or a number is out of range.
        WorkspaceError: the PNG cannot be written.
    """
    for name, value, least in (("num_samples", num_samples, 1), ("num_augmented", num_augmented, 0)):
        if value < least:
            raise DataError(f"{least} or more", got=str(value), where=f"preview.{name}", fix="correct the value")
    reader = WindowReader.of(dataset)
    heavy = None if augmenter is None else augmenter.heavy_rows(dataset)
    blocks = []
    for row in choose_rows(dataset, num_samples, seed=seed):
        window = spec.standardised(reader.read([row]))[0]
        cells = [window]
        if augmenter is not None and heavy is not None:
            cells += [
                augmenter(window, epoch=epoch, record_id=dataset[row].id, heavy=bool(heavy[row]))
                for epoch in range(num_augmented)
            ]
        blocks.append(_block(cells, spec.channels, _caption(dataset, row)))
    return _written(blocks, Path(path))


def window_pairs_sheet(dataset: Dataset, duplicates: Duplicates, path: Path | str, *, num_pairs: int = 12) -> Path:
    """Write a PNG of linked pairs of windows, the weakest links first, so that a false one is seen.

    Returns:
        `path`. Without any link the sheet says so.

    Raises:
        DataError: the records are no windows.
        WorkspaceError: the PNG cannot be written.
    """
    channels = require_signals(dataset).channels
    reader = WindowReader.of(dataset)
    blocks = []
    for link in choose_links(duplicates.links, num_pairs):
        pair = reader.read([link.a, link.b])
        mean, std = pair.mean(axis=(0, 1)), pair.std(axis=(0, 1))
        shown = (pair - mean) / np.where(std > 0, std, 1)
        caption = f"{_caption(dataset, link.a)}   |   {_caption(dataset, link.b)}   ({link.similarity:.3f})"
        blocks.append(_block(list(shown), channels, caption))
    if not blocks:
        blocks = [_titled(Image.new("RGB", (2 * WIDTH, LANE), PAPER), f"{dataset.name}: no links")]
    return _written(blocks, Path(path))


def _caption(dataset: Dataset, row: int) -> str:
    record = dataset[row]
    return f"{record.id}   {', '.join(dataset.classes[label] for label in record.labels) or 'no label'}"


def _block(windows: Sequence[Window], channels: Sequence[str], caption: str) -> Image.Image:
    """Draw windows of one record side by side under their caption, the channels' names at the left."""
    names = channels[:SHOWN]
    if len(names) < len(channels):
        caption += f"   (the first {SHOWN} of {len(channels)} channels)"
    height = LANE * len(names)
    image = Image.new("RGB", (NAMES + (WIDTH + GAP) * len(windows), height), PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    for lane, name in enumerate(names):
        draw.text((2, lane * LANE + LANE // 2 - 7), name[:16], fill=INK, font=font)
    for place, window in enumerate(windows):
        _draw(draw, window[:, : len(names)], NAMES + place * (WIDTH + GAP))
    return _titled(image, caption)


def _draw(draw: ImageDraw.ImageDraw, window: Window, left: int) -> None:
    """Draw each channel of a standardised window as a line in its lane; what is out of reach runs along its edge."""
    samples, count = window.shape
    across = left + np.linspace(0, WIDTH - 1, samples)
    for channel in range(count):
        middle = channel * LANE + LANE / 2
        draw.line([(left, middle), (left + WIDTH - 1, middle)], fill=GRID)
        values = np.clip(np.nan_to_num(window[:, channel]), -REACH, REACH)
        down = middle - values * (LANE / 2 - 1) / REACH
        red, green, blue = colorsys.hsv_to_rgb(0.58 + channel / max(count, 1), 0.75, 0.7)
        points = list(zip(across.tolist(), down.tolist(), strict=True))
        draw.line(points if samples > 1 else points * 2, fill=(round(red * 255), round(green * 255), round(blue * 255)))
    draw.rectangle((left, 0, left + WIDTH - 1, count * LANE - 1), outline=GRID)


def _titled(image: Image.Image, caption: str) -> Image.Image:
    block = Image.new("RGB", (image.width, image.height + CAPTION), PAPER)
    ImageDraw.Draw(block).text((2, 2), caption, fill=INK, font=ImageFont.load_default(13))
    block.paste(image, (0, CAPTION))
    return block


def _written(blocks: Sequence[Image.Image], path: Path) -> Path:
    width = max(block.width for block in blocks) + 2 * GAP
    sheet = Image.new("RGB", (width, sum(block.height + GAP for block in blocks) + GAP), PAPER)
    top = GAP
    for block in blocks:
        sheet.paste(block, (GAP, top))
        top += block.height + GAP
    with whole_file(path) as unfinished:
        sheet.save(unfinished, format="PNG")
    return path
