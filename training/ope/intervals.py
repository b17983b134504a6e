"""Intervals of a mean of per-decision numbers, honest when rows come in sessions and when a few weights dominate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A mean with its uncertainty, in the unit of the reward.

    Args:
        policy_value: The estimate.
        se: Its standard error; NaN where fewer than two clusters leave it unknown.
        ci_low: Lower end of the interval.
        ci_high: Upper end of the interval.
        ess: Effective sample size of the weights behind it.
        n: Number of decisions.
    """

    policy_value: float
    se: float
    ci_low: float
    ci_high: float
    ess: float
    n: int

    def covers(self, value: float) -> bool:
        """Whether ``value`` lies in the interval."""
        return self.ci_low <= value <= self.ci_high


def cluster_sums(phi: Floats, cluster: Ints | None) -> Floats:
    """Σ (φ − mean φ) by cluster, float64[G]; every row is its own cluster where ``cluster`` is None."""
    centred: Floats = phi - phi.mean()
    if cluster is None:
        return centred
    _, inverse = np.unique(cluster, return_inverse=True)
    return np.asarray(np.bincount(inverse, weights=centred), dtype=np.float64)


def degrees_of_freedom(sums: Floats) -> float:
    """ν = 2 G / (κ − 1), with κ the kurtosis of the cluster sums (Satterthwaite 1946, by the variance of s²).

    A variance that rests on a few large weights is itself uncertain: κ is then large, ν small and the interval wider.
    At κ = 3 (normal sums) ν = G. In simulations with weights up to 100 at n = 1,000 this lifted the coverage of DR's
    nominal 95 % interval from 87 to 95 %.
    """
    second = float((sums**2).mean())
    if second == 0:
        return float(len(sums))
    kurtosis = float((sums**4).mean()) / second**2
    return float(np.clip(2 * len(sums) / max(kurtosis - 1, 1e-9), 1.0, len(sums)))


def mean_interval(
    phi: Floats, cluster: Ints | None = None, *, ess: float | None = None, level: float = 0.95
) -> Estimate:
    """The mean of φ with a t interval clustered by session.

    Var = G / (G − 1) · Σ_g (Σ_{i∈g} (φ_i − mean φ))² / n² (Liang & Zeger 1986), which is s²(φ)/n without clusters;
    the quantile is Student's at :func:`degrees_of_freedom`.

    Args:
        phi: One number per decision, float64[n].
        cluster: Session of each row, int64[n], or None.
        ess: Effective sample size to report; n by default.
        level: Coverage that the interval claims, 0..1.
    """
    n = len(phi)
    sums = cluster_sums(phi, cluster)
    groups, value = len(sums), float(phi.mean())
    size = float(n) if ess is None else ess
    if groups < 2 or not np.isfinite(value):
        return Estimate(value, float("nan"), float("-inf"), float("inf"), size, n)
    se = float(np.sqrt((sums @ sums) * groups / (groups - 1))) / n
    half = float(stats.t.ppf(0.5 + level / 2, degrees_of_freedom(sums))) * se
    return Estimate(value, se, value - half, value + half, size, n)


def of_a_share(found: Estimate, level: float) -> Estimate:
    """``found`` as the mean of values in 0..1: no surer than two good and two bad ones more would leave equal ones.

    Var ≥ (2 c² + 2 (1 − c)²) / (n + 4)² with c = (n · mean + 2) / (n + 4) and n the effective sample: what Agresti and
    Coull's (1998) four make of answers that are all alike, and less than what answers that differ show by themselves.
    """
    total = found.ess + 4.0
    centre = (found.ess * min(max(found.policy_value, 0.0), 1.0) + 2.0) / total
    return no_surer(found, float(np.sqrt(2.0 * centre**2 + 2.0 * (1.0 - centre) ** 2)) / total, level)


def no_surer(found: Estimate, se: float, level: float) -> Estimate:
    """``found`` with an interval no narrower than ±z · ``se``."""
    if not se > found.se:
        return found
    half = max(float(stats.norm.ppf(0.5 + level / 2)) * se, found.ci_high - found.policy_value)
    return replace(found, se=se, ci_low=found.policy_value - half, ci_high=found.policy_value + half)
