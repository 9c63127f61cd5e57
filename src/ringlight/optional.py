"""Optional dependencies: imported where they are used, with an error that names the extra to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from ringlight.errors import MissingExtraError


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise :class:`MissingExtraError` naming the extra that brings it.

    Examples:
        >>> require("json", extra="none").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"the package {module.partition('.')[0]}",
            got=f"{type(error).__name__}: {error}",
            where=f"import {module}",
            fix=f"install it with: pip install 'ringlight[{extra}]'",
        ) from error
