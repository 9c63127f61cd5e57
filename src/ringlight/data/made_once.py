"""A folder that a source fills by itself, once, whole or not at all, and reads from afterwards."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ringlight.errors import DataError
from ringlight.files import unwritable

SPEC = "spec.json"


class MadeOnce:
    """The folder `root`, and in its `spec.json` what the files were made from.

    Args:
        root: absolute; it must not hold anything else.
        values: what the files are a function of, plain values; a checksum is added.
        what: the files are, for messages ("strips").
    """

    def __init__(self, root: Path, values: Mapping[str, object], *, what: str) -> None:
        text = json.dumps(values, sort_keys=True)
        self.root = root
        self.spec = {**json.loads(text), "checksum": hashlib.sha256(text.encode()).hexdigest()}
        self.what = what

    def present(self) -> bool:
        """Say whether the files are there.

        Raises:
            DataError: `root` holds something else, or was made from other values.
        """
        if not self.root.exists():
            return False
        if not self.root.is_dir():
            raise self.refusal("a folder", "a file")
        spec_file = self.root / SPEC
        if not spec_file.exists():
            if any(self.root.iterdir()):
                raise self.refusal(f"an empty folder or {self.what} made before", "a folder with other files")
            return False
        try:
            found = json.loads(spec_file.read_text(encoding="utf-8"))
        except ValueError:
            raise self.refusal(f"a readable {SPEC}", "a damaged one") from None
        if found != self.spec:
            found = found if isinstance(found, dict) else {}
            differing = sorted(key for key in self.spec if found.get(key) != self.spec[key] and key != "checksum")
            changes = ", ".join(f"{key} {found.get(key)!r} instead of {self.spec[key]!r}" for key in differing)
            raise self.refusal(f"{self.what} made with the same parameters", changes or "another checksum")
        return True

    def refusal(self, expected: str, got: str) -> DataError:
        """Return the error for a folder that cannot be used."""
        return DataError(expected, got=got, where=str(self.root), fix="choose another data.root, or remove this one")

    def make(self, fill: Callable[[Path], None]) -> None:
        """Let `fill` write everything into a folder beside `root`, then rename it: never half a data set.

        Raises:
            WorkspaceError: `root` cannot be written.
        """
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{self.root.name}.", dir=self.root.parent))
            try:
                fill(scratch)
                (scratch / SPEC).write_text(json.dumps(self.spec, indent=2) + "\n", encoding="utf-8")
                scratch.chmod(0o755)  # mkdtemp makes it private
                self._publish(scratch)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        except OSError as error:
            raise unwritable(self.root, error) from error

    def _publish(self, scratch: Path) -> None:
        try:
            scratch.replace(self.root)
        except OSError:
            # Another process was quicker; its files are as good as ours when they were made alike.
            if not self.present():
                raise
