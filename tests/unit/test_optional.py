"""Optional dependencies fail with the name of the extra."""

from __future__ import annotations

import sys

import pytest

from ringlight.errors import MissingExtraError
from ringlight.optional import require


def test_what_is_installed_is_returned():
    assert require("xml.etree.ElementTree", extra="none").__name__ == "xml.etree.ElementTree"


def test_what_is_missing_names_its_extra():
    with pytest.raises(MissingExtraError) as caught:
        require("ringlight_missing.part", extra="yolo")
    assert str(caught.value) == (
        "import ringlight_missing.part: expected the package ringlight_missing, "
        "got ModuleNotFoundError: No module named 'ringlight_missing'; "
        "install it with: pip install 'ringlight[yolo]'"
    )


def test_a_package_that_breaks_at_import_says_why(tmp_path, monkeypatch):
    """An installed package with a missing library of its own once read as `not installed`."""
    (tmp_path / "ringlight_broken.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"got ImportError: libGL\.so\.1"):
        require("ringlight_broken", extra="desktop")
    assert "ringlight_broken" not in sys.modules
