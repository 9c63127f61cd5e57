"""Steel strips as "Severstal: Steel Defect Detection" ships them, in each of the forms it is published in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from ringlight.data.content import read_header
from ringlight.data.faults import Faults, first_of
from ringlight.data.files import find_images, require_folder
from ringlight.data.labels import checked_classes, read_labels
from ringlight.data.masks import boxes_of_rle
from ringlight.data.supervisely import read_annotation
from ringlight.data.tabular import Sheet, read_sheet
from ringlight.errors import DataError
from ringlight.types import Box, Dataset, Record, Task

CLASSES = ("defect_1", "defect_2", "defect_3", "defect_4")
IMAGE_FOLDERS = ("images", "train_images", "img")
LABEL_FILES = ("train.csv", "annotations", "ann")

Marks = dict[str, tuple[set[int], list[Box]]]
"""Image name -> the classes it carries and their boxes."""


class SeverstalSource:
    """Steel strips with run-length masks, Supervisely annotations or image-level labels; multi-label.

    The labels are one of: Kaggle's `train.csv` (`ImageId,ClassId,EncodedPixels`, or `ImageId_ClassId,EncodedPixels`
    with a row per image and class, mostly empty), where an image without run lengths is clean; a folder of Supervisely
    annotations (`strip.jpg.json`); a table with the image's name in its first column and a column of 0 and 1 per class.
    Masks become boxes, one per connected part. Ids are file names.

    Args:
        root: the folder.
        labels: the label file or folder, relative to `root`; `train.csv`, `annotations/` or `ann/` when None.
        images: the image folder, relative to `root`; `images/`, `train_images/`, `img/` or `root` itself when None.
        missing: what to do with labels without an image, and with images that a file naming every image does not name:
            "error", or "skip" them with a note.
        classes: the names of the classes 1, 2, ... of `ClassId`.
        task: "multilabel"; a strip carries any number of defects.

    Raises:
        ConfigError: `classes` names one twice.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        labels: str | None = None,
        images: str | None = None,
        missing: Literal["error", "skip"] = "error",
        classes: Sequence[str] = CLASSES,
        task: Literal["multilabel"] = "multilabel",
    ) -> None:
        self.root = Path(root).expanduser()
        self.labels = labels
        self.images = images
        self.missing = missing
        self.classes = checked_classes(classes)
        self.task: Task = task

    def load(self) -> Dataset:
        """Read the labels; of images with run lengths the header is read, for their size.

        Raises:
            DataError: no folder, no images, no labels; labels without images; a row that cannot be used.
            Problems: several such rows, a line each.
        """
        root = require_folder(self.root, "data.root")
        images, notes = self._find_images(root)
        path = self._find_labels(root)
        if path.is_dir():
            marks, complete = self._read_annotations(path, images), True
        else:
            sheet = read_sheet(path)
            complete = "EncodedPixels" not in sheet.columns
            marks = self._read_table(sheet) if complete else self._read_runs(sheet, images)
            notes.append(self._remark(sheet.path.name, complete, images, marks))
        kept = self._match(list(images), marks, complete, path.name, notes)
        records = []
        for name in kept:
            labels, boxes = marks.get(name, (set(), []))
            records.append(Record(id=name, uri=str(images[name]), labels=tuple(labels), boxes=tuple(boxes)))
        return Dataset.from_records(records, self.classes, self.task, name=root.name, notes=notes)

    def _find_images(self, root: Path) -> tuple[dict[str, Path], list[str]]:
        named = [self.images] if self.images is not None else [name for name in IMAGE_FOLDERS if (root / name).is_dir()]
        folder = require_folder(root / named[0], "data.images") if named else root
        found = find_images(folder, recursive=False)
        if not found.images:
            raise DataError(
                "at least one image", got="none", where=str(folder), fix="set data.images to the folder of the strips"
            )
        return found.images, [] if folder == root else found.notes()

    def _find_labels(self, root: Path) -> Path:
        if self.labels is not None:
            return root / self.labels
        there = [name for name in LABEL_FILES if (root / name).exists()]
        if there:
            return root / there[0]
        tables = sorted(path.name for path in root.glob("*.csv"))
        got = f"only {', '.join(tables)}" if tables else "none of them"
        fix = "set data.labels to the label file or folder"
        raise DataError("train.csv or annotations/", got=got, where=str(root), fix=fix)

    def _read_runs(self, sheet: Sheet, images: dict[str, Path]) -> Marks:
        """Kaggle's run lengths. Rows of images that are not there are not decoded: their size is unknown."""
        faults = Faults(sheet.path.name)
        names, numbers = _keys_of_runs(sheet, faults)
        marks: Marks = {}
        size: tuple[str, int, int] = ("", 0, 0)
        index = {str(position): position - 1 for position in range(1, len(self.classes) + 1)}
        index |= {name: position for position, name in enumerate(self.classes)}
        for row, (name, number, runs) in enumerate(zip(names, numbers, sheet.cells("EncodedPixels"), strict=True)):
            if name is None or number is None:
                continue
            if number not in index:
                known = f"1 to {len(self.classes)}"
                faults.add(f"a class id from {known}", got=f"`{number}`", where=sheet.where(row), fix="correct the row")
                continue
            labels, boxes = marks.setdefault(name, (set(), []))
            if runs is None:
                continue
            labels.add(index[number])
            try:
                if name in images:
                    size = size if size[0] == name else (name, *read_header(images[name]).size)
                    boxes += boxes_of_rle(runs, size[1], size[2], index[number], where=sheet.where(row))
            except DataError as error:
                faults.catch(error)
        faults.raise_if_any()
        return marks

    def _read_table(self, sheet: Sheet) -> Marks:
        id_column = "ImageId" if "ImageId" in sheet.columns else sheet.columns[0]
        columns = [sheet.require(name, "data.classes") for name in self.classes]
        labels = read_labels(sheet, columns, task="multilabel", classes=self.classes)
        faults = Faults(sheet.path.name)
        marks: Marks = {}
        for row, name in enumerate(sheet.cells(id_column)):
            if name is None or name in marks:
                got = "an empty cell" if name is None else f"`{name}` again"
                faults.add(
                    "every image once", got=got, where=sheet.where(row, id_column), fix="correct or remove the row"
                )
                continue
            marks[name] = (set(labels.rows[row]), [])
        faults.raise_if_any()
        return marks

    def _read_annotations(self, folder: Path, images: dict[str, Path]) -> Marks:
        stems = {Path(name).stem: name for name in images}  # older exports: strip.json for strip.jpg
        faults = Faults(folder.name)
        marks: Marks = {}
        for path in sorted(folder.glob("*.json")):
            name = path.stem if path.stem in images else stems.get(path.stem, path.stem)
            try:
                boxes = read_annotation(path, self.classes)
            except DataError as error:
                faults.catch(error)
                continue
            marks[name] = ({box["label"] for box in boxes}, boxes)
        faults.raise_if_any()
        if not marks:
            raise DataError(
                "annotations called like strip.jpg.json",
                got="none",
                where=str(folder),
                fix="set data.labels to their folder",
            )
        return marks

    def _remark(self, file: str, complete: bool, images: Collection[str], marks: Marks) -> str:
        if complete:
            return f"{file} labels whole images: there are no boxes"
        clean = sum(name not in marks or not marks[name][0] for name in images)
        return f"{clean} of {len(images)} images have no run lengths in {file} and count as clean"

    def _match(self, images: Sequence[str], marks: Marks, complete: bool, file: str, notes: list[str]) -> list[str]:
        """Return the images to keep; a `complete` label file names clean images too, so others are unlabelled."""
        lost = sorted(marks.keys() - set(images))
        unlabelled = [name for name in images if complete and name not in marks]
        kept = [name for name in images if not complete or name in marks]
        if lost and self.missing == "error":
            raise DataError(
                "an image for every label",
                got=f"no image for {first_of(lost)} of {len(marks)}",
                where=file,
                fix="add the images, or leave these labels out with data.missing=skip",
            )
        if unlabelled and (self.missing == "error" or not kept):
            raise DataError(
                "a label for every image",
                got=f"no label for {first_of(unlabelled)} of {len(images)}",
                where=file,
                fix="label them, or leave these images out with data.missing=skip",
            )
        if lost:
            notes.append(f"left out labels without an image: {first_of(lost)}")
        if unlabelled:
            notes.append(f"left out images without a label: {first_of(unlabelled)}")
        return kept


def _keys_of_runs(sheet: Sheet, faults: Faults) -> tuple[list[str | None], list[str | None]]:
    """Return the image and the class id of every row, in either of Kaggle's layouts."""
    if "ImageId_ClassId" in sheet.columns:
        column = "ImageId_ClassId"
        pairs = [(None, None) if cell is None else (*cell.rpartition("_")[::2],) for cell in sheet.cells(column)]
        keys = [(name or None, number or None) for name, number in pairs]
    else:
        column = "ImageId or ClassId"
        names = sheet.cells(sheet.require("ImageId", "data.labels"))
        keys = list(zip(names, sheet.cells(sheet.require("ClassId", "data.labels")), strict=True))
    for row, key in enumerate(keys):
        if None in key:
            faults.add("an image and a class id", got="an empty cell", where=sheet.where(row, column), fix="fill it")
    return [name for name, _ in keys], [number for _, number in keys]
