"""Explanations, and what they are as files: a picture with its legend, and the map itself as `.npy`.

Shapes: H x W pixels, T samples, C channels.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.preprocess import read_image
from ringlight.evaluation.lettering import printable, set_fonts
from ringlight.explain.overlay import check_style, overlay_png
from ringlight.explain.signal_plot import attribution_png
from ringlight.files import unwritable, whole_file

LONGEST = 100
"""Characters of an id or a class in a file name."""
LABELLED = re.compile(r"-[0-9a-f]{10}$")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """Where a model looks for one class of one image or window.

    `id` is the record's, `label` the class, `probability` what the model gives it, calibrated. `map` of an image is
    (H, W) in the pixels of the picture as it was given, from 0 to 1; of a window it is (T, C), signed, in units of the
    class's raw score: above 0 speaks for the class. `method` made it; `item` is what was explained. Of windows
    `channels` are the names and `sampling_rate` is in hertz.
    """

    id: str
    label: str
    probability: float
    map: npt.NDArray[np.float32]
    method: str
    item: Any
    channels: tuple[str, ...] = ()
    sampling_rate: float | None = None


def write_explanations(
    folder: Path | str, explanations: Sequence[Explanation], *, style: str = "blend", raw: bool = True
) -> list[Path]:
    """Write a PNG for each explanation, and beside it the map as float32 `.npy`; return the files.

    A file is named after id and class, as `part_7__crack.png`. Where these cannot stand in a name (a path, a sign that
    some file system refuses) they are written differently, with ten hex digits of their checksum behind them, so that
    no two explanations share a file. Writing the same explanation again replaces its files.

    Args:
        folder: made where it is missing.
        explanations: of images or windows.
        style: of images: blend, contour or side_by_side.
        raw: write the map as well: (H, W), or (T, C) of windows.

    Raises:
        ConfigError: an unknown style.
        DataError: a picture that cannot be read any more.
        WorkspaceError: the folder cannot be written.
    """
    check_style(style)
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(target, error) from error
    written: list[Path] = []
    for one in explanations:
        name = f"{safe_name(one.id)}__{safe_name(one.label)}"
        with whole_file(target / f"{name}.png") as part:
            part.write_bytes(explanation_png(one, style=style))
        written.append(target / f"{name}.png")
        if raw:
            with whole_file(target / f"{name}.npy") as part, part.open("wb") as stream:
                np.save(stream, one.map)
            written.append(target / f"{name}.npy")
    return written


def explanation_png(explanation: Explanation, *, style: str = "blend") -> bytes:
    """Return one explanation drawn: over its picture with a legend, or behind the channels of its window.

    Raises:
        ConfigError: an unknown style.
        DataError: the picture cannot be read any more.
    """
    one = explanation
    text = f"{printable(one.label)}  {one.probability:.2f}  ({one.method})"
    if one.channels:
        check_style(style)
        channels = [printable(channel, limit=16) for channel in one.channels]
        title = f"{printable(one.id, limit=40)}: {text}"
        return attribution_png(one.item, one.map, channels, one.sampling_rate, title=title, letter=set_fonts)
    picture = read_image(one.item, in_chans=3)
    return overlay_png(picture, one.map, text=text, style=style, letter=set_fonts)


def safe_name(text: str) -> str:
    """Return a text as a part of a file name: letters, digits, dots, dashes and underscores.

    What had to be changed, or looks as if it had been, ends in a checksum of the text.

    Examples:
        >>> safe_name("part_7.png"), safe_name("line 1/part_7.png")
        ('part_7.png', 'line_1_part_7.png-6279297b0b')
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".")[-LONGEST:]
    if safe and safe == text and "__" not in text and not LABELLED.search(text):
        return safe
    return f"{safe}-{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:10]}"
