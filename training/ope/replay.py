"""What a bundle would have chosen on logged decisions, through the policy that serves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from router_runtime.policy import action_dist, doubt, scores
from router_runtime.policy_settings import PolicySettings
from training.feature_matrix import RepeatedFeatures
from training.ope.decisions import LoggedDecisions
from training.served import Served

Floats = npt.NDArray[np.float64]
UNKNOWN_PRIOR = 0.5
_CHUNK = 4096


def predicted_quality(served: Served, log: LoggedDecisions, rows: npt.NDArray[np.bool_] | None = None) -> Floats:
    """q̂ of the bundle for every decision and model of the log, float64[n, A]; a request that comes again costs nothing.

    Models that the bundle does not know take the mean of what the logging router predicted for them as their prior,
    0.5 where it said nothing.

    Args:
        served: The bundle's scorer and models.
        log: The decisions.
        rows: The only ones wanted, bool[N]; None = all.
    """
    known = {name: index for index, name in enumerate(served.models)}
    models = np.array([known.get(name, len(known)) for name in log.models], dtype=np.int64)
    descriptor = np.zeros((len(models), 1 + len(served.scorer.domains)), dtype=np.float32)
    said = np.isfinite(log.predicted_quality)
    total = np.where(said, log.predicted_quality, 0.0).sum(axis=0)
    descriptor[:, 0] = np.where(said.any(axis=0), total / np.maximum(said.sum(axis=0), 1), UNKNOWN_PRIOR)
    wanted = np.arange(len(log.features)) if rows is None else np.flatnonzero(rows)
    code = log.features.code[wanted] if isinstance(log.features, RepeatedFeatures) else wanted
    _, first, again = np.unique(code, return_index=True, return_inverse=True)
    found = [served.scorer.predict(log.features[row], models, descriptor).quality for row in wanted[first].tolist()]
    return np.array(found, dtype=np.float64).reshape(len(first), len(models))[again]


def replay(
    log: LoggedDecisions, quality: Floats, settings: PolicySettings, evidence: npt.NDArray[np.float64] | None = None
) -> Floats:
    """π_e: the action distribution over the models that were eligible, float64[n, A].

    The function that serves is called; health and latency are those of a calm day, costs those that the log expected.

    Args:
        log: The decisions.
        quality: The policy's predictions, float64[n, A].
        settings: How it chooses.
        evidence: Labels that the predictions rest on by model [A], for thompson; by default those that the log holds.
    """
    cost = _filled(log.predicted_cost)
    score = scores(quality, cost, None, log.eligible, None, settings)
    if settings.exploration != "thompson":
        return action_dist(score, log.eligible, settings, quality)
    if evidence is None:
        evidence = np.bincount(log.action[np.isfinite(log.quality)], minlength=len(log.models)).astype(np.float64)
    dist = np.empty_like(score)
    for start in range(0, len(score), _CHUNK):
        rows = slice(start, start + _CHUNK)
        belief = doubt(score[rows], quality[rows], cost[rows], None, settings, None, evidence)
        dist[rows] = action_dist(score[rows], log.eligible[rows], settings, quality[rows], belief)
    return dist


def _filled(cost: Floats) -> Floats:
    """Unknown costs take the model's mean; a model without any takes the dearest, so that it is not taken for free."""
    said = np.isfinite(cost)
    mean = np.where(said, cost, 0.0).sum(axis=0) / np.maximum(said.sum(axis=0), 1)
    dearest = float(mean.max(initial=0.0))
    return np.where(said, cost, np.where(said.any(axis=0), mean, dearest))
