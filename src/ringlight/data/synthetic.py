"""The `synthetic` source: steel strips that the product makes itself, for the demo, the doctor and the tests.

The pictures (:mod:`ringlight.data.strips`) are written once under `root` and read from there afterwards: JPEG as the
real strips are, a table of labels and boxes, and a `spec.json` that says what they were made from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ringlight.data.made_once import MadeOnce
from ringlight.data.strips import render_strip
from ringlight.errors import DataError
from ringlight.types import BOX, Box, Dataset, Record

CLASSES = ("defect_1", "defect_2", "defect_3", "defect_4")
FORMAT_VERSION = 1
"""Raise it when the pictures change: folders of an older version are then refused, not mistaken for new ones."""
JPEG_QUALITY = 92

SEVERSTAL_CLEAN = 5_902
SEVERSTAL_LABEL_SETS: dict[tuple[int, ...], int] = {
    (2,): 4_759,
    (0,): 769,
    (3,): 516,
    (2, 3): 284,
    (1,): 195,
    (0, 2): 91,
    (0, 1): 35,
    (1, 2): 14,
    (0, 1, 2): 2,
    (1, 3): 1,
}
"""How many of the 12,568 labelled Severstal images carry each set of defects (class indices from 0)."""
SEED_SHARES = (0.1538, 0.0160, 0.7347, 0.0955)
"""Shares of the positive labels in the project's first data set, defect_1 to defect_4."""

Frequencies = Literal["severstal", "seed", "uniform"] | Sequence[float]


def exact_counts(weights: Sequence[float], total: int) -> list[int]:
    """Divide `total` in proportion to `weights` by the method of the largest remainder.

    Examples:
        >>> exact_counts([0.5, 0.3, 0.2], 7)
        [4, 2, 1]
    """
    quotas = np.asarray(weights, np.float64) / np.sum(weights) * total
    counts = np.floor(quotas).astype(int)
    order = np.argsort(-(quotas - counts), kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return [int(count) for count in counts]


def draw_label_sets(
    num_images: int, *, frequencies: str | Sequence[float], clean_share: float | None, seed: int
) -> list[tuple[int, ...]]:
    """Return the defects of every image: exact counts in a random order.

    `"severstal"` follows the label sets of the real label file, pairs and triples with it; every other choice gives
    one kind of defect per defective image, in the shares asked for. `clean_share` None means the real file's 47 %.
    """
    real = sum(SEVERSTAL_LABEL_SETS.values())
    clean = SEVERSTAL_CLEAN / (SEVERSTAL_CLEAN + real) if clean_share is None else clean_share
    sets: list[tuple[int, ...]]
    if frequencies == "severstal":
        sets, weights = list(SEVERSTAL_LABEL_SETS), list(map(float, SEVERSTAL_LABEL_SETS.values()))
    else:
        sets, weights = [(label,) for label in range(len(CLASSES))], _shares(frequencies)
    whole = sum(weights)
    counts = exact_counts([clean, *((1 - clean) * weight / whole for weight in weights)], num_images)
    drawn = [labels for labels, count in zip([(), *sets], counts, strict=True) for _ in range(count)]
    order = np.random.default_rng([seed, num_images]).permutation(num_images)
    return [drawn[position] for position in order]


def _shares(frequencies: str | Sequence[float]) -> list[float]:
    if isinstance(frequencies, str):
        return list(SEED_SHARES) if frequencies == "seed" else [1.0] * len(CLASSES)
    return [float(share) for share in frequencies]


def _known(frequencies: str | tuple[float, ...]) -> bool:
    if isinstance(frequencies, str):
        return frequencies in ("severstal", "seed", "uniform")
    finite = all(math.isfinite(share) and share >= 0 for share in frequencies)
    return finite and len(frequencies) == len(CLASSES) and sum(frequencies) > 0


@dataclass(frozen=True, slots=True)
class _Spec:
    """What the pictures are a function of."""

    num_images: int
    height: int
    width: int
    frequencies: str | tuple[float, ...]
    clean_share: float | None
    difficulty: float
    seed: int

    def to_dict(self) -> dict[str, object]:
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "format_version": FORMAT_VERSION, "jpeg_quality": JPEG_QUALITY}


