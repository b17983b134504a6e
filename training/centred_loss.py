"""Cross-entropy that cares most for what decides a route: how models differ on one prompt, not how hard the prompt is.

The candidates of a prompt share its difficulty, which moves all their labels at once and cancels out in a choice. Under
plain cross-entropy trees spend their leaves on it; with most of the shared part taken out of the gradient they spend
them on differences (measured in training/README.md). Difficulty itself is left to the linear stack and to what is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Objective = Callable[[Doubles, Any], tuple[Doubles, Doubles]]

CENTRING = 0.7
MIN_CURVATURE = 0.02


def centred_cross_entropy(prompts: npt.NDArray[np.intp], centring: float = CENTRING) -> Objective:
    """A LightGBM objective for graded labels on rows of (prompt, candidate).

    The gradient of a row is w (p − y), less ``centring`` times its weighted mean over the rows of its prompt. A prompt
    with a single row, as in a log, keeps the whole gradient: there is nothing to compare it with.

    Args:
        prompts: intp [n], which prompt each row is of, ≥ 0.
        centring: Share of the shared part that is taken out, 0..1; 0 is plain cross-entropy.

    Returns:
        (raw scores [n], dataset) → gradient [n] and curvature [n].
    """
    rows_per_prompt = np.bincount(prompts)
    share = np.where(rows_per_prompt[prompts] > 1, centring, 0.0)

    def objective(raw: Doubles, data: Any) -> tuple[Doubles, Doubles]:
        label, weight = np.asarray(data.get_label(), dtype=np.float64), data.get_weight()
        mass = np.ones(len(label)) if weight is None else np.asarray(weight, dtype=np.float64)
        p = 0.5 * (1.0 + np.tanh(0.5 * raw))
        error = p - label
        total = np.maximum(np.bincount(prompts, weights=mass), 1e-12)
        mean = np.bincount(prompts, weights=mass * error) / total
        return mass * (error - share * mean[prompts]), mass * np.maximum(p * (1.0 - p), MIN_CURVATURE)

    return objective


def centred_error(raw: Doubles, label: Doubles, prompts: npt.NDArray[np.intp], centring: float = CENTRING) -> float:
    """Mean squared error of probabilities, with ``centring`` of what the rows of a prompt share taken out.

    Args:
        raw: Logits [n].
        label: Graded labels [n].
        prompts: intp [n], which prompt each row is of, ≥ 0.
        centring: As in :func:`centred_cross_entropy`.
    """
    error = 0.5 * (1.0 + np.tanh(0.5 * raw)) - label
    rows_per_prompt = np.bincount(prompts)
    mean = np.bincount(prompts, weights=error) / np.maximum(rows_per_prompt, 1)
    share = np.where(rows_per_prompt > 1, centring, 0.0)
    return float(np.mean((error - (share * mean)[prompts]) ** 2))
