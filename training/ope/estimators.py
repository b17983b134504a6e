"""Off-policy estimators: what a policy would have earned on a log that another policy wrote.

Every estimator is reduced to one number per decision, φ, whose mean is the estimate. Variances, clustered intervals and
paired differences then need no formula of their own: they are those of a mean of φ (:mod:`training.ope.intervals`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from router_runtime.errors import DataError
from training.ope.intervals import Estimate, mean_interval

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SWITCH_GRID = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, np.inf)
CONTROL_RANGE = (0.0, 2.0)
"""Bounds of β: beyond them its noise costs more than it gains where a few rows carry the weight."""
SHRINK_GRID = (1.0, 10.0, 100.0, 1e3, 1e4, 1e6)


@dataclass(frozen=True, eq=False)
class BanditLog:
    """Logged decisions as arrays of n rows over A actions (models).

    Args:
        action: Index of the logged action, int64[n], 0..A-1.
        reward: Reward of the logged action, float64[n]; NaN only where ``label_weight`` is 0.
        pscore: Probability with which the logging policy drew that action, float64[n], in (0, 1].
        cluster: Session of each row, int64[n]; rows of one session are dependent. Each row its own by default.
        label_weight: 0 where the reward is missing, else 1 / P(reward is observed), float64[n]; ones by default.
    """

    action: Ints
    reward: Floats
    pscore: Floats
    cluster: Ints | None = None
    label_weight: Floats | None = None

    def __post_init__(self) -> None:
        """Checks shapes and ranges.

        Raises:
            DataError: An empty log, unequal lengths, a propensity outside (0, 1], or a used reward that is not finite.
        """
        n = len(self.action)
        parts = (self.reward, self.pscore, self.cluster, self.label_weight)
        if n == 0 or any(part is not None and part.shape != (n,) for part in parts):
            raise DataError(f"a bandit log needs at least one row and arrays of one length (action has {n})")
        bad = ~((self.pscore > 0) & (self.pscore <= 1 + 1e-9))
        if bad.any():
            raise DataError(f"row {int(bad.argmax())}: propensity {self.pscore[bad.argmax()]} is outside (0, 1]")
        lost = ~np.isfinite(self.reward) & (self.labels > 0)
        if lost.any():
            raise DataError(f"row {int(lost.argmax())}: the reward is not finite, though its label weight is above 0")

    @property
    def labels(self) -> Floats:
        """``label_weight``, ones where none was given."""
        return np.ones(len(self.action)) if self.label_weight is None else self.label_weight

    def take(self, rows: npt.NDArray[np.bool_]) -> BanditLog:
        """The rows where ``rows`` [n] is true."""
        cluster = None if self.cluster is None else self.cluster[rows]
        labels = None if self.label_weight is None else self.label_weight[rows]
        return BanditLog(self.action[rows], self.reward[rows], self.pscore[rows], cluster, labels)


def importance_weights(action_dist: Floats, log: BanditLog) -> Floats:
    """Weights w = π_e(a|x) / π_b(a|x) × label weight, float64[n].

    Args:
        action_dist: π_e, the evaluated policy's probabilities, float64[n, A].
        log: The log that π_b wrote.
    """
    if action_dist.ndim != 2 or len(action_dist) != len(log.action):
        raise DataError(f"action_dist has shape {action_dist.shape}, the log {len(log.action)} rows")
    weights: Floats = action_dist[np.arange(len(log.action)), log.action] / log.pscore * log.labels
    return weights


def effective_sample_size(weights: Floats) -> float:
    """ESS = (Σ w)² / Σ w², 0 where every weight is 0 (Kish 1965)."""
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def dm(action_dist: Floats, log: BanditLog, q_hat: Floats) -> Floats:
    """Direct method: φ = Σ_a π_e(a|x) q̂(x, a). Beygelzimer & Langford 2009.

    Its interval knows nothing of the error of q̂ and so covers far less than it says; it is shown, not used.

    Args:
        action_dist: π_e, float64[n, A].
        log: The log; only its length matters here.
        q_hat: Reward model's predictions, float64[n, A].
    """
    del log
    phi: Floats = (action_dist * q_hat).sum(axis=1)
    return phi


def ips(action_dist: Floats, log: BanditLog, q_hat: Floats) -> Floats:
    """Inverse propensity score: φ = w r. Horvitz & Thompson 1952. (Arguments of :func:`dm`; ``q_hat`` is not used.)"""
    del q_hat
    weights = importance_weights(action_dist, log)
    phi: Floats = weights * _observed(log, log.reward)
    return phi


def snips(action_dist: Floats, log: BanditLog, q_hat: Floats) -> Floats:
    """Self-normalised IPS: V = Σ w r / Σ w. Swaminathan & Joachims 2015. (Arguments of :func:`dm`.)

    φ = V + n w (r − V) / Σ w linearises the ratio, so that its spread holds the denominator's variance too:
    Var(V) = Σ w² (r − V)² / (Σ w)².
    """
    del q_hat
    weights = importance_weights(action_dist, log)
    total = float(weights.sum())
    if total == 0:
        return np.full(len(weights), np.nan)
    reward = _observed(log, log.reward)
    value = float(weights @ reward) / total
    phi: Floats = value + len(weights) * weights * (reward - value) / total
    return phi


def dr(action_dist: Floats, log: BanditLog, q_hat: Floats) -> Floats:
    """Doubly robust: φ = Σ_a π_e q̂(x, a) + w (r − q̂(x, a_logged)). Dudík, Langford & Li 2011.

    (Arguments of :func:`dm`.) Unbiased for any q̂ that was not fitted on the row itself: hence the
    cross-fitting.
    """
    return _doubly_robust(action_dist, log, q_hat, importance_weights(action_dist, log))


def sndr(action_dist: Floats, log: BanditLog, q_hat: Floats) -> Floats:
    """Self-normalised DR: V = mean(Σ_a π_e q̂) + Σ w (r − q̂) / Σ w. Thomas & Brunskill 2016. (Arguments of :func:`dm`.)

    Weights that do not happen to average 1 then do no harm: with a dull q̂ it is SNIPS, with a good one it is better.
    φ linearises the ratio as in :func:`snips`; each residual is divided by 1 − its share of Σ w (the leverage of
    MacKinnon & White's 1985 HC3), without which the interval is too narrow where a dozen rows carry the weight.
    """
    base, control = control_parts(action_dist, log, q_hat)
    return base + control


def cdr(action_dist: Floats, log: BanditLog, q_hat: Floats) -> Floats:
    """DR with as much of q̂ as pays: φ = SNIPS + β · (Σ_a π_e q̂ − SNIPS of q̂), β by least variance.

    (Arguments of :func:`dm`.)
    The bracket is 0 on average for any q̂, so β is free: 0 is SNIPS, 1 is :func:`sndr`, and the one whose φ varies least
    (Vlassis, Bibaut, Dimakopoulou & Jebara 2019, §3: control variates) errs no more than either where the log is long.
    """
    base, control = control_parts(action_dist, log, q_hat)
    return controlled(base, control)


def controlled(base: Floats, control: Floats) -> Floats:
    """``base`` + β · ``control`` with β of least variance within :data:`CONTROL_RANGE`, float64[n].

    β is fitted on the same rows, so each deviation is divided by 1 − its leverage in that fit, as in :func:`sndr`.

    Args:
        base: φ where q̂ counts for nothing, float64[n].
        control: What q̂ adds, of mean 0 but for chance, float64[n].
    """
    centred = control - control.mean()
    spread = float(centred @ centred)
    if not spread > 0:
        return base + control
    phi = base + control_share(base, control) * control
    inflated = (phi - phi.mean()) / (1 - np.minimum(centred**2 / spread, 0.5))
    return np.asarray(phi.mean() + inflated - inflated.mean())


def control_share(base: Floats, control: Floats) -> float:
    """β of :func:`controlled`: how much of q̂ pays."""
    centred = control - control.mean()
    spread = float(centred @ centred)
    return float(np.clip(-(centred @ (base - base.mean())) / spread, *CONTROL_RANGE)) if spread > 0 else 1.0


def control_parts(action_dist: Floats, log: BanditLog, q_hat: Floats) -> tuple[Floats, Floats]:
    """(base, control), float64[n] each: base + β · control is self-normalised DR with β q̂ (arguments of :func:`dm`)."""
    weights = importance_weights(action_dist, log)
    total = float(weights.sum())
    if total == 0:
        return np.full(len(weights), np.nan), np.zeros(len(weights))
    leverage = 1 - np.minimum(weights / total, 0.5)
    predicted = _observed(log, q_hat[np.arange(len(weights)), log.action])
    base = _ratio(weights, total, leverage, _observed(log, log.reward))
    return base, dm(action_dist, log, q_hat) - _ratio(weights, total, leverage, predicted)


def _ratio(weights: Floats, total: float, leverage: Floats, values: Floats) -> Floats:
    """φ of Σ w v / Σ w, linear in v."""
    value = float(weights @ values) / total
    spread = len(weights) * weights * (values - value) / total / leverage
    return np.asarray(value + spread - spread.mean())


def switch_dr(action_dist: Floats, log: BanditLog, q_hat: Floats, tau: float | None = None) -> Floats:
    """Switch-DR: DR with the correction kept where w ≤ τ only. Wang, Agarwal & Dudík 2017. (Arguments of :func:`dm`.)

    Args:
        action_dist: π_e, float64[n, A].
        log: The log that π_b wrote.
        q_hat: Reward model's predictions, float64[n, A].
        tau: Largest weight that is trusted; by default the one of ``SWITCH_GRID`` with the least estimated error.
    """
    weights = importance_weights(action_dist, log)
    grid = SWITCH_GRID if tau is None else (tau,)
    return _least_error(action_dist, log, q_hat, [np.where(weights <= t, weights, 0.0) for t in grid])


def dr_os(action_dist: Floats, log: BanditLog, q_hat: Floats, lam: float | None = None) -> Floats:
    """DR with optimistic shrinkage: w becomes λ w / (w² + λ). Su, Dimakopoulou, Krishnamurthy & Dudík 2020.

    Args:
        action_dist: π_e, float64[n, A].
        log: The log that π_b wrote.
        q_hat: Reward model's predictions, float64[n, A].
        lam: λ > 0; by default the one of ``SHRINK_GRID`` with the least estimated error.
    """
    weights = importance_weights(action_dist, log)
    grid = SHRINK_GRID if lam is None else (lam,)
    return _least_error(action_dist, log, q_hat, [value * weights / (weights**2 + value) for value in grid])


class Estimator(Protocol):
    """(action_dist[n, A], log, q_hat[n, A]) → φ[n], whose mean is the estimate."""

    def __call__(self, action_dist: Floats, log: BanditLog, q_hat: Floats, /) -> Floats:
        """φ, float64[n]."""
        ...


ESTIMATORS: Mapping[str, Estimator] = {
    "dm": dm,
    "ips": ips,
    "snips": snips,
    "dr": dr,
    "sndr": sndr,
    "cdr": cdr,
    "switch_dr": switch_dr,
    "dr_os": dr_os,
}


def estimate(name: str, action_dist: Floats, log: BanditLog, q_hat: Floats, level: float = 0.95) -> Estimate:
    """The estimator ``name`` of ``ESTIMATORS`` with its interval, clustered by session.

    Args:
        name: a key of ``ESTIMATORS``.
        action_dist: π_e, float64[n, A].
        log: The log that π_b wrote.
        q_hat: Cross-fitted reward predictions, float64[n, A] (:mod:`training.ope.reward_model`).
        level: Coverage that the interval claims, 0..1.
    """
    phi = ESTIMATORS[name](action_dist, log, q_hat)
    ess = effective_sample_size(importance_weights(action_dist, log))
    return mean_interval(phi, log.cluster, ess=ess, level=level)


def _observed(log: BanditLog, values: Floats) -> Floats:
    """``values`` with 0 where the reward is missing (its weight is 0 there, but 0 × NaN is NaN)."""
    return np.where(log.labels > 0, values, 0.0)


def _doubly_robust(action_dist: Floats, log: BanditLog, q_hat: Floats, weights: Floats) -> Floats:
    residual = _observed(log, log.reward - q_hat[np.arange(len(log.action)), log.action])
    return dm(action_dist, log, q_hat) + weights * residual


def _least_error(action_dist: Floats, log: BanditLog, q_hat: Floats, options: list[Floats]) -> Floats:
    """φ of the weights with the least (variance of the mean + squared shift from DR), as in Su et al. 2020, §5."""
    reference = dr(action_dist, log, q_hat)
    candidates = [_doubly_robust(action_dist, log, q_hat, weights) for weights in options]
    errors = [float(phi.var() / len(phi) + (phi.mean() - reference.mean()) ** 2) for phi in candidates]
    return candidates[int(np.argmin(errors))]
