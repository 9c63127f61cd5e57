"""Heads that go by nearness: to the mean of each class, or to single training records."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.models.heads import CosineHead, NeighborsHead
from ringlight.training.head_problem import Auto, Fitted, Problem, held_out_losses, number_of, out_of_fold, strength_of
from ringlight.training.linear_fit import Layer, record_losses

NEIGHBORS = (1, 3, 5, 9, 15, 25)
"""What `num_neighbors: auto` chooses from."""


class CosinePrototypes:
    """The mean direction of each class; scores are cosines, scaled to fit the configured loss.

    Multi-class: the prototype of a class is the mean of its records' unit features. Multi-label: that of the records
    with the label minus that of the ones without. Scale and bias are fitted to held-out cosines where there are folds.
    """

    def fit(self, problem: Problem) -> Fitted:
        """Fit prototypes, then scale and bias."""
        cosines = out_of_fold(problem, lambda part: {0.0: self._prototypes(part)})
        head = self._prototypes(problem).module
        if not isinstance(head, CosineHead):
            raise ValueError("prototypes make a cosine head")
        held = problem.held()
        judged = problem.judged() if cosines else problem
        told = cosines[0.0][held] if cosines else head.cosines(problem.features).detach()
        layer = _diagonal(judged, told)
        with torch.no_grad():
            head.scale.copy_(layer.weight.squeeze(1))
            head.bias.copy_(layer.bias)
        held_out = {0.0: judged.loss(told * head.scale.detach() + head.bias.detach())} if cosines else {}
        return Fitted(module=head, spec={"name": "cosine"}, chosen=0.0, held_out=held_out)

    def _prototypes(self, problem: Problem) -> Fitted:
        unit_nd, truth_nk = F.normalize(problem.features, dim=1), problem.truth()
        prototypes_kd = _means(unit_nd, truth_nk, problem.weights)
        if problem.task == "multilabel":
            prototypes_kd = prototypes_kd - _means(unit_nd, 1 - truth_nk, problem.weights)
        head = CosineHead(problem.features.shape[1], problem.num_classes)
        with torch.no_grad():
            head.weight.copy_(F.normalize(prototypes_kd, dim=1))
        return Fitted(module=head, spec={"name": "cosine"}, chosen=0.0)


class NearestNeighbors:
    """The labels of the most similar training records vote; the model then carries their features.

    Args:
        num_neighbors: how many vote; auto compares six numbers on grouped folds.
        temperature: how fast a vote fades with the cosine, above 0; Wu et al. 2018 use 0.07.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(self, *, num_neighbors: int | Auto = "auto", temperature: float = 0.07) -> None:
        self.num_neighbors = (
            None if num_neighbors == "auto" else int(strength_of(num_neighbors, "num_neighbors", 1) or 1)
        )
        self.temperature = number_of(temperature, "temperature", 1e-3)

    def fit(self, problem: Problem) -> Fitted:
        """Choose the number, then keep all records."""
        numbers = NEIGHBORS if self.num_neighbors is None else (int(self.num_neighbors),)
        held_out = {}
        if self.num_neighbors is None and problem.folds:
            held_out = held_out_losses(problem, lambda part: {float(k): self._keep(part, k) for k in numbers})
        chosen = min(held_out, key=held_out.__getitem__) if held_out else float(self.num_neighbors or 5)
        kept = self._keep(problem, int(chosen))
        return Fitted(module=kept.module, spec=kept.spec, chosen=chosen, held_out=held_out)

    def _keep(self, problem: Problem, num_neighbors: int) -> Fitted:
        values: dict[str, Any] = {
            "num_records": len(problem.features),
            "num_neighbors": num_neighbors,
            "temperature": self.temperature,
            "task": problem.task,
        }
        head = NeighborsHead(problem.features.shape[1], problem.num_classes, **values)
        head.features.copy_(F.normalize(problem.features, dim=1))
        head.votes.copy_(problem.truth())
        return Fitted(module=head, spec={"name": "knn", **values}, chosen=num_neighbors)


def _means(unit_nd: Tensor, members_nk: Tensor, weights_n: Tensor | None) -> Tensor:
    """Return the weighted mean (K, D) of each class's members; zero where it has none."""
    shares_nk = members_nk if weights_n is None else members_nk * weights_n.float().unsqueeze(1)
    # Divided first: a sum of tiny weights must not vanish in the division.
    return (shares_nk / shares_nk.sum(0).clamp(min=torch.finfo(torch.float32).tiny)).T @ unit_nd


def _diagonal(problem: Problem, cosines_nk: Tensor) -> Layer:
    """Fit logit_k = scale_k cosine_k + bias_k: as one weight a class, shared by construction."""
    scale = torch.full((problem.num_classes,), 10.0, requires_grad=True)
    bias = torch.zeros(problem.num_classes, requires_grad=True)
    weights_n = torch.ones(len(cosines_nk)) if problem.weights is None else problem.weights.float()
    optimizer = torch.optim.LBFGS([scale, bias], max_iter=100, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        losses_n = record_losses(problem.criterion, cosines_nk * scale + bias, problem.targets)
        value = (weights_n * losses_n).sum() / weights_n.sum() + 1e-6 * (scale * scale).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(objective)  # type: ignore[no-untyped-call]
    return Layer(scale.detach().unsqueeze(1), bias.detach())
