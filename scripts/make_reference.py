"""Write the reference pages (`make docs`): configuration.md from the schema, parts.md from the catalogues."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from ringlight.config.reference import reference_page
from ringlight.data import SOURCES
from ringlight.data.augmentations import AUGMENTATIONS
from ringlight.files import write_text
from ringlight.losses import CONTRASTIVE, LOSSES
from ringlight.models import MARGINS, MODELS, describe_models
from ringlight.optim import OPTIMIZERS, SCHEDULERS
from ringlight.registry import Catalogue
from ringlight.training.mixes import MIXES

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
CATALOGUES: tuple[tuple[str, Catalogue[Any], str], ...] = (
    ("Sources", SOURCES, "`data.source`; parameters are keys of `data`, beside `data.root`."),
    (
        "Augmentations",
        AUGMENTATIONS,
        "Keys of `augmentation`: `null` or `false` is off, `true` on, a number the probability, a mapping parameters.",
    ),
    (
        "Models",
        MODELS,
        "`model.name`; parameters are keys of `model`. Every timm classifier is a model of images, too, by its timm "
        "name (`resnet18`, `efficientnet_b0`, `convnext_tiny.fb_in22k`, ...).",
    ),
    (
        "Mixes",
        MIXES,
        "`mix.name`; parameters are keys of `mix`. `augmentation.mixup` is another spelling of `mix=mixup`.",
    ),
    ("Losses", LOSSES, "`loss.name`; parameters are keys of `loss`."),
    ("Contrastive losses", CONTRASTIVE, "Losses of embeddings and labels, before there is a classifier."),
    ("Margin heads", MARGINS, "Classifiers whose true class has to win by a margin in training."),
    ("Optimizers", OPTIMIZERS, "`optimizer.name`; parameters are keys of `optimizer`, beside `lr` and `weight_decay`."),
    ("Schedules", SCHEDULERS, "`scheduler.name`; parameters are keys of `scheduler`, beside `warmup_epochs`."),
)
# Keys every part of the family shares: they stand in configuration.md.
SHARED = {"data": {"root", "task"}, "model": {"num_classes", "in_chans", "drop_rate", "pretrained"}}


def parts_page() -> str:
    """Return the page that lists every part of every catalogue with its parameters and defaults."""
    lines = [
        "# Parts",
        "",
        "Made from the catalogues by `make docs`. What a configuration may name, and the parameters each part takes;",
        "an unknown name or parameter is refused with the nearest known one. Other packages add parts through entry",
        "points (`ringlight.models`, `ringlight.losses`, ...).",
    ]
    for title, catalogue, how in CATALOGUES:
        lines += ["", f"## {title}", "", how]
        if catalogue is MODELS:
            lines += _model_sizes()
        for name in catalogue:
            lines += ["", f"### {name}", "", _summary(catalogue, name), *_parameters(catalogue, name)]
    return "\n".join(lines) + "\n"


def _model_sizes() -> list[str]:
    rows = [
        f"| `{name}` | {facts.takes} | {'fitted' if facts.num_parameters is None else f'{facts.num_parameters:,}'} |"
        for name, facts in describe_models(in_chans=9, length=1024, num_classes=4).items()
    ]
    return [
        "",
        "Parameters for four classes and, where a model takes windows, nine channels of 1,024 steps:",
        "",
        "| model | takes | parameters |",
        "|---|---|---|",
        *rows,
    ]


def _summary(catalogue: Catalogue[Any], name: str) -> str:
    text = inspect.getdoc(catalogue.factory(name)) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _parameters(catalogue: Catalogue[Any], name: str) -> list[str]:
    shared = SHARED.get(catalogue.family, set())
    rows = [
        f"| `{parameter.name}` | {parameter.annotation.replace('|', 'or')} | "
        + ("required |" if parameter.required else f"`{parameter.default!r}` |")
        for parameter in catalogue.parameters(name)
        if parameter.name not in shared
    ]
    return ["", "| parameter | type | default |", "|---|---|---|", *rows] if rows else []


def main() -> None:
    for name, text in (("configuration.md", reference_page()), ("parts.md", parts_page())):
        write_text(FOLDER / name, text)
        print(f"wrote {FOLDER / name}")


if __name__ == "__main__":
    main()