class SyntheticSource:
    """Procedural rolled-steel strips with four kinds of defect, made once and kept under `root`.

    Args:
        root: folder to write to or read from; it must not hold anything else.
        num_images: number of pictures.
        height: pixels, 16 or more; 256 is the real strips' height.
        width: pixels, 16 or more; 1600 is the real strips' width, `width=height` gives square tiles.
        frequencies: label sets as in the real label file ("severstal"), the first data set's class shares ("seed"),
            equal shares ("uniform"), or four shares, one a class.
        clean_share: part of the pictures without a defect, 0 to 1; None takes the real file's 47 %.
        difficulty: 0 (plain) to 1 (hard to see): contrast, size and number of the defects, noise, harmless marks.
        seed: the same seed and parameters give the same bytes.

    Raises:
        DataError: a parameter is out of range.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source = SyntheticSource(folder + "/tiles", num_images=4, height=32, width=32, frequencies="uniform")
        ...     len(source.load())
        4
    """

    def __init__(
        self,
        root: Path | str,
        *,
        num_images: int = 500,
        height: int = 256,
        width: int = 1600,
        frequencies: Frequencies = "severstal",
        clean_share: float | None = None,
        difficulty: float = 0.5,
        seed: int = 0,
    ) -> None:
        self.root = Path(root).expanduser().absolute()
        known = frequencies if isinstance(frequencies, str) else tuple(float(share) for share in frequencies)
        self._spec = _Spec(num_images, height, width, known, clean_share, difficulty, seed)
        self._check()
        self._folder = MadeOnce(self.root, self._spec.to_dict(), what="strips")

    def _check(self) -> None:
        spec = self._spec
        shares = spec.frequencies
        checks = [
            ("num_images", spec.num_images >= 1, "1 or more", spec.num_images),
            ("height", spec.height >= 16, "16 pixels or more", spec.height),
            ("width", spec.width >= 16, "16 pixels or more", spec.width),
            ("clean_share", spec.clean_share is None or 0 <= spec.clean_share <= 1, "0 to 1", spec.clean_share),
            ("difficulty", 0 <= spec.difficulty <= 1, "0 to 1", spec.difficulty),
            ("seed", spec.seed >= 0, "0 or more", spec.seed),
            ("frequencies", _known(shares), f"severstal, seed, uniform or {len(CLASSES)} shares above 0", shares),
        ]
        for name, valid, expected, got in checks:
            if not valid:
                raise DataError(expected, got=repr(got), where=f"data.{name}", fix="correct the value")

    def load(self) -> Dataset:
        """Return the data set, painting it first when `root` does not hold it yet.

        Raises:
            DataError: `root` holds something else, or strips made with other parameters, or files are missing.
            WorkspaceError: `root` cannot be written.
        """
        if not self._folder.present():
            self._folder.make(self._paint)
        return self._read()

    def _paint(self, folder: Path) -> None:
        spec = self._spec
        labels_of = draw_label_sets(
            spec.num_images, frequencies=spec.frequencies, clean_share=spec.clean_share, seed=spec.seed
        )
        (folder / "images").mkdir()
        boxes_of: list[tuple[Box, ...]] = []
        for index, labels in enumerate(labels_of):
            image, boxes = render_strip(
                labels,
                height=spec.height,
                width=spec.width,
                difficulty=spec.difficulty,
                rng=np.random.default_rng([spec.seed, index]),
            )
            _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            (folder / "images" / f"strip_{index:05d}.jpg").write_bytes(encoded.tobytes())
            boxes_of.append(boxes)
        table = pa.table(
            {
                "id": [f"strip_{index:05d}" for index in range(spec.num_images)],
                "labels": pa.array([list(labels) for labels in labels_of], pa.list_(pa.int32())),
                "boxes": pa.array(boxes_of, pa.list_(BOX)),
            }
        )
        pq.write_table(table, folder / "labels.parquet")

    def _read(self) -> Dataset:
        try:
            rows = pq.read_table(self.root / "labels.parquet").to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise self._folder.refusal("a readable labels.parquet", str(error).partition("\n")[0]) from None
        names = {path.name for path in (self.root / "images").glob("*.jpg")}
        missing = next((row["id"] for row in rows if f"{row['id']}.jpg" not in names), None)
        if missing is not None:
            raise self._folder.refusal("a picture for every label", f"none for `{missing}`")
        records = [
            Record(
                id=row["id"],
                uri=str(self.root / "images" / f"{row['id']}.jpg"),
                labels=tuple(row["labels"]),
                boxes=tuple(row["boxes"]),
            )
            for row in rows
        ]
        return Dataset.from_records(records, CLASSES, "multilabel", name="synthetic")
