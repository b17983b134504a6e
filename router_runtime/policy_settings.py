"""How the policy shall choose: what a registry, an arm or a caller may set."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal

from router_runtime.errors import ConfigError

STRATEGIES = ("cost-first", "capability-first", "balanced", "static")
EXPLORATIONS = ("none", "epsilon", "softmax", "thompson")

Strategy = Literal["cost-first", "capability-first", "balanced", "static"]
Exploration = Literal["none", "epsilon", "softmax", "thompson"]


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """How to choose.

    Args:
        strategy: One of :data:`STRATEGIES`.
        quality_target: cost-first: the cheapest model with predicted quality ≥ this, 0..1.
        trade_off: balanced: 0 = cost alone .. 1 = quality alone.
        answer_value_usd: balanced: what a good answer is worth in USD at trade_off 0.5.
        latency_weight: balanced: utility lost per 10 s of latency, 0..1.
        exploration: One of :data:`EXPLORATIONS`.
        epsilon: Share of uniform exploration, 0..1.
        temperature: Of the softmax over scores, > 0.
        quality_floor: Only models with predicted quality ≥ this are explored, 0..1.

    Raises:
        ConfigError: Where a value is out of its range.
    """

    strategy: Strategy = "balanced"
    quality_target: float = 0.8
    trade_off: float = 0.5
    answer_value_usd: float = 0.1
    latency_weight: float = 0.0
    exploration: Exploration = "none"
    epsilon: float = 0.05
    temperature: float = 0.05
    quality_floor: float = 0.5

    def __post_init__(self) -> None:
        shares = (self.quality_target, self.trade_off, self.epsilon, self.quality_floor, self.latency_weight)
        if self.strategy not in STRATEGIES or self.exploration not in EXPLORATIONS:
            raise ConfigError(
                f"strategy {self.strategy!r} or exploration {self.exploration!r} is unknown; "
                f"known: {', '.join(STRATEGIES)}; {', '.join(EXPLORATIONS)}"
            )
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise ConfigError(
                "quality_target, trade_off, epsilon, quality_floor and latency_weight lie between 0 and 1"
            )
        if not (self.answer_value_usd > 0.0 and self.temperature > 0.0):
            raise ConfigError("answer_value_usd and temperature must be positive")

    @property
    def fingerprint(self) -> str:
        """12 hex digits; equal for equal settings."""
        return _fingerprint(self)


@lru_cache(maxsize=1024)
def _fingerprint(settings: PolicySettings) -> str:
    text = ";".join(f"{key}={value!r}" for key, value in asdict(settings).items())
    return hashlib.sha256(text.encode()).hexdigest()[:12]
