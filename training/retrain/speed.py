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
from training.log_table import LogTable

ROUNDS = 7
PROMPTS = 300
Prompt = tuple[Features, str]
"""Features of a request's words, and its text."""


def some_prompts(log: LogTable) -> list[Prompt]:
    """The first different requests of a log, at most :data:`PROMPTS`."""
    texts = log.table.prompts["text"]
    _, first = np.unique(log.features.code, return_index=True)
    return [(log.features[row], str(texts.iloc[row])) for row in first[:PROMPTS].tolist()]


def p99_ratio(
    challenger: Bundle, champion: Bundle | None, registry: Registry, prompts: Sequence[Prompt], now: float
) -> float:
    """p99 of a decision, challenger over champion; without one, over the registry's deadline.

    A decision is what a call waits for: the text's vector, where the bundle has an encoder, scores and the draw.

    The two take turns on the same prompts, so that a busy machine slows both; the median of :data:`ROUNDS` ratios
    counts, so that one interruption decides nothing.

    Args:
        challenger, champion: Opened bundles, each with the encoder that it reads with, if any.
        registry: Candidates and policy.
        prompts: Some requests.
        now: Which prices hold, UTC seconds since the epoch.
    """
    ours = _decider(challenger, registry, now)
    if champion is None:
        deadline = registry.policy.deadline_ms / 1e3
        return float(np.median([_p99(ours, prompts, turn) for turn in range(ROUNDS)])) / deadline
    theirs = _decider(champion, registry, now)
    _p99(ours, prompts, ROUNDS), _p99(theirs, prompts, ROUNDS)  # warm both
    return float(np.median([_p99(ours, prompts, turn) / _p99(theirs, prompts, turn) for turn in range(ROUNDS)]))


def _decider(bundle: Bundle, registry: Registry, now: float) -> Callable[[Features, str], object]:
    snapshot = make_snapshot(registry, bundle, {}, now)
    plan = snapshot.plan(Wish())

    def decide(features: Features, text: str) -> object:
        predicted = deciding.predict(snapshot.all, bundle, bundle.encoded(features, text), 500.0)
        return deciding.choose(predicted, plan.settings, (), None, 1)

    return decide


def _p99(decide: Callable[[Features, str], object], prompts: Sequence[Prompt], turn: int) -> float:
    """Seconds. Each turn has texts of its own: an encoder keeps those that it read last."""
    taken = []
    for features, text in prompts:
        fresh = f"{turn} {text}"
        start = time.perf_counter()
        decide(features, fresh)
        taken.append(time.perf_counter() - start)
    return float(np.quantile(taken, 0.99))
