"""Check the licences of everything a plain `pip install ringlight` brings; exit 1 on a fault.

Walks the requirements of the installed `ringlight` (no extras of its own; those a dependency asks for are followed),
with their environment markers, and reads each distribution's `License-Expression`, classifiers or `License`. GPL and
AGPL are refused, and so is a licence nobody has looked at. LGPL and MPL may stay: they bind their own files only.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REVIEWED: dict[str, str] = {
    "skops": "MIT by the LICENSE in its wheel, which its metadata does not name",
    "cuda-toolkit": "empty: it only names the nvidia-* packages that make up one CUDA release",
}
"""Distributions whose metadata states no licence, or one that is not in :data:`ALLOWED`: why they may stay."""

REVIEWED_PREFIXES: dict[str, str] = {
    "nvidia-": "CUDA run-time of torch's Linux build, redistributable under NVIDIA's terms",
}
"""The same for a family of distributions."""

REFUSED = re.compile(r"\bA?GPL|affero|(?<!lesser )(?<!library )general public", re.IGNORECASE)
LESSER = re.compile(r"\bLGPL|(lesser|library) general public", re.IGNORECASE)
ALLOWED = re.compile(
    r"\b(MIT|0?BSD|Apache|ISC|PSF|Python Software Foundation|Zlib|Unlicense|CC0|BSL|Boost|HPND|MPL|Mozilla)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One distribution, what it says of its licence, and the verdict (`problem` is empty when it may stay)."""

    name: str
    version: str
    licence: str
    note: str = ""
    problem: str = ""


def closure(root: str) -> tuple[dict[str, Distribution], list[str]]:
    """Return what installing `root` brings, itself included, by canonical name, and what is required but not there."""
    found: dict[str, Distribution] = {}
    missing: list[str] = []
    asked: dict[str, set[str]] = {}
    queue: list[tuple[str, frozenset[str]]] = [(root, frozenset())]
    while queue:
        name, extras = queue.pop()
        key = canonicalize_name(name)
        if key in asked and extras <= asked[key]:
            continue
        asked.setdefault(key, set()).update(extras)
        try:
            found[key] = distribution(name)
        except PackageNotFoundError:
            missing.append(key)
            continue
        for line in found[key].requires or ():
            requirement = Requirement(line)
            if _applies(requirement, asked[key]):
                queue.append((requirement.name, frozenset(requirement.extras)))
    return found, sorted(set(missing))


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *sorted(extras)))


def stated_licence(package: Distribution) -> str:
    """Return what a distribution says of its licence, on one line: expression, else classifiers, else free text.

    Classifiers go before the free text, which is often the whole licence.
    """
    metadata = package.metadata
    for expression in metadata.get_all("License-Expression") or ():
        return str(expression)
    classifiers = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if _names_licence(line)]
    text = "\n".join(metadata.get_all("License") or ())
    return " AND ".join(classifiers) or next((line.strip() for line in text.splitlines() if line.strip()), "")


def _names_licence(classifier: str) -> bool:
    vague = ("OSI Approved", "Other/Proprietary License")
    return classifier.startswith("License :: ") and not classifier.endswith(vague)


def judge(name: str, version: str, licence: str) -> Finding:
    """Decide whether a distribution may stay.

    Of alternatives (`OR`) one must do, of parts (`AND`) all. An expression with both and parentheses is read in the
    strict way: all of it must do.

    Examples:
        >>> judge("a", "1", "MIT OR GPL-3.0-only").problem
        ''
        >>> judge("a", "1", "MIT AND GPL-3.0-only").problem
        'GPL or AGPL'
        >>> judge("a", "1", "LGPL-3.0-or-later").note
        'LGPL: used, not changed'
    """
    strict = "(" in licence and " OR " in licence and " AND " in licence
    choices = (
        [re.split(r" (?:AND|OR) ", licence)] if strict else [part.split(" AND ") for part in licence.split(" OR ")]
    )
    if all(any(REFUSED.search(part) for part in choice) for choice in choices):
        return Finding(name, version, licence, problem="GPL or AGPL")
    reason = REVIEWED.get(name) or next((why for start, why in REVIEWED_PREFIXES.items() if name.startswith(start)), "")
    if reason:
        return Finding(name, version, licence or "not stated", note=reason)
    if any(all(ALLOWED.search(part) for part in choice) for choice in choices):
        return Finding(name, version, licence)
    if any(all(ALLOWED.search(part) or LESSER.search(part) for part in choice) for choice in choices):
        return Finding(name, version, licence, note="LGPL: used, not changed")
    return Finding(name, version, licence or "not stated", problem="unknown: read it, then list it in REVIEWED")


def table(findings: list[Finding]) -> str:
    """Return the findings as aligned text, a line each."""
    width = max(len(f"{finding.name} {finding.version}") for finding in findings)
    lines = []
    for finding in findings:
        licence = finding.licence if len(finding.licence) <= 60 else finding.licence[:57] + "..."
        remark = f"✗ {finding.problem}" if finding.problem else finding.note
        lines.append(f"{finding.name + ' ' + finding.version:<{width}}  {licence:<60}  {remark}".rstrip())
    return "\n".join(lines)


def main(root: str = "ringlight") -> int:
    """Print the table; return 1 when a distribution may not stay or is not installed."""
    found, missing = closure(root)
    findings = [judge(name, package.version, stated_licence(package)) for name, package in sorted(found.items())]
    if findings:
        print(table(findings))
    for name in missing:
        print(f"{name}: expected it installed, got nothing; install {root} into this environment", file=sys.stderr)
    bad = [finding.name for finding in findings if finding.problem]
    if bad:
        print(f"licences: expected none to refuse, got {', '.join(bad)}; replace or review them", file=sys.stderr)
    return 1 if bad or missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
