"""A contact sheet: what the model is shown, with labels and boxes, before and after augmentation.

Pictures pass through the same steps as in training (`data/preprocess.py`, `data/augment.py`), so
that a wrong size, a turned picture or an augmentation that hides the defects is seen before a night of training.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ringlight.data.augment import Augmenter
from ringlight.data.preprocess import InputSpec, fit_boxes, fit_size, read_image
from ringlight.errors import DataError
from ringlight.files import whole_file
from ringlight.types import Box, Dataset, Record

Pixels = npt.NDArray[np.uint8]

CELL = 240
"""Width of a cell in pixels when pictures stand side by side."""
STRIP_WIDTH = 1200
LONG = 2.5
"""From this width-to-height ratio on, pictures are stacked instead of put side by side."""
GAP = 6
CAPTION = 20
PAPER = (250, 250, 250)
INK = (30, 30, 30)


def contact_sheet(
    dataset: Dataset,
    spec: InputSpec,
    augmenter: Augmenter | None,
    path: Path | str,
    *,
    num_samples: int = 8,
    num_augmented: int = 3,
    seed: int = 0,
) -> Path:
    """Write a PNG with `num_samples` records, each followed by `num_augmented` augmented versions of itself.

    The records are drawn by `seed` so that every class is shown before one is shown twice. Augmented version k is what
    training sees in epoch k. With `augmenter` None only the originals are shown. Long strips are stacked, other
    pictures stand side by side. Records of a class with a factor are shown through the heavy pipeline.

    Returns:
        `path`.

    Raises:
        DataError: a record has no file, or it cannot be read; a number is out of range.
        WorkspaceError: the PNG cannot be written.
    """
    for name, value, least in (("num_samples", num_samples, 1), ("num_augmented", num_augmented, 0)):
        if value < least:
            raise DataError(f"{least} or more", got=str(value), where=f"preview.{name}", fix="correct the value")
    versions = num_augmented if augmenter is not None else 0
    heavy = augmenter.heavy_rows(dataset) if augmenter is not None else np.zeros(len(dataset), bool)
    blocks = [
        _block(dataset[row], dataset.classes, spec, augmenter, versions, heavy=bool(heavy[row]))
        for row in choose_rows(dataset, num_samples, seed=seed)
    ]
    width = max(block.width for block in blocks) + 2 * GAP
    sheet = Image.new("RGB", (width, sum(block.height + GAP for block in blocks) + GAP), PAPER)
    top = GAP
    for block in blocks:
        sheet.paste(block, (GAP, top))
        top += block.height + GAP
    with whole_file(Path(path)) as unfinished:
        sheet.save(unfinished, format="PNG")
    return Path(path)


def choose_rows(dataset: Dataset, num_samples: int, *, seed: int) -> list[int]:
    """Draw rows class after class, the clean ones last in turn, until there are enough or none is left."""
    matrix = dataset.label_matrix()
    order = np.random.default_rng(seed).permutation(len(dataset))
    turns = [[row for row in order if matrix[row, label]] for label in range(len(dataset.classes))]
    turns.append([row for row in order if not matrix[row].any()])
    chosen: dict[int, None] = {}
    while len(chosen) < min(num_samples, len(dataset)):
        for turn in turns:
            fresh = next((row for row in turn if row not in chosen), None)
            if fresh is not None and len(chosen) < num_samples:
                chosen[int(fresh)] = None
    return list(chosen)


def _block(
    record: Record,
    classes: Sequence[str],
    spec: InputSpec,
    augmenter: Augmenter | None,
    num_augmented: int,
    *,
    heavy: bool,
) -> Image.Image:
    """Draw one record: its caption, the original and the augmented versions."""
    if record.uri is None:
        raise DataError("a file", got="none", where=f"record `{record.id}`", fix="leave it out (data.missing=skip)")
    raw = read_image(record.uri, in_chans=spec.in_chans)
    image, boxes = fit_size(raw, spec), fit_boxes(record.boxes, raw.shape, spec)
    cells = [_cell(image, boxes, classes)]
    if augmenter is not None:
        for epoch in range(num_augmented):
            sample = augmenter(image, epoch=epoch, record_id=record.id, heavy=heavy, boxes=boxes)
            cells.append(_cell(sample.image, sample.boxes, classes))
    return _arrange(cells, _caption(record, classes))


def _caption(record: Record, classes: Sequence[str]) -> str:
    return f"{record.id}   {', '.join(classes[label] for label in record.labels) or 'clean'}"


def _cell(image: Pixels, boxes: Iterable[Box], classes: Sequence[str]) -> Image.Image:
    """Draw one picture at the sheet's size, with its boxes."""
    height, width = image.shape[:2]
    scale = (STRIP_WIDTH if width >= LONG * height else CELL) / width
    size = (round(width * scale), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    pixels = cv2.resize(image, size, interpolation=method).reshape(size[1], size[0], -1)
    cell = Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (size[1], size[0], 3)), np.uint8))
    draw = ImageDraw.Draw(cell)
    font = ImageFont.load_default(11)
    for box in boxes:
        color = _color(box["label"], len(classes))
        corners = [box[side] * scale for side in ("x_min", "y_min", "x_max", "y_max")]
        left, top = corners[:2]
        draw.rectangle((left, top, max(left, corners[2] - 1), max(top, corners[3] - 1)), outline=color, width=2)
        text = classes[box["label"]]
        place = (min(left + 3, size[0] - draw.textlength(text, font) - 2), top - 14 if top >= 14 else top + 2)
        draw.text(place, text, fill=color, font=font, stroke_width=2, stroke_fill=(0, 0, 0))
    return cell


def _color(label: int, num_classes: int) -> tuple[int, int, int]:
    """Return a bright colour of the class, as far from the others on the colour circle as their number allows."""
    red, green, blue = colorsys.hsv_to_rgb(0.12 + label / max(num_classes, 1), 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _arrange(cells: Sequence[Image.Image], caption: str) -> Image.Image:
    """Put the cells under their caption: below each other when they are long, else side by side."""
    stacked = cells[0].width >= LONG * cells[0].height
    if stacked:
        width, height = cells[0].width, sum(cell.height + 2 for cell in cells)
    else:
        width, height = sum(cell.width + GAP for cell in cells), max(cell.height for cell in cells)
    font = ImageFont.load_default(13)
    block = Image.new("RGB", (width, CAPTION + height), PAPER)
    ImageDraw.Draw(block).text((2, 2), caption, fill=INK, font=font)
    x, y = 0, CAPTION
    for cell in cells:
        block.paste(cell, (x, y))
        x, y = (x, y + cell.height + 2) if stacked else (x + cell.width + GAP, y)
    return block
