"""Two policies on one log: the difference of their values with a paired interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.ope.estimators import (
    ESTIMATORS,
    BanditLog,
    control_parts,
    controlled,
    effective_sample_size,
    importance_weights,
)
from training.ope.intervals import Estimate, mean_interval

Floats = npt.NDArray[np.float64]
HEADLINE = "cdr"


@dataclass(frozen=True)
class Comparison:
    """Two policies valued on one log, and their paired difference (first − second).

    The ``ess`` of the difference is that of |w_first − w_second|: 0 where the policies are alike.
    """

    first: Estimate
    second: Estimate
    difference: Estimate


def compare(
    first: Floats, second: Floats, log: BanditLog, q_hat: Floats, *, name: str = HEADLINE, level: float = 0.95
) -> Comparison:
    """Values two policies and their difference, by φ_first − φ_second row by row, clustered by session.

    What both would do alike cancels in the difference, so its interval is narrower than those of the two values. Under
    the headline estimator the difference has a β of its own (:func:`training.ope.estimators.controlled`), so it may lie
    a little beside the difference of the two values.

    Args:
        first: π of the challenger, float64[n, A].
        second: π of the other policy, float64[n, A]; pass the logging policy's own to compare with what was served.
        log: The log.
        q_hat: Cross-fitted reward predictions, float64[n, A].
        name: Key of ``ESTIMATORS``.
        level: Coverage that the intervals claim.
    """
    phis = [ESTIMATORS[name](policy, log, q_hat) for policy in (first, second)]
    weights = [importance_weights(policy, log) for policy in (first, second)]
    sizes = [effective_sample_size(one) for one in weights]
    values = [mean_interval(phi, log.cluster, ess=ess, level=level) for phi, ess in zip(phis, sizes, strict=True)]
    # Rows that both policies treat alike say nothing of the difference: its sample is that of the others alone.
    apart = effective_sample_size(np.abs(weights[0] - weights[1]))
    apart_phi = _difference(first, second, log, q_hat) if name == HEADLINE else phis[0] - phis[1]
    gap = mean_interval(apart_phi, log.cluster, ess=apart, level=level)
    return Comparison(values[0], values[1], gap)


def _difference(first: Floats, second: Floats, log: BanditLog, q_hat: Floats) -> Floats:
    """φ of the difference, float64[n], with the β that suits the difference."""
    base, control = control_parts(first, log, q_hat)
    other_base, other_control = control_parts(second, log, q_hat)
    return controlled(base - other_base, control - other_control)


def compare_segments(
    first: Floats,
    second: Floats,
    log: BanditLog,
    q_hat: Floats,
    segments: Mapping[str, npt.NDArray[np.bool_]],
    *,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Paired differences within each segment, at a level that holds for all of them together (Bonferroni).

    Args:
        first: π of the challenger, float64[n, A].
        second: π of the other policy, float64[n, A].
        log: The log.
        q_hat: Cross-fitted reward predictions, float64[n, A].
        segments: Rows bool[n] by segment name.
        level: Joint coverage.
    """
    each = 1 - (1 - level) / max(len(segments), 1)
    return {
        name: compare(first[rows], second[rows], log.take(rows), q_hat[rows], level=each).difference
        for name, rows in segments.items()
        if rows.any()
    }
