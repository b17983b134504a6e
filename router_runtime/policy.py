"""The policy: (predictions, prices, constraints, health, settings) → action distribution. Pure, and the only one.

Every function works on the last axis (the C candidates) and broadcasts over leading ones, so that the function that
serves one request [C] is the one that evaluates n logged requests [n, C]. Nothing here reads a clock, a file or a
random generator: :func:`draw` takes its seed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.errors import ConfigError
from router_runtime.policy_settings import PolicySettings
from router_runtime.thompson import Doubt, best_shares, posterior_sd

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

UNLISTED_WEIGHT = 0.01
"""Weight of a model that a label does not list: it only decides among models that no label prefers."""
LATENCY_UNIT_MS = 10_000.0
_NEVER = -np.inf
_MASK_64 = (1 << 64) - 1


def override(settings: PolicySettings, **changes: Any) -> PolicySettings:
    """``settings`` with the changes that are not None.

    Raises:
        ConfigError: Where a value is out of its range.
    """
    wanted = {key: value for key, value in changes.items() if value is not None}
    return replace(settings, **wanted) if wanted else settings


def scores(
    quality: npt.NDArray[Any],
    cost_usd: npt.NDArray[Any],
    latency_ms: npt.NDArray[Any] | None,
    mask: Bools | None,
    health: npt.NDArray[Any] | None,
    settings: PolicySettings,
    weights: npt.NDArray[Any] | None = None,
) -> Floats:
    """Score of each candidate; higher is better, −inf where it may not be chosen.

    With q = quality · health (an answer must arrive to be good):

    - cost-first: 1 + 1 / (1 + cost / answer_value) where q ≥ quality_target, else q: the cheapest that is good
      enough, and the best where none is.
    - capability-first: (weight + 0.01) · q.
    - balanced: t · q − (1 − t) · cost / answer_value − latency_weight · latency / 10 s, with t = trade_off. The cost
      is in fixed units, not relative to the other candidates, so that one trade-off is one price of quality for all
      requests (the Lagrangian of: most quality for a given spend).
    - static: (weight + 0.01 · quality) · health; the caller gives the rule table as weights, and constants as quality.

    Args:
        quality: [..., C] predicted P(good answer), 0..1.
        cost_usd: [..., C] predicted cost of the call.
        latency_ms: [..., C] predicted latency, NaN where nothing is known; None for all unknown.
        mask: bool [..., C], which candidates are eligible; None = all.
        health: [..., C] 0..1; None = all well.
        settings: How to choose.
        weights: [..., C] ≥ 0, preference for the request's labels; None = none.
    """
    good = quality if health is None else quality * health
    if settings.strategy == "balanced":
        price = (1.0 - settings.trade_off) / settings.answer_value_usd
        score = settings.trade_off * good - price * cost_usd
        if settings.latency_weight and latency_ms is not None:
            score = score - settings.latency_weight / LATENCY_UNIT_MS * np.nan_to_num(latency_ms)
    elif settings.strategy == "cost-first":
        score = np.where(good >= settings.quality_target, _cheapness(cost_usd, settings), good)
    else:
        score = _preferred(quality, health, settings, 0.0 if weights is None else weights)
    score = np.asarray(score, dtype=np.float64)
    return score if mask is None else np.where(mask, score, _NEVER)


def _preferred(
    quality: npt.NDArray[Any], health: npt.NDArray[Any] | None, settings: PolicySettings, weights: Any
) -> npt.NDArray[Any]:
    """Scores of the strategies that go by weights."""
    if settings.strategy == "static":
        score = weights + UNLISTED_WEIGHT * quality
    else:
        score = (weights + UNLISTED_WEIGHT) * quality
    return np.asarray(score if health is None else score * health)


def doubt(
    score: Floats,
    quality: npt.NDArray[Any],
    cost_usd: npt.NDArray[Any],
    health: npt.NDArray[Any] | None,
    settings: PolicySettings,
    weights: npt.NDArray[Any] | None,
    evidence: npt.NDArray[Any],
) -> Doubt:
    """How sure the scores are, from how many labels each prediction rests on.

    Args:
        score: Of :func:`scores`, with the arguments that follow; ``evidence``: see
            :func:`router_runtime.thompson.posterior_sd`.
    """
    sd = posterior_sd(quality, evidence)
    sd = sd if health is None else sd * health
    if settings.strategy == "cost-first":
        good = quality if health is None else quality * health
        return Doubt(np.asarray(good), sd, _cheapness(cost_usd, settings), settings.quality_target)
    if settings.strategy == "balanced":
        return Doubt(score, settings.trade_off * sd)
    scale = (
        UNLISTED_WEIGHT if settings.strategy == "static" else UNLISTED_WEIGHT + (0.0 if weights is None else weights)
    )
    return Doubt(score, np.asarray(scale * sd))


def _cheapness(cost_usd: npt.NDArray[Any], settings: PolicySettings) -> Floats:
    """cost-first's score of a candidate that is good enough, 1..2."""
    return np.asarray(1.0 + 1.0 / (1.0 + cost_usd / settings.answer_value_usd))


