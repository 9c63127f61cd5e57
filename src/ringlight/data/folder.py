"""Images in folders: a folder per class, or one flat folder whose file names say the class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ringlight.data.faults import Faults, first_of
from ringlight.data.files import EXTENSIONS, Found, find_images, require_folder
from ringlight.data.labels import PARTS, checked_classes
from ringlight.errors import ConfigError, DataError, did_you_mean
from ringlight.types import Dataset, Record, Task


class FolderSource:
    r"""Images in a folder per class, or in any folders with the class in the file name.

    Without `label_regex`, the first folder below the root is the class and images may lie at any depth in it. When all
    those folders are called train, val (valid, validation) or test, they are the split, and the folders in them the
    classes. With `label_regex`, folders mean nothing: `data.label_regex='^(.+)_\d+\.'` reads `crazing` from
    `crazing_12.jpg`. Ids are POSIX paths relative to the root.

    Args:
        root: the folder.
        task: "multiclass", or "multilabel" to train one sigmoid a class on the same single labels.
        label_regex: searched in the file name; its group `label`, or else its first group, is the class.
        group_regex: searched in the id; its group `group`, or else its first group, is what no split may part.
        classes: the class names in order; all that are found, sorted, when None.
        extensions: what counts as an image; upper and lower case are the same.

    Raises:
        ConfigError: a pattern is malformed or has no group, or `classes` names one twice.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        task: Task = "multiclass",
        label_regex: str | None = None,
        group_regex: str | None = None,
        classes: Sequence[str] | None = None,
        extensions: Sequence[str] = EXTENSIONS,
    ) -> None:
        self.root = Path(root).expanduser()
        self.task: Task = task
        self.label_regex = compile_pattern(label_regex, "data.label_regex")
        self.group_regex = compile_pattern(group_regex, "data.group_regex")
        self.classes = None if classes is None else checked_classes(classes)
        self.extensions = tuple(extensions)

    def load(self) -> Dataset:
        """Read the folder; no image is opened.

        Raises:
            DataError: no folder, no image, images without a class or group, a class that is not among `classes`.
            Problems: several of these.
        """
        root = require_folder(self.root, "data.root")
        found = find_images(root, extensions=self.extensions)
        notes = found.notes()
        if not found.images:
            raise self._empty(root, found)
        split = None if self.label_regex else _split_of(found.images)
        if split is not None:
            notes.append(
                "took the folders " + ", ".join(sorted({key.partition("/")[0] for key in split})) + " as the split"
            )
        faults = Faults(str(root))
        labels = self._labels(root, list(found.images), split is not None, faults)
        groups = self._groups(root, list(found.images), faults)
        classes = self.classes or tuple(sorted({label for label in labels.values() if label is not None}))
        self._check_classes(labels, classes, root, faults)
        faults.raise_if_any()
        index = {name: position for position, name in enumerate(classes)}
        records = [
            Record(
                id=key,
                uri=str(path),
                labels=(index[labels[key]],),
                group=groups.get(key),
                split=None if split is None else split[key],
            )
            for key, path in found.images.items()
        ]
        return Dataset.from_records(records, classes, self.task, name=root.name, notes=notes)

    def _empty(self, root: Path, found: Found) -> DataError:
        got = "none" if not found.other else f"other files: {first_of(found.other)}"
        kinds = " ".join(self.extensions)
        return DataError("at least one image", got=got, where=str(root), fix=f"check the path; images end in {kinds}")

    def _labels(self, root: Path, keys: Sequence[str], has_split: bool, faults: Faults) -> dict[str, str]:
        if self.label_regex is not None:
            labels = {key: _group_of(self.label_regex, PurePosixPath(key).name, "label") for key in keys}
            expected = f"a file name that data.label_regex `{self.label_regex.pattern}` matches"
            fix = "correct the pattern, or move these files out of the folder"
        else:
            folders = {key: PurePosixPath(key).parts[1 if has_split else 0 : -1] for key in keys}
            labels = {key: parts[0] if parts else None for key, parts in folders.items()}
            expected = "every image in a folder named after its class"
            fix = r"move them, or read the class from the file name: data.label_regex='^(.+)_\d+\.'"
        lost = [key for key, label in labels.items() if not label]
        if lost:
            faults.add(expected, got=f"images that are not: {first_of(lost)}", where=str(root), fix=fix)
        return {key: label for key, label in labels.items() if label}

    def _groups(self, root: Path, keys: Sequence[str], faults: Faults) -> dict[str, str]:
        if self.group_regex is None:
            return {}
        groups = {key: _group_of(self.group_regex, key, "group") for key in keys}
        lost = [key for key, group in groups.items() if not group]
        if lost:
            faults.add(
                f"a path that data.group_regex `{self.group_regex.pattern}` matches",
                got=f"images that do not: {first_of(lost)}",
                where=str(root),
                fix="correct the pattern: an image without its group can leak from training into the test",
            )
        return {key: group for key, group in groups.items() if group}

    def _check_classes(self, labels: dict[str, str], classes: Sequence[str], root: Path, faults: Faults) -> None:
        known = set(classes)
        for name in sorted(set(labels.values()) - known):
            keys = [key for key, label in labels.items() if label == name]
            faults.add(
                "a class of data.classes",
                got=f"`{name}` on images: {first_of(keys)}",
                where=str(root),
                fix=did_you_mean(name, classes),
            )


def compile_pattern(pattern: str | None, key: str) -> re.Pattern[str] | None:
    """Compile a pattern that has a group.

    Raises:
        ConfigError: it is malformed or has no group.
    """
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError("a regular expression", got=f"`{pattern}`: {error}", where=key, fix="correct it") from error
    if not compiled.groups:
        raise ConfigError(
            "a group in round brackets around what to take", got=f"`{pattern}`", where=key, fix=r"write '^(.+)_\d+\.'"
        )
    return compiled


def _group_of(pattern: re.Pattern[str], text: str, name: str) -> str | None:
    match = pattern.search(text)
    if match is None:
        return None
    return match[name] if name in pattern.groupindex else match[1]


def _split_of(images: dict[str, Path]) -> dict[str, str] | None:
    """Return the part of every image when the first folders are all called like parts, and classes lie in them."""
    parts = {key: PurePosixPath(key).parts for key in images}
    is_split = all(len(names) > 2 and names[0].lower() in PARTS for names in parts.values())
    if not is_split or len({names[0] for names in parts.values()}) < 2:
        return None
    return {key: PARTS[names[0].lower()] for key, names in parts.items()}
