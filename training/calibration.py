"""Logits → probabilities that mean what they say: one line per model, drawn towards a line that all models share.

Fitted on cross-fitted logits only: on the logits of a head's own training rows it would learn to trust them too much.
How far the result is from the truth is measured in :mod:`training.reliability`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from router_runtime.errors import DataError

Floats = npt.NDArray[np.float64]

PRIOR_LABELS = 50.0
MIN_SLOPE = 0.05
MAX_LOGIT = 30.0
_STEPS = 50
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class _Prior:
    """A Gaussian prior of slope and offset, worth :data:`PRIOR_LABELS` labels.

    Args:
        mean: [2] slope and offset.
        precision: [2], the Fisher information of that many labels at P = ½.
    """

    mean: Floats
    precision: Floats


def fit_calibration(
    logits: Floats, labels: Floats, weights: Floats | None = None, *, prior_labels: float = PRIOR_LABELS
) -> Floats:
    """Platt scaling per model (Platt 1999), shrunk to the one of all models: P(good) = sigmoid(a · logit + b).

    The shared line is itself shrunk to the identity, so that a handful of labels, or labels of one kind only, leave a
    finite and modest correction. A model with few labels gets almost the shared line; one with thousands its own.

    Args:
        logits: [n, M] cross-fitted logits; NaN where there is none.
        labels: [n, M] graded quality, 0..1; NaN where unknown.
        weights: [n, M] or [n, 1] label weights, ≥ 0; 1 by default.
        prior_labels: How many labels the shared line is worth for each model, > 0.

    Returns:
        [M + 1, 2] slope a ≥ :data:`MIN_SLOPE` and offset b of each model; the last row is the shared one, for models
        that were never seen.

    Raises:
        DataError: Where the shapes differ, or a label lies outside 0..1.
    """
    if logits.shape != labels.shape:
        raise DataError(f"calibration got logits of shape {logits.shape} and labels of shape {labels.shape}")
    if np.any((labels < 0) | (labels > 1)):
        raise DataError("calibration got a label outside 0..1: rescale quality first")
    known = np.isfinite(logits) & np.isfinite(labels)
    mass = np.where(known, 1.0 if weights is None else weights, 0.0)
    z = np.clip(np.where(known, logits, 0.0), -MAX_LOGIT, MAX_LOGIT)
    y = np.where(known, labels, 0.0)
    total = float(mass.sum())
    spread = float((mass * z * z).sum()) / total if total > 0 else 1.0
    precision = prior_labels / 4.0 * np.array([max(spread, 1e-6), 1.0])
    shared = _fit_line(z.ravel(), y.ravel(), mass.ravel(), _Prior(np.array([1.0, 0.0]), precision))
    prior = _Prior(shared, precision)
    own = [_fit_line(z[:, m], y[:, m], mass[:, m], prior) for m in range(z.shape[1])]
    return np.stack([*own, shared])


def calibrated(logits: Floats, lines: Floats) -> Floats:
    """P(good) [n, M] of logits [n, M] under the first M rows of ``lines`` [≥ M, 2]."""
    slope, offset = lines[: logits.shape[1]].T
    return _sigmoid(slope * logits + offset)


def _fit_line(z: Floats, y: Floats, weight: Floats, prior: _Prior) -> Floats:
    """Slope and offset [2] of least penalised log loss, by Newton steps that are halved until the loss falls."""
    line = prior.mean.copy()
    loss = _loss(line, z, y, weight, prior)
    for _ in range(_STEPS):
        step = _newton_step(line, z, y, weight, prior)
        shorter = 1.0
        while (new := _loss(line - shorter * step, z, y, weight, prior)) > loss and shorter > 1e-6:
            shorter /= 2.0
        done = loss - new < _TOLERANCE * (1.0 + abs(loss))
        if new <= loss:
            line, loss = line - shorter * step, new
        if done:
            break
    return np.array([max(line[0], MIN_SLOPE), line[1]])


def _newton_step(line: Floats, z: Floats, y: Floats, weight: Floats, prior: _Prior) -> Floats:
    """Inverse Hessian times gradient of the penalised log loss."""
    p = _sigmoid(line[0] * z + line[1])
    error, curve = weight * (p - y), weight * p * (1.0 - p)
    gradient = np.array([error @ z, error.sum()]) + prior.precision * (line - prior.mean)
    cross = curve @ z
    hessian = np.array([[curve @ (z * z), cross], [cross, curve.sum()]]) + np.diag(prior.precision)
    step: Floats = np.linalg.solve(hessian, gradient)
    return step


def _loss(line: Floats, z: Floats, y: Floats, weight: Floats, prior: _Prior) -> float:
    """Penalised log loss; the label y counts as y good answers and 1 − y bad ones."""
    logit = line[0] * z + line[1]
    off = line - prior.mean
    return float(weight @ (np.logaddexp(0.0, logit) - y * logit) + 0.5 * (prior.precision * off * off).sum())


def _sigmoid(logit: Floats) -> Floats:
    """1 / (1 + e^−x) without overflow."""
    p: Floats = 0.5 * (1.0 + np.tanh(0.5 * logit))
    return p
