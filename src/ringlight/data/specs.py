"""What a model may expect of its input: a picture or a window of a signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringlight.data.preprocess import InputSpec
from ringlight.data.window_spec import WindowSpec

Spec = InputSpec | WindowSpec
"""The input of a model; it travels with the saved model."""


def spec_from_dict(values: Mapping[str, Any]) -> Spec:
    """Read what a specification's `to_dict` wrote; one that names no kind is a picture's.

    Raises:
        DataError: a key is missing or unknown, or a value is out of range.
    """
    if isinstance(values, Mapping) and values.get("kind") == "windows":
        return WindowSpec.from_dict(values)
    return InputSpec.from_dict(values)
