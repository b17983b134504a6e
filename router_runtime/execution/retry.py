"""When the same provider may be asked again.

Going on to another provider is no retry and costs nothing. A second try at the same one draws on that provider's token
bucket, which its successes refill: the standard mode of the AWS SDKs (capacity 500, 5 tokens for a retry, 10 after a
timeout, 1 back for each first success). In an outage the bucket runs dry after a hundred retries and stays so, and
load is not multiplied.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """How often and how soon.

    Args:
        same_provider: Further tries at one candidate within a call; 0 turns retries off.
        capacity: Tokens of a full bucket.
        cost, timeout_cost: Tokens that a retry takes, after a timeout the second.
        refund: Tokens that a call without retry gives back.
        base_s, cap_s: Backoff before try n is uniform in 0 .. min(cap, base · 2ⁿ) ("full jitter", Brooker 2015).
    """

    same_provider: int = 1
    capacity: int = 500
    cost: int = 5
    timeout_cost: int = 10
    refund: int = 1
    base_s: float = 0.2
    cap_s: float = 10.0


class RetryBudget:
    """One bucket for each provider. Safe to use from several threads."""

    def __init__(self, settings: RetrySettings | None = None) -> None:
        self.settings = settings or RetrySettings()
        self._left: dict[str, int] = {}
        self._guard = threading.Lock()

    def take(self, provider: str, *, after_timeout: bool = False) -> int | None:
        """Draws a retry; the tokens taken (hand them to ``succeeded``), or None where the bucket is too low."""
        cost = self.settings.timeout_cost if after_timeout else self.settings.cost
        with self._guard:
            left = self._left.get(provider, self.settings.capacity)
            if left < cost:
                return None
            self._left[provider] = left - cost
            return cost

    def succeeded(self, provider: str, taken: int = 0) -> None:
        """Gives back what the retry took, or ``refund`` where the first try was good."""
        with self._guard:
            left = self._left.get(provider, self.settings.capacity)
            self._left[provider] = min(self.settings.capacity, left + (taken or self.settings.refund))

    def left(self, provider: str) -> int:
        """Tokens in the provider's bucket."""
        with self._guard:
            return self._left.get(provider, self.settings.capacity)


def backoff_s(settings: RetrySettings, retry: int, random: Callable[[], float]) -> float:
    """Seconds to wait before retry number ``retry`` (0 = the first), full jitter.

    Args:
        settings: ``base_s`` and ``cap_s``.
        retry: Retries made so far.
        random: Uniform in [0, 1).
    """
    return random() * min(settings.cap_s, settings.base_s * 2.0 ** min(retry, 60))
