"""The catalogue of heads, which are fitted to frozen features in seconds."""

from __future__ import annotations

from ringlight.config.schema import Config
from ringlight.data.augment_config import has_augmentation
from ringlight.errors import ConfigError
from ringlight.registry import Catalogue
from ringlight.training.head_problem import Head
from ringlight.training.heads_linear import LinearHead, LogisticHead, RidgeHead
from ringlight.training.heads_near import CosinePrototypes, NearestNeighbors
from ringlight.training.imbalance import METHODS, Method

HEADS: Catalogue[Head] = Catalogue(
    "head",
    {
        "logistic": LogisticHead,
        "linear": LinearHead,
        "ridge": RidgeHead,
        "cosine": CosinePrototypes,
        "knn": NearestNeighbors,
    },
    entry_point_group="ringlight.heads",
)
"""What `head.name` may be."""

LINEAR = ("logistic", "linear", "ridge")
"""The heads that are one linear layer, which can be trained further."""

DEAF = ("ridge", "knn")
"""The heads that the loss has no part in, but for the scale of the scores: a method that is a loss changes nothing."""


def head_problems(config: Config) -> list[str]:
    """Return what is wrong with mode, method and head together, one line each; empty when all is well."""
    lines = HEADS.problems(config.head.name, config.head.params())
    if not lines:
        try:
            HEADS.build(config.head.name, **config.head.params())
        except ConfigError as error:
            lines = [str(error)]
    if config.training.frozen_views and not has_augmentation(config.augmentation):
        views = ConfigError(
            "an augmentation, which the views differ by", got="none", where="training.frozen_views",
            fix="set augmentation=light, or training.frozen_views=0",
        )  # fmt: skip
        lines.append(str(views))
    name, method = config.head.name, METHODS.get(config.imbalance.method, Method())
    if config.training.mode == "frozen" and name in DEAF and method.loss and method.after is None:
        deaf = ConfigError(
            f"a head that is fitted by the loss, for imbalance.method={config.imbalance.method}", got=name,
            where="head.name", fix="set head.name=logistic, or imbalance.method=post_hoc",
        )  # fmt: skip
        lines.append(str(deaf))
    if name not in HEADS or name in LINEAR:
        return lines
    if config.training.mode == "head_then_finetune":
        wanted, fix = "a head that can be trained further", "set head.name=logistic, or training.mode=frozen"
    elif config.imbalance.method == "crt":
        wanted, fix = "a linear head for imbalance.method=crt", "set head.name=logistic"
    else:
        return lines
    return [*lines, str(ConfigError(f"{wanted} ({', '.join(LINEAR)})", got=name, where="head.name", fix=fix))]
