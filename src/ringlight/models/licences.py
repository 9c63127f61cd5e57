"""Under which licence the weights lie that a model started from, as far as somebody wrote it down."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ringlight.models.timm_family import pretrained_cfg
from ringlight.models.weights import PACKAGES, WeightsChoice

KEYS = ("licence", "license")
"""What a safetensors file calls it in its metadata."""
SAYS_NOTHING = ("", "unknown", "none")


def licence_of(weights: WeightsChoice, architecture: str | None) -> str | None:
    """Return the licence of the weights a model started from; None for random ones, and where nobody says.

    A package of weights says it in its metadata or in its licence's first line, a safetensors file in the `license` of
    its metadata, timm for the weights of a hub. Of a model of several parts each part's is told, unless they are one.

    Args:
        weights: what was chosen.
        architecture: the timm name whose weights they are, where they are a hub's.
    """
    if weights.parts:
        return _of_parts({name: licence_of(choice, name) for name, choice in weights.parts})
    if weights.source == "package":
        for package in PACKAGES:
            if package.find() == weights.path:
                return _of_distribution(package.distribution)
    if weights.source == "folder" and weights.path is not None:
        return _of_file(weights.path)
    if weights.source == "hub" and architecture is not None:
        return _told(pretrained_cfg(architecture).get("license"))
    return None


def _of_parts(licences: Mapping[str, str | None]) -> str | None:
    found = set(licences.values())
    if len(found) == 1:
        return found.pop()
    return "; ".join(f"{name}: {licence or 'not known'}" for name, licence in licences.items())


def _of_distribution(name: str) -> str | None:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    values = [found.metadata[key] for key in ("License-Expression", "License") if key in found.metadata]
    return next((told for told in map(_told, values) if told is not None), None) or _first_line(found)


def _first_line(found: Distribution) -> str | None:
    text = found.read_text("LICENSE") or found.read_text("licenses/LICENSE") or ""
    return next((_told(line.strip()) for line in text.splitlines() if line.strip()), None)


def _of_file(path: Path) -> str | None:
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError):  # it was read once; that it is gone by now says nothing of the model
        return None
    return next((_told(metadata[key]) for key in KEYS if key in metadata), None)


def _told(value: object) -> str | None:
    text = value.strip() if isinstance(value, str) else ""
    return None if text.lower() in SAYS_NOTHING else text
