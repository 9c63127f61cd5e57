"""How much each member of an ensemble counts, fitted to scores of records that no member was trained on.

All problems are convex, so that there is one answer and it does not depend on where the search begins. Shapes: M
members, N records, K classes, O observations (a record; of several labels, a record's label).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name

from ringlight.models.ensemble import stacking_features
from ringlight.training.linear_fit import Layer, Standard, fit_layer, targets_tensor
from ringlight.types import Task

Floats = npt.NDArray[np.float64]

TOLERANCE = 1e-6
"""Nats an observation within which the log loss of the vote is the least there is."""
MAX_STEPS = 5000


COLDEST, HOTTEST = 0.02, 50.0
"""Between which temperatures are looked for."""


def fit_temperatures(logits_mnk: npt.ArrayLike, targets: npt.ArrayLike, task: Task) -> Floats:
    """Return the temperature (M,) of each member, by which its scores are divided to have the least log loss.

    The loss is convex in 1 / T. As in :mod:`ringlight.evaluation.calibration` what is true is no certainty: of N
    records the targets are (1 - e) truth + e / K with e = 1 / (N + 1) (of several labels e / 2), so that scores which
    separate a few records without a mistake are not taken for infinitely sure.

    Examples:
        >>> timid = [[0.1, 0.0], [0.0, 0.1], [0.0, 0.1], [0.1, 0.0]]
        >>> bool(fit_temperatures([timid], [0, 1, 1, 0], "multiclass")[0] < 0.1)
        True
    """
    from scipy.optimize import minimize_scalar

    logits, truth = torch.as_tensor(np.asarray(logits_mnk, np.float64)), torch.as_tensor(np.asarray(targets))
    num_classes, share = logits.shape[2], 1 / (logits.shape[1] + 1)
    if task == "multiclass":
        target_nk = (1 - share) * F.one_hot(truth.long(), num_classes).double() + share / num_classes
    else:
        target_nk = (1 - share) * truth.double() + share / 2

    def loss(log_temperature: float, scores_nk: Tensor) -> float:
        scaled = scores_nk / np.exp(log_temperature)
        if task == "multiclass":
            return float(F.cross_entropy(scaled, target_nk))
        return float(F.binary_cross_entropy_with_logits(scaled, target_nk))

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = [minimize_scalar(loss, bounds=bounds, args=(one,), method="bounded").x for one in logits]
    return np.asarray(np.exp(found))


def fit_votes(logits_mnk: npt.ArrayLike, targets: npt.ArrayLike, task: Task) -> Floats:
    """Return the weights (M,) on the simplex with the least log loss of the weighted mean of probabilities.

    With p_mo the probability that member m gives to what is true of observation o, it minimises
    L(w) = -mean_o log(sum_m w_m p_mo), which is convex. The step of expectation maximisation for the shares of a
    mixture (Dempster, Laird and Rubin 1977), w_m <- w_m g_m with g_m = mean_o(p_mo / sum_j w_j p_jo), stays on the
    simplex and never raises L; it begins with equal weights and stops when max_m g_m - 1, which bounds L(w) - min L
    from above, is below :data:`TOLERANCE`.

    Args:
        logits_mnk: raw scores of the members, (M, N, K).
        targets: class indices (N,), or a binary matrix (N, K).
        task: how scores become probabilities.

    Examples:
        >>> sure, noise = [[4.0, 0.0], [0.0, 4.0]], [[1.0, -1.0], [1.0, -1.0]]
        >>> fit_votes([sure, noise], [0, 1], "multiclass").round(4).tolist()
        [1.0, 0.0]
    """
    logs_mo = _true_log_probabilities(np.asarray(logits_mnk, np.float64), targets, task)
    # One factor for all members of an observation changes no step, and keeps the smallest from becoming 0.
    truth_om = np.exp(logs_mo - logs_mo.max(axis=0)).T
    weights = np.full(truth_om.shape[1], 1 / truth_om.shape[1])
    for _ in range(MAX_STEPS):
        gains = (truth_om / (truth_om @ weights)[:, None]).mean(axis=0)
        if gains.max() - 1 < TOLERANCE:
            break
        weights = weights * gains
    return np.asarray(weights / weights.sum())


def fit_stacking(logits_mnk: npt.ArrayLike, targets: npt.ArrayLike, task: Task, *, penalty: float) -> Layer:
    """Return the layer (M * K -> K) of the regression on the members' log probabilities.

    The mean log loss plus penalty / 2 ||weights||^2 over standardised inputs is minimised (:mod:`.linear_fit`): the
    multinomial logistic regression; of several labels, a logistic regression for each on the log odds of all. The
    arguments are those of :func:`fit_votes`.
    """
    features = stacking_features(torch.as_tensor(np.asarray(logits_mnk, np.float32)), task)
    standard = Standard.of(features)
    criterion: nn.Module = (
        nn.CrossEntropyLoss(reduction="none") if task == "multiclass" else nn.BCEWithLogitsLoss(reduction="none")
    )
    num_classes = np.shape(logits_mnk)[2]
    layer = fit_layer(standard.apply(features), targets_tensor(targets, task), criterion, num_classes, penalty=penalty)
    return layer.over_raw(standard)


def log_loss(logits_nk: npt.ArrayLike, targets: npt.ArrayLike, task: Task) -> float:
    """Return the mean log loss of raw scores (N, K), in nats; of several labels the mean over the labels."""
    logs = _true_log_probabilities(np.asarray(logits_nk, np.float64)[None], targets, task)
    return float(-logs.mean())


def _true_log_probabilities(logits_mnk: Floats, targets: npt.ArrayLike, task: Task) -> Floats:
    """Return the log of the probability each member gives to what is true, (M, O)."""
    logits, truth = torch.from_numpy(logits_mnk), np.asarray(targets)
    if task == "multiclass":
        logs = F.log_softmax(logits, dim=-1).numpy()
        return np.asarray(logs[:, np.arange(len(truth)), truth.astype(np.int64)])
    signs = torch.from_numpy(np.where(truth > 0, 1.0, -1.0))
    return np.asarray(F.logsigmoid(signs * logits).flatten(1).numpy())
