"""A contact sheet of near-duplicates: pairs that were linked, the weakest links first, so that a false one is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ringlight.data.links import Duplicates, Link
from ringlight.data.preprocess import read_image
from ringlight.errors import DataError
from ringlight.files import whole_file
from ringlight.types import Dataset

CELL = (300, 200)
"""Width and height of a picture in pixels."""
GAP = 6
CAPTION = 34
PAPER = (250, 250, 250)
INK = (30, 30, 30)
COLUMNS = 2
"""Pairs side by side."""


def duplicate_sheet(dataset: Dataset, duplicates: Duplicates, path: Path | str, *, num_pairs: int = 12) -> Path:
    """Write a PNG of linked pairs, each side by side with ids and similarity.

    Half of them are the weakest links, which a person should look at; the others are spread evenly over the rest.
    Contrast is stretched, since exposures of one part differ in it.

    Returns:
        `path`. Without any link the sheet says so.

    Raises:
        DataError: `num_pairs` is below one, a record has no file, or it cannot be read.
        WorkspaceError: the PNG cannot be written.
    """
    if num_pairs < 1:
        raise DataError("1 or more", got=str(num_pairs), where="duplicate_sheet: num_pairs", fix="correct the value")
    pairs = [_pair(dataset, link) for link in choose_links(duplicates.links, num_pairs)]
    width, height = 2 * CELL[0] + GAP, CELL[1] + CAPTION
    columns = min(COLUMNS, max(1, len(pairs)))
    rows = -(-len(pairs) // columns)
    heading = f"{dataset.name}: {len(duplicates.links)} links, {duplicates.linked} of {len(dataset)} records in them"
    sheet = Image.new("RGB", (columns * (width + 2 * GAP), CAPTION + rows * (height + GAP)), PAPER)
    ImageDraw.Draw(sheet).text((GAP, GAP), heading, fill=INK, font=ImageFont.load_default(15))
    for place, pair in enumerate(pairs):
        row, column = divmod(place, columns)
        sheet.paste(pair, (GAP + column * (width + 2 * GAP), CAPTION + row * (height + GAP)))
    with whole_file(Path(path)) as unfinished:
        sheet.save(unfinished, format="PNG")
    return Path(path)


def choose_links(links: tuple[Link, ...], num_pairs: int) -> list[Link]:
    """Return the weakest links, then some spread over the others, in order of similarity.

    Examples:
        >>> [link.similarity for link in choose_links(tuple(Link(0, n, n / 10) for n in range(10, 0, -1)), 4)]
        [0.1, 0.2, 0.3, 1.0]
    """
    ordered = sorted(links, key=lambda link: (link.similarity, link.a, link.b))
    num_weak = min(len(ordered), -(-num_pairs // 2))
    others = ordered[num_weak:]
    places = np.unique(np.linspace(0, len(others) - 1, min(len(others), num_pairs - num_weak)).astype(int))
    return ordered[:num_weak] + [others[place] for place in places]


def _pair(dataset: Dataset, link: Link) -> Image.Image:
    """Draw the two pictures of a link above their ids."""
    pair = Image.new("RGB", (2 * CELL[0] + GAP, CELL[1] + CAPTION), PAPER)
    draw, font = ImageDraw.Draw(pair), ImageFont.load_default(12)
    for side, row in enumerate((link.a, link.b)):
        record = dataset[row]
        if record.uri is None:
            raise DataError("a file", got="none", where=f"record `{record.id}`", fix="leave it out (data.missing=skip)")
        picture = ImageOps.autocontrast(Image.fromarray(read_image(record.uri, in_chans=3)), cutoff=0.5)
        picture = ImageOps.contain(picture, CELL)
        left = side * (CELL[0] + GAP)
        pair.paste(picture, (left, 0))
        draw.text((left, CELL[1] + 2), _shortened(record.id, font), fill=INK, font=font)
    kind = "identical" if link.similarity == 1 else f"similarity {link.similarity:.2f}"
    draw.text((0, CELL[1] + 17), kind, fill=INK, font=font)
    return pair


def _shortened(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Cut a long id at its front, where the folders stand."""
    if font.getlength(name) <= CELL[0]:
        return name
    while name and font.getlength("..." + name) > CELL[0]:
        name = name[1:]
    return "..." + name