def explorable(quality: npt.NDArray[Any], settings: PolicySettings) -> Bools:
    """Bool [..., C]: candidates that may be tried although they do not score best."""
    return np.asarray(quality >= settings.quality_floor)


def action_dist(
    score: npt.NDArray[Any],
    mask: Bools | None,
    settings: PolicySettings,
    quality: npt.NDArray[Any] | None = None,
    belief: Doubt | None = None,
) -> Floats:
    """π(a | x): the probability of each candidate; sums to 1, or to 0 where no candidate is eligible.

    Greedy takes the first of the best. Epsilon gives it 1 − ε, and ε evenly to the explorable candidates and itself;
    softmax gives each of these exp(score / temperature), normalised; thompson the probability that it is the best.

    Args:
        score: [..., C] of :func:`scores`.
        mask: bool [..., C] as there; None = all.
        settings: How to explore.
        quality: [..., C]; with it, only candidates above the quality floor are explored; None = all.
        belief: Of :func:`doubt`, for thompson.

    Raises:
        ConfigError: For thompson without a belief.
    """
    eligible = np.isfinite(score) if mask is None else mask & np.isfinite(score)
    score = np.where(eligible, score, _NEVER)
    best = np.zeros(score.shape, dtype=np.bool_)
    np.put_along_axis(best, np.argmax(score, axis=-1, keepdims=True), True, axis=-1)
    best &= eligible
    if settings.exploration == "none":
        return best.astype(np.float64)
    allowed = eligible if quality is None else (eligible & explorable(quality, settings)) | best
    if settings.exploration == "epsilon":
        share = settings.epsilon / np.maximum(allowed.sum(axis=-1, keepdims=True), 1)
        return np.asarray((1.0 - settings.epsilon) * best + share * allowed)
    if settings.exploration == "thompson":
        if belief is None:
            raise ConfigError("thompson explores by the doubt about each candidate: give action_dist a belief")
        return best_shares(belief, allowed)
    top = np.max(np.where(eligible, score, _NEVER), axis=-1, keepdims=True)
    gap = np.where(allowed, score - np.where(np.isfinite(top), top, 0.0), _NEVER)
    raised = np.exp(np.maximum(gap, -700.0 * settings.temperature) / settings.temperature) * allowed
    return np.asarray(raised / np.maximum(raised.sum(axis=-1, keepdims=True), np.finfo(np.float64).tiny))


def draw(probabilities: npt.NDArray[Any], seed: int) -> int:
    """Index of one candidate, drawn from ``probabilities`` [C]; the same seed draws the same.

    The seed becomes a uniform number by the finaliser of splitmix64 (Steele, Lea and Flood 2014).
    """
    running = np.cumsum(probabilities)
    point = uniform(seed) * running[-1]
    index = int(np.searchsorted(running, point, side="right"))
    return min(index, int(np.flatnonzero(probabilities)[-1]))


def uniform(seed: int) -> float:
    """A number in [0, 1) from a 64-bit seed."""
    mixed = (seed + 0x9E3779B97F4A7C15) & _MASK_64
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & _MASK_64
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & _MASK_64
    return ((mixed ^ mixed >> 31) >> 11) * 2.0**-53
