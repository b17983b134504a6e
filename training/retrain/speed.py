"""How long a decision takes with one bundle, measured against another on this machine at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from router_runtime import deciding
from router_runtime.bundle import Bundle
from router_runtime.features import Features
from router_runtime.registry import Registry
from router_runtime.snapshot import Wish, make_snapshot

ROUNDS = 7
PROMPTS = 300


def p99_ratio(
    challenger: Bundle, champion: Bundle | None, registry: Registry, features: Sequence[Features], now: float
) -> float:
    """p99 of a decision (scores, policy, draw), challenger over champion; without one, over the registry's deadline.

    The two take turns on the same prompts, so that a busy machine slows both; the median of :data:`ROUNDS` ratios
    counts, so that one interruption decides nothing.

    Args:
        challenger, champion: Opened bundles.
        registry: Candidates and policy.
        features: Of some prompts.
        now: Which prices hold, UTC seconds since the epoch.
    """
    ours = _decider(challenger, registry, now)
    if champion is None:
        return float(np.median([_p99(ours, features) for _ in range(ROUNDS)])) / (registry.policy.deadline_ms / 1e3)
    theirs = _decider(champion, registry, now)
    _p99(ours, features), _p99(theirs, features)  # warm both
    return float(np.median([_p99(ours, features) / _p99(theirs, features) for _ in range(ROUNDS)]))


def _decider(bundle: Bundle, registry: Registry, now: float) -> Callable[[Features], object]:
    snapshot = make_snapshot(registry, bundle, {}, now)
    plan = snapshot.plan(Wish())

    def decide(features: Features) -> object:
        predicted = deciding.predict(snapshot.all, bundle, features, 500.0)
        return deciding.choose(predicted, plan.settings, (), None, 1)

    return decide


def _p99(decide: Callable[[Features], object], features: Sequence[Features]) -> float:
    """Seconds."""
    taken = []
    for one in features:
        start = time.perf_counter()
        decide(one)
        taken.append(time.perf_counter() - start)
    return float(np.quantile(taken, 0.99))
