"""Check files before they are committed: `check_files.py PATH...` prints a line per fault; exit 1 on any.

Text ends in exactly one newline, without blanks at the ends of lines or marks of an unfinished merge; YAML can be read;
nothing is larger than half a megabyte (data, weights and runs do not belong into the repository).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

LIMIT = 500_000
MERGE_MARKS = ("<<<<<<< ", ">>>>>>> ")


def problems(path: Path) -> list[str]:
    """Return what is wrong with one file, a line each."""
    content = path.read_bytes()
    if len(content) > LIMIT:
        return [f"{path}: expected at most {LIMIT} bytes, got {len(content)}; leave data and weights out"]
    if b"\0" in content or not content:
        return []
    text = content.decode("utf-8", errors="replace")
    found = []
    if not text.endswith("\n") or text.endswith("\n\n"):
        found.append(f"{path}: expected one newline at the end, got {text[-2:]!r}; mend the last line")
    for number, line in enumerate(text.splitlines(), start=1):
        if line != line.rstrip():
            found.append(f"{path}:{number}: expected no blanks at the end of the line, got {line[-1]!r}; remove them")
        if line.startswith(MERGE_MARKS):
            found.append(f"{path}:{number}: expected a finished merge, got {line!r}; choose one of the two sides")
    if path.suffix in {".yaml", ".yml"}:
        found += _yaml_problems(path, text)
    return found


def _yaml_problems(path: Path, text: str) -> list[str]:
    try:
        list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        summary = " ".join(str(error).split())
        return [f"{path}: expected YAML, got {summary}; mend it"]
    return []


def main(paths: Sequence[str]) -> int:
    """Print the faults of all files; return 1 when there is one."""
    found = [line for path in paths for line in problems(Path(path))]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
