"""Where two policies choose apart: the only rows that tell them apart, and how sure these can make anyone.

Decisions that both would take alike cancel in the difference. However long the log, what is left may be a handful of
answers, and a handful of equal answers shows no spread: the interval would have no width and prove whatever it met.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.ope.estimators import BanditLog, effective_sample_size, importance_weights

Floats = npt.NDArray[np.float64]
MIN_SAMPLE = 15.0
"""Answers that only one side would have given, effective and rated, below which nothing is claimed of a difference."""
_ALIKE = 1e-9
_PRIOR = 2.0
"""Answers of value 1, and as many of value 0, that are added to each side (Agresti & Coull 1998)."""


@dataclass(frozen=True, eq=False)
class Apart:
    """Two policies on one log, where they choose apart.

    Args:
        share: Part of the decisions that goes elsewhere: the mean of Σ_a max(π_first − π_second, 0), 0..1.
        gains: Weights of the answers that the first policy gives more often, float64[n]; 0 elsewhere.
        losses: Likewise of the second.
    """

    share: float
    gains: Floats
    losses: Floats

    @classmethod
    def of(cls, first: Floats, second: Floats, log: BanditLog) -> Apart:
        """Finds them.

        Args:
            first: π of the one policy, float64[n, A].
            second: π of the other, float64[n, A].
            log: The log.
        """
        gap = _gap(first, second)
        weights = importance_weights(gap, log)
        return cls(float(np.maximum(gap, 0).sum(axis=1).mean()), np.maximum(weights, 0), np.maximum(-weights, 0))

    def samples(self, cluster: npt.NDArray[np.int64] | None) -> tuple[float, float]:
        """Effective sample of either side; rows of one session count as one."""
        first, second = (effective_sample_size(_sums(side, cluster, side > 0)) for side in (self.gains, self.losses))
        return first, second

    def least_error(self, reward: Floats, explained: Floats, cluster: npt.NDArray[np.int64] | None) -> float:
        """Standard error below which the difference is not known; ± z of it is the interval (Agresti & Coull).

        share² · (V₊ + V₋), with V the variance of a side's weighted mean after :data:`_PRIOR` answers of value 1 and as
        many of value 0: :func:`router_runtime.experiments.share_variance` for weights that differ.

        Args:
            reward: What each row's answer was worth, 0..1, float64[n]; not read where neither side has weight.
            explained: What of it the estimator subtracts as foreseen, float64[n]: only the rest is uncertain.
            cluster: Session of each row.
        """
        variances = [_prior_variance(side, reward, explained, cluster) for side in (self.gains, self.losses)]
        return self.share * float(np.sqrt(sum(variances)))


def too_few_apart(
    first: Floats, second: Floats, logging_dist: Floats, log: BanditLog, known: str = "rated"
) -> str | None:
    """Why the log cannot tell two policies apart, or None where it can; alike ones need no telling.

    Args:
        first: π of the challenger, float64[n, A].
        second: π of the other policy, float64[n, A].
        logging_dist: π_b, float64[n, A].
        log: The log.
        known: What the answers that count are called.

    Returns:
        One sentence with the sample, and how many decisions would hold enough.
    """
    found = Apart.of(first, second, log)
    samples = found.samples(log.cluster)
    if found.share == 0 or min(samples) >= MIN_SAMPLE:
        return None
    ours = samples[0] <= samples[1]
    gap = _gap(first, second) * (1.0 if ours else -1.0)
    needed = max(_needed(gap, logging_dist, log), len(gap) * MIN_SAMPLE / max(min(samples), 1.0))
    return (
        f"the two choose apart in {100 * found.share:.2g} % of {len(gap):,} decisions, and of the answers that only "
        f"the {'challenger' if ours else 'other side'} would have given there the log holds as many as "
        f"{math.floor(min(samples))} {known} ones, where {MIN_SAMPLE:.0f} are needed: about {_rounded(needed):,} "
        "decisions, or more exploration, would do"
    )


def _needed(gap: Floats, logging_dist: Floats, log: BanditLog) -> float:
    """Decisions with :data:`MIN_SAMPLE` expected where ``gap`` is above 0 (:func:`.exploration.expected_ess`)."""
    more = np.where(logging_dist > 0, np.maximum(gap, 0), 0.0)
    squares = np.divide(more**2, logging_dist, out=np.zeros_like(more), where=more > 0).sum(axis=1).mean()
    mass = float(more.sum(axis=1).mean())
    return MIN_SAMPLE * float(squares) * float((log.labels**2).mean()) / mass**2 if mass > 0 else 0.0


def _rounded(count: float) -> int:
    """Up to two digits: it is no more exact than that."""
    unit: int = 10 ** max(int(np.log10(max(count, 1))) - 1, 0)
    return int(np.ceil(count / unit)) * unit


def _gap(first: Floats, second: Floats) -> Floats:
    gap = first - second
    return np.where(np.abs(gap) > _ALIKE, gap, 0.0)


def _prior_variance(weights: Floats, reward: Floats, explained: Floats, cluster: npt.NDArray[np.int64] | None) -> float:
    used = weights > 0
    if not used.any():
        return 2 * _PRIOR * 0.25 / (2 * _PRIOR) ** 2
    whole = float(weights.sum())
    values = np.where(used, reward - explained, 0.0) + float(weights @ explained) / whole
    sample = effective_sample_size(_sums(weights, cluster, used))
    total = sample + 2 * _PRIOR
    centre = (sample * float(weights @ values) / whole + _PRIOR) / total
    spread = _sums(weights * (values - centre), cluster, used) / whole
    own = sample**2 * float(spread @ spread)
    return (own + _PRIOR * centre**2 + _PRIOR * (1 - centre) ** 2) / total**2


def _sums(values: Floats, cluster: npt.NDArray[np.int64] | None, rows: npt.NDArray[np.bool_]) -> Floats:
    """Sums of the ``rows`` that are meant, by session; sorting those of a million others would take the time."""
    if cluster is None:
        return values[rows]
    _, inverse = np.unique(cluster[rows], return_inverse=True)
    return np.asarray(np.bincount(inverse, weights=values[rows]), dtype=np.float64)
