"""Two policies on one log: the difference of their values with a paired interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.ope.apart import Apart
from training.ope.estimators import (
    ESTIMATORS,
    BanditLog,
    control_parts,
    control_share,
    controlled,
    effective_sample_size,
    importance_weights,
)
from training.ope.intervals import Estimate, mean_interval, no_surer, of_a_share

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
    first: Floats,
    second: Floats,
    log: BanditLog,
    q_hat: Floats,
    *,
    name: str = HEADLINE,
    level: float = 0.95,
    share: bool = False,
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
        share: Whether the reward lies in 0..1 (quality): the values are then never surer than so many answers allow
            (:func:`.intervals.of_a_share`), the difference than those that tell the two apart
            (:meth:`training.ope.apart.Apart.least_error`).
    """
    phis, apart_phi, explained = _phis(first, second, log, q_hat, name)
    weights = [importance_weights(policy, log) for policy in (first, second)]
    sizes = [effective_sample_size(one) for one in weights]
    values = [mean_interval(phi, log.cluster, ess=ess, level=level) for phi, ess in zip(phis, sizes, strict=True)]
    # Rows that both policies treat alike say nothing of the difference: its sample is that of the others alone.
    sample = effective_sample_size(np.abs(weights[0] - weights[1]))
    gap = mean_interval(apart_phi, log.cluster, ess=sample, level=level)
    if share:
        values = [of_a_share(value, level) for value in values]
        gap = no_surer(gap, Apart.of(first, second, log).least_error(log.reward, explained, log.cluster), level)
    return Comparison(values[0], values[1], gap)


def _phis(
    first: Floats, second: Floats, log: BanditLog, q_hat: Floats, name: str
) -> tuple[tuple[Floats, Floats], Floats, Floats]:
    """φ of both and of their difference, and what q̂ explains of each row's reward there, float64[n] each.

    The headline's difference has the β that suits the difference; each side's own parts are found once for both.
    """
    if name != HEADLINE:
        ours, theirs = (ESTIMATORS[name](policy, log, q_hat) for policy in (first, second))
        return (ours, theirs), ours - theirs, np.zeros_like(ours)
    parts = [control_parts(policy, log, q_hat) for policy in (first, second)]
    base, control = parts[0][0] - parts[1][0], parts[0][1] - parts[1][1]
    explained = control_share(base, control) * q_hat[np.arange(len(q_hat)), log.action]
    return (controlled(*parts[0]), controlled(*parts[1])), controlled(base, control), explained


def compare_segments(
    first: Floats,
    second: Floats,
    log: BanditLog,
    q_hat: Floats,
    segments: Mapping[str, npt.NDArray[np.bool_]],
    *,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Paired differences of quality (0..1) by segment, at a level that holds for all of them together (Bonferroni).

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
        name: compare(first[rows], second[rows], log.take(rows), q_hat[rows], level=each, share=True).difference
        for name, rows in segments.items()
        if rows.any()
    }
