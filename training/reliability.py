"""How far predicted probabilities are from what happened."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.sweep import Floats, Predicted, Truth

BINS = 15
DRAWS = 20


def bins(predicted: Floats, observed: Floats, n_bins: int = BINS) -> tuple[Floats, Floats, Floats]:
    """Mean prediction, mean outcome and count of equal-width bins, each [n_bins]; empty bins hold NaN means."""
    place = np.clip((predicted * n_bins).astype(np.intp), 0, n_bins - 1)
    counts = np.bincount(place, minlength=n_bins).astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean_predicted = np.bincount(place, weights=predicted, minlength=n_bins) / counts
        mean_observed = np.bincount(place, weights=observed, minlength=n_bins) / counts
    return mean_predicted, mean_observed, counts


def expected_calibration_error(predicted: Floats, observed: Floats, n_bins: int = BINS) -> float:
    """ECE = Σ_b n_b/n · |mean outcome − mean prediction| over equal-width bins (Guo et al. 2017, arXiv:1706.04599).

    Args:
        predicted: [n] probabilities, 0..1.
        observed: [n] outcomes, 0..1.
        n_bins: Number of bins.
    """
    mean_predicted, mean_observed, counts = bins(predicted, observed, n_bins)
    filled = counts > 0
    gaps = np.abs(mean_observed[filled] - mean_predicted[filled])
    return float((gaps * counts[filled]).sum() / counts.sum())


def noise_of_worst_head(predicted: Floats, observed: Floats, seed: int = 0) -> float:
    """The ECE that the worst head would show on as many prompts were every prediction exactly right.

    Outcomes are drawn that are 0 or 1 with the predicted chance; graded ones are drawn nearer to the prediction, by the
    share of a 0/1 outcome's variance that they have, so that their smaller noise is not overrated.

    Args:
        predicted: [n, M] probabilities, 0..1.
        observed: [n, M] outcomes, 0..1; only their spread is used.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    spread = np.square(observed - predicted).mean(axis=0) / np.maximum((predicted * (1 - predicted)).mean(axis=0), 1e-9)
    shrink = np.sqrt(np.minimum(spread, 1.0))
    worst = []
    for _ in range(DRAWS):
        drawn = predicted + shrink * ((rng.random(predicted.shape) < predicted) - predicted)
        worst.append(max(expected_calibration_error(p, y) for p, y in zip(predicted.T, drawn.T, strict=True)))
    return float(np.mean(worst))


def calibration_report(truth: Truth, predicted: Predicted) -> dict[str, Any]:
    """ECE of every model's head, the worst and the mean of them, and the Brier score over all.

    ``ece_max_if_exact`` is what :func:`noise_of_worst_head` finds; an ``ece_max`` near it tells of no fault.
    """
    heads = {
        name: round(expected_calibration_error(predicted.quality[:, m], truth.quality[:, m]), 6)
        for m, name in enumerate(truth.models)
    }
    return {
        "ece": heads,
        "ece_max": max(heads.values()),
        "ece_max_if_exact": round(noise_of_worst_head(predicted.quality, truth.quality), 6),
        "ece_mean": round(sum(heads.values()) / len(heads), 6),
        "brier": round(float(np.square(predicted.quality - truth.quality).mean()), 6),
        "labels_per_head": len(truth.quality),
        "bins": BINS,
    }
