"""Data: sources that read a format into a `Dataset`, and all that happens to records before a model sees them."""

from __future__ import annotations

from ringlight.data.cifar import CifarSource
from ringlight.data.folder import FolderSource
from ringlight.data.severstal import SeverstalSource
from ringlight.data.synthetic import SyntheticSource
from ringlight.data.synthetic_windows import SyntheticWindowsSource
from ringlight.data.table import TableSource
from ringlight.data.windows import WindowsSource
from ringlight.registry import Catalogue
from ringlight.types import Source

SOURCES: Catalogue[Source] = Catalogue(
    "data",
    {
        "folder": FolderSource,
        "table": TableSource,
        "severstal": SeverstalSource,
        "cifar": CifarSource,
        "synthetic": SyntheticSource,
        "synthetic_windows": SyntheticWindowsSource,
        "windows": WindowsSource,
    },
    name_key="source",
    supplied=("cache",),
    entry_point_group="ringlight.sources",
)
"""The formats that `data.source` names. Each is built as `Source(root, ...)` and answers `load()`."""

__all__ = [
    "SOURCES",
    "CifarSource",
    "FolderSource",
    "SeverstalSource",
    "SyntheticSource",
    "SyntheticWindowsSource",
    "TableSource",
    "WindowsSource",
]
