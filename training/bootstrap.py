"""Paired bootstrap over groups: near-duplicates (or sessions) are drawn together, all routers on the same draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with a percentile interval; NaN where it is not defined.

    Args:
        value: On the sample itself.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def draw_weights(n_groups: int, replicates: int, seed: int) -> Floats:
    """How often each group is drawn in each replicate (cluster bootstrap; Davison & Hinkley 1997, §3.8).

    Args:
        n_groups: Number of groups, ≥ 1.
        replicates: Number of replicates B.
        seed: Seed of the draws; the same seed gives the same draws, which is what pairs two routers.

    Returns:
        float64 [B, G]; each row sums to G.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_groups, np.full(n_groups, 1.0 / n_groups), size=replicates).astype(np.float64)


def group_codes(groups: npt.ArrayLike) -> tuple[npt.NDArray[np.intp], int]:
    """Groups as 0..G−1 in order of their sorted names, and G."""
    names, codes = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    return codes.astype(np.intp), len(names)


def group_sums(values: Floats, codes: npt.NDArray[np.intp], n_groups: int) -> Floats:
    """Sums of ``values`` [n, K] by group, [G, K]; all that a replicate's means need."""
    out = np.zeros((n_groups, values.shape[1]))
    np.add.at(out, codes, values)
    return out


def interval(value: float, replicates: Floats, level: float = 0.95) -> Estimate:
    """Percentile interval of a statistic from its replicates [B].

    Undefined replicates are left out as long as they are no more than one tail: a quality that is not reached is as
    good as an endless cost, and an interval of the others alone would end where the bad ones begin.
    """
    tail = (1.0 - level) / 2.0
    usable = replicates[np.isfinite(replicates)]
    if len(replicates) - len(usable) > tail * len(replicates) or not len(usable):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(usable, [tail, 1.0 - tail])
    return Estimate(value, float(low), float(high))
