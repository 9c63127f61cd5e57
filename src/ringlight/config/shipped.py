"""The configuration groups that ship with the package: one folder a section in `configs/`, and `configs/recipe`."""

from __future__ import annotations

from pathlib import Path

CONFIGS = Path(__file__).parents[1] / "configs"


def group_names(section: str) -> list[str]:
    """Return the group files of a section (of `recipe`: the recipes), sorted.

    Examples:
        >>> "focal_loss" in group_names("loss"), group_names("experiment")
        (True, [])
    """
    return sorted(path.stem for path in (CONFIGS / section).glob("*.yaml"))


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes, sorted.

    Examples:
        >>> "severstal" in recipe_names()
        True
    """
    return group_names("recipe")


def describe_recipes() -> dict[str, str]:
    """Return every recipe with the sentence that its file begins with.

    Examples:
        >>> describe_recipes()["folder"]
        'Any folder of images, one sub-folder a class: set data.root.'
    """
    return {name: _first_comment(CONFIGS / "recipe" / f"{name}.yaml") for name in recipe_names()}


def _first_comment(path: Path) -> str:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return next((line[1:].strip() for line in lines if line.startswith("#") and "@package" not in line), "")
