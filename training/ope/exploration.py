"""How much exploration a log would have needed for a claim."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
EPSILONS = np.round(np.concatenate([np.arange(0.01, 0.1, 0.01), np.arange(0.1, 1.01, 0.05)]), 2)
MODEST_EPSILON = 0.05


def expected_ess(action_dist: Floats, logging_dist: Floats, epsilon: float, n: int | None = None) -> float:
    """ESS that n decisions would have if the log's favourite were taken with 1 − ε and ε were spread evenly.

    ESS = n / E_x[Σ_a π_e(a|x)² / π_ε(a|x)], the large-sample value of (Σ w)² / Σ w² where E[w] = 1.

    Args:
        action_dist: π_e, float64[n, A].
        logging_dist: π_b, float64[n, A]; its most probable action is the favourite.
        epsilon: Share of decisions drawn at random, above 0 and at most 1.
        n: Decisions; those of the log by default.
    """
    eligible = _eligible(action_dist, logging_dist)
    explored = epsilon * eligible / eligible.sum(axis=1, keepdims=True)
    explored[np.arange(len(explored)), logging_dist.argmax(axis=1)] += 1 - epsilon
    return _large_sample_ess(action_dist, explored, len(action_dist) if n is None else n)


def _logged_ess(action_dist: Floats, logging_dist: Floats) -> float:
    """ESS to be expected of the log as it is; 0 where it never makes some of the choices."""
    if (action_dist * (logging_dist <= 0)).any():
        return 0.0
    return _large_sample_ess(action_dist, logging_dist, len(action_dist))


def _large_sample_ess(action_dist: Floats, drawn_from: Floats, n: int) -> float:
    squares = np.divide(action_dist**2, drawn_from, out=np.zeros_like(drawn_from), where=action_dist > 0)
    return float(n / squares.sum(axis=1).mean())


def _eligible(action_dist: Floats, logging_dist: Floats) -> npt.NDArray[np.bool_]:
    """Actions that one of the two policies takes; models that neither ever takes are no part of the pool."""
    pool = ((action_dist > 0) | (logging_dist > 0)).any(axis=0)
    return np.broadcast_to(pool, action_dist.shape).copy()


def remedy(action_dist: Floats, logging_dist: Floats, floor: float) -> str:
    """The exploration that would bring the ESS to ``floor``, as a clause.

    Args:
        action_dist: π_e, float64[n, A].
        logging_dist: π_b, float64[n, A].
        floor: ESS that is needed.
    """
    n = len(action_dist)
    if _eligible(action_dist, logging_dist)[0].sum() < 2:
        return "it holds one model, so that there is no choice to judge: let two or more take part"
    modest, as_logged = expected_ess(action_dist, logging_dist, MODEST_EPSILON), _logged_ess(action_dist, logging_dist)
    needed = int(np.ceil(floor * n / max(modest, as_logged)))
    if as_logged >= floor:
        return "chance alone left so few: some more decisions logged as these were would do"
    enough = [e for e in EPSILONS if expected_ess(action_dist, logging_dist, float(e)) >= floor]
    how = "as these were" if as_logged >= modest else f"with ε = {MODEST_EPSILON}"
    more = f"{needed:,} decisions logged {how} would do"
    if not enough:
        return f"even choosing at random, {n:,} decisions are too few: {more}"
    if enough[0] <= MODEST_EPSILON:
        return f"exploration with ε ≥ {enough[0]:g} over as many decisions would do"
    return f"exploration with ε ≥ {enough[0]:g} over as many decisions would do, or {more}"
