"""Thompson sampling as a distribution: the probability that each candidate is the best one, by quadrature.

The quality of a candidate is taken to be normal around its prediction; sampling once from all of them and taking the
best draws each candidate with the probability that it is the best (Thompson 1933). That probability is computed here,
not sampled, and the draw uses it: the logged propensity is exact whatever the quadrature's own error (below .01).

Pure arrays: candidates stand on the last axis, leading axes broadcast.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LABELS_PER_NEIGHBOUR = 100.0
"""So many labels of a model on all kinds of prompts are taken to say as much of one prompt as one label on it."""
_CELLS = 128
_WIDTH = 6.0  # standard deviations on either side
_LEAST = 1e-9


class Doubt(NamedTuple):
    """What the policy would score, and how sure it is.

    Args:
        mean: float64 [..., C], the score, as far as it moves with quality.
        sd: float64 [..., C], its standard deviation.
        above: float64 [..., C], the score of one whose ``mean`` reaches ``target``; None where scores are linear.
        target: See ``above``.
    """

    mean: Floats
    sd: Floats
    above: Floats | None = None
    target: float = np.inf


def posterior_sd(quality: npt.NDArray[Any], evidence: npt.NDArray[Any]) -> Floats:
    """Standard deviation of a candidate's quality on one prompt: √(q (1 − q) / (1 + labels / 100)), float64 [..., C].

    Args:
        quality: [..., C] predicted P(good answer), 0..1.
        evidence: [..., C] labels that the prediction rests on; 0 for a model that the bundle never saw.
    """
    spread = np.clip(quality * (1.0 - quality), 0.0, 0.25) / (1.0 + evidence / LABELS_PER_NEIGHBOUR)
    return np.asarray(np.sqrt(spread), dtype=np.float64)


def best_shares(doubt: Doubt, allowed: Bools) -> Floats:
    """P(candidate scores best) among the ``allowed`` [..., C]; sums to 1, or to 0 where none is allowed."""
    sd = np.maximum(doubt.sd, _LEAST)
    # Nobody who scores below every end of the surest one's range is the best: the cells are for those who may be.
    low = np.max(np.where(allowed, doubt.mean - _WIDTH * sd, -np.inf), axis=-1, keepdims=True)
    high = np.max(np.where(allowed, doubt.mean + _WIDTH * sd, -np.inf), axis=-1, keepdims=True)
    low, high = (np.where(np.isfinite(edge), edge, 0.0) for edge in (low, high))
    if doubt.above is not None:
        high = np.minimum(high, doubt.target)
        low = np.minimum(low, high)
    edges = low + (high - low) * np.linspace(0.0, 1.0, _CELLS + 1)
    mean = np.where(allowed, doubt.mean, 0.0)
    cdf = normal_cdf((edges[..., None, :] - mean[..., None]) / sd[..., None])
    if doubt.above is not None:
        cdf = np.concatenate((cdf, _atoms(doubt.above, cdf[..., -1], allowed)), axis=-1)
    return _shares(cdf, allowed)


def _atoms(above: Floats, below: Floats, allowed: Bools) -> Floats:
    """P(score ≤ each fixed score) [..., C, C], these ascending; ``below`` [..., C] is P(target not reached)."""
    steps = np.sort(np.where(allowed, above, np.min(above, axis=-1, keepdims=True)), axis=-1)
    reached = above[..., :, None] <= steps[..., None, :]
    return np.asarray(below[..., None] + (1.0 - below[..., None]) * reached)


def _shares(cdf: Floats, allowed: Bools) -> Floats:
    """Σ over cells of P(candidate in the cell) · P(all others below), others in the same cell counted half."""
    mass = np.diff(cdf, axis=-1) * allowed[..., None]
    middle = 0.5 * (cdf[..., 1:] + cdf[..., :-1])
    logs = np.log(np.maximum(np.where(allowed[..., None], middle, 1.0), 1e-300))
    share = (mass * np.exp(logs.sum(axis=-2, keepdims=True) - logs)).sum(axis=-1)
    total = share.sum(axis=-1, keepdims=True)
    return np.asarray(share / np.maximum(total, np.finfo(np.float64).tiny))


def normal_cdf(z: Floats) -> Floats:
    """Φ(z) to 1e-7 (Abramowitz and Stegun 1964, 7.1.26); numpy has none."""
    x = np.abs(z) * np.sqrt(0.5)
    t = 1.0 / (1.0 + 0.3275911 * x)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = 0.5 * poly * np.exp(-x * x)
    return np.asarray(np.where(z < 0, tail, 1.0 - tail))
