"""Where no baseline arm ran: what one fixed model would have cost and earned, by off-policy evaluation, or why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.errors import ConfigError, NotSupported
from training.evaluate_log import as_json
from training.ope.compare import compare
from training.ope.decisions import label_weights
from training.ope.estimators import BanditLog
from training.ope.support import check_support, require_support
from training.report.arms import MIN_SUBJECTS
from training.report.reading import ReportLog

Floats = npt.NDArray[np.float64]
MAX_ROWS = 200_000
"""Decisions that the estimate looks at; whole users or sessions are left out beyond it."""


def baseline_model(log: ReportLog, wanted: str | None) -> str:
    """The model to compare with: the one asked for, else the dearest by predicted cost that is nearly always eligible.

    Raises:
        ConfigError: Where the log knows no model ``wanted``.
    """
    if wanted is not None:
        if wanted not in log.models:
            raise ConfigError(f"--baseline is {wanted!r}, the log knows {', '.join(log.models)}")
        return wanted
    known = np.isfinite(log.predicted_cost)
    cost = np.nan_to_num(log.predicted_cost).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    usual = known.mean(axis=0) >= 0.5
    return log.models[int(np.where(usual, cost, -1.0).argmax())]


def estimated_baseline(log: ReportLog, model: str) -> dict[str, Any]:
    """The logging policy against always ``model``: cost, quality and their differences; JSON-ready.

    The reward model is what the router predicted before each answer, so that no row's outcome enters its own.

    Returns:
        ``model, cost_per_1000, satisfaction`` (each ``routed, baseline, difference``), ``ess``; or ``refused``.
    """
    rows = _sample(log)
    dist = log.action_dist[rows]
    always = np.zeros_like(dist)
    always[:, log.models.index(model)] = 1.0
    quality = _bandit(log, rows, log.reward[rows])
    if quality is None:
        return {"model": model, "refused": "no decision of the log has feedback"}
    subjects = len(np.unique(log.subject[rows][np.isfinite(log.reward[rows])]))
    if subjects < MIN_SUBJECTS:
        why = f"its feedback is from {subjects} users or sessions; {MIN_SUBJECTS} are the least"
        return {"model": model, "refused": f"the log cannot support this evaluation: {why}"}
    found = check_support(always, dist, quality)
    try:
        require_support(found, always, dist, quality)
    except NotSupported as refusal:
        return {"model": model, "refused": str(refusal)}
    satisfaction = _pair(dist, always, quality, log.predicted_quality[rows], share=True)
    cost = _bandit(log, rows, log.column("cost")[rows])
    spent = None if cost is None else _pair(dist, always, cost, log.predicted_cost[rows], unit=1000.0)
    return {
        "model": model,
        "satisfaction": satisfaction,
        "cost_per_1000": spent,
        "ess": round(found[0].ess, 1),
        "n": int(rows.sum()),
    }


def _sample(log: ReportLog) -> npt.NDArray[np.bool_]:
    parts = -(-len(log) // MAX_ROWS)
    return np.asarray(log.subject % parts == 0)


def _bandit(log: ReportLog, rows: npt.NDArray[np.bool_], reward: Floats) -> BanditLog | None:
    known = np.isfinite(reward)
    if not known.any():
        return None
    action = log.action[rows]
    weights = label_weights(known, action, len(log.models))
    return BanditLog(action, reward, log.column("pscore")[rows], log.subject[rows], weights)


def _pair(
    dist: Floats, always: Floats, log: BanditLog, prior: Floats, *, unit: float = 1.0, share: bool = False
) -> dict[str, Any]:
    found = compare(dist, always, log, np.nan_to_num(prior), share=share)
    parts = {"routed": found.first, "baseline": found.second, "difference": found.difference}
    return {name: _scaled(as_json(one), unit) for name, one in parts.items()}


def _scaled(numbers: dict[str, float | int | None], unit: float) -> dict[str, Any]:
    kept = {"value": numbers["value"], "low": numbers["ci_low"], "high": numbers["ci_high"]}
    scaled = {name: None if number is None else number * unit for name, number in kept.items()}
    return {**scaled, "n": numbers["n"]}
