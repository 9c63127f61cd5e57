"""The scale and offset of logits under which targets are most likely: one convex problem behind every calibration.

Shapes: N records, K classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ringlight.types import Task

FloatArray = npt.NDArray[np.float64]

SCALES = (0.01, 100.0)
"""Bounds of a scale: a temperature from 100 to 0.01, positive."""


def most_likely(logits: FloatArray, targets: FloatArray, task: Task, *, shared: bool) -> tuple[FloatArray, FloatArray]:
    """Minimise the mean negative log-likelihood over scale * z + offset; deterministic, starting from the identity.

    Args:
        logits: (N, K).
        targets: (N, K), from 0 to 1; rows sum to 1 when multi-class.
        task: soft-max (multi-class) or a sigmoid per label.
        shared: one scale for all classes and no offset; else a scale and an offset per class.

    Returns:
        Scale, (1,) or (K,), and offset, (0,) or (K,).
    """
    from scipy.optimize import minimize

    size = logits.shape[1]
    if task == "multilabel" and not shared and size > 1:  # labels do not feel each other: small problems, each quick
        columns = [np.ascontiguousarray(part.T)[..., None] for part in (logits, targets)]
        found = [most_likely(score, target, task, shared=False) for score, target in zip(*columns, strict=True)]
        return np.concatenate([scale for scale, _ in found]), np.concatenate([offset for _, offset in found])

    def objective(values: FloatArray) -> tuple[float, FloatArray]:
        moved = logits * values if shared else logits * values[:size] + values[size:]
        loss, slope = likelihood(moved, targets, task)
        steps = (slope * logits).sum(axis=0)
        return loss, np.array([steps.sum()]) if shared else np.concatenate([steps, slope.sum(axis=0)])

    start = np.ones(1) if shared else np.concatenate([np.ones(size), np.zeros(size)])
    bounds = [SCALES] if shared else [SCALES] * size + [(None, None)] * size
    options = {"maxiter": 1000, "maxfun": 20_000, "ftol": 1e-14, "gtol": 1e-9, "maxcor": 30}
    best = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return (best, np.zeros(0)) if shared else (best[:size], best[size:])


def likelihood(logits: FloatArray, targets: FloatArray, task: Task) -> tuple[float, FloatArray]:
    """Return the mean negative log-likelihood and its slope in the logits (N, K).

    Examples:
        >>> loss, slope = likelihood(np.zeros((1, 2)), np.array([[1.0, 0.0]]), "multiclass")
        >>> round(loss, 4), slope.tolist()
        (0.6931, [[-0.5, 0.5]])
    """
    if task == "multilabel":
        loss = np.logaddexp(0.0, logits) - targets * logits
        return float(loss.mean()), np.asarray((np.exp(-np.logaddexp(0.0, -logits)) - targets) / logits.size)
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-(targets * logs).sum() / len(logits)), np.asarray((np.exp(logs) - targets) / len(logits))
