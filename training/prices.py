"""Prices that logged costs imply."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

UNKNOWN = (float("nan"), float("nan"))


def implied_prices(outcomes: pd.DataFrame, models: Sequence[str]) -> dict[str, tuple[float, float]]:
    """USD per million input and output tokens by model, from least squares of cost on tokens.

    NaN where a model's costs do not determine two prices of at least 0.

    Args:
        outcomes: ``model, input_tokens, output_tokens, cost_usd``.
        models: Which models.
    """
    parts = dict(list(outcomes.groupby("model")[["input_tokens", "output_tokens", "cost_usd"]]))
    return {model: _implied(parts[model]) if model in parts else UNKNOWN for model in models}


def _implied(answers: pd.DataFrame) -> tuple[float, float]:
    known = answers.dropna().to_numpy(dtype=np.float64)
    known = known[np.isfinite(known).all(axis=1)]
    if len(known) < 2:
        return UNKNOWN
    solution, _, rank, _ = np.linalg.lstsq(known[:, :2], known[:, 2], rcond=None)
    if rank < 2 or (solution < 0).any() or not np.isfinite(solution).all():
        return UNKNOWN
    return float(solution[0] * 1e6), float(solution[1] * 1e6)
