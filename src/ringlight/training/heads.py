"""The catalogue of heads, which are fitted to frozen features in seconds."""

from __future__ import annotations

from ringlight.registry import Catalogue
from ringlight.training.head_problem import Head
from ringlight.training.heads_linear import LinearHead, LogisticHead, RidgeHead
from ringlight.training.heads_near import CosinePrototypes, NearestNeighbors

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
