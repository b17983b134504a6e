"""How many requests and tokens a key may take a minute, and how many requests are answered at a time.

Token buckets in this process; :class:`Limits` is the seam where counts that replicas share come in.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from router_runtime.errors import GatewayRefusal
from router_runtime.gateway.auth import Caller
from router_runtime.gateway.settings import GatewaySettings

_MAX_BUCKETS = 10_000


@dataclass(slots=True)
class _Bucket:
    """``level`` tokens at ``time``; it fills by ``per_minute`` up to ``per_minute``, and may be overdrawn."""

    level: float
    time: float

    def filled(self, per_minute: float, now: float) -> float:
        self.level = min(per_minute, self.level + max(0.0, now - self.time) * per_minute / 60.0)
        self.time = now
        return self.level


class Limits:
    """The counts of one process. Use from one event loop.

    Args:
        settings: Bounds of concurrency.
        timer: Monotonic seconds.
    """

    def __init__(self, settings: GatewaySettings, timer: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._timer = settings, timer
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._by_key: Counter[str] = Counter()
        self.active = 0
        """Requests that are being answered."""

    async def admit(self, caller: Caller) -> None:
        """Counts one request of ``caller``.

        Raises:
            GatewayRefusal: 429 with the seconds to wait.
        """
        if caller.tokens_per_minute is not None:
            self._check(caller.key_id, "tokens", caller.tokens_per_minute, 0)
        if caller.requests_per_minute is not None:
            self._check(caller.key_id, "requests", caller.requests_per_minute, 1)

    async def spent(self, caller: Caller, tokens: int) -> None:
        """Counts ``tokens`` of an answer; what is overdrawn keeps the key out until it is earned again."""
        if caller.tokens_per_minute is not None and tokens:
            now = self._timer()
            bucket = self._bucket(caller.key_id, "tokens", caller.tokens_per_minute, now)
            bucket.filled(caller.tokens_per_minute, now)
            bucket.level -= tokens

    def enter(self, caller: Caller) -> None:
        """Takes a place among the requests that are being answered; give it back with :meth:`leave`.

        Raises:
            GatewayRefusal: 503 where the gateway is full, 429 where the key is.
        """
        if self.active >= self._settings.max_concurrent:
            raise GatewayRefusal("the gateway is full", status=503, code="gateway_full", retry_after=1.0)
        if self._by_key[caller.key_id] >= self._settings.max_concurrent_per_key:
            raise GatewayRefusal("too many requests at a time", status=429, code="too_many_at_once", retry_after=1.0)
        self.active += 1
        self._by_key[caller.key_id] += 1

    def leave(self, caller: Caller) -> None:
        """Gives a place back."""
        self.active -= 1
        self._by_key[caller.key_id] -= 1
        if not self._by_key[caller.key_id]:
            del self._by_key[caller.key_id]

    def _check(self, key_id: str, what: str, per_minute: int, take: int) -> None:
        now = self._timer()
        bucket = self._bucket(key_id, what, per_minute, now)
        level = bucket.filled(per_minute, now)
        if level < max(take, 1):
            wait = (max(take, 1) - level) * 60.0 / per_minute
            raise GatewayRefusal(
                f"this key may take {per_minute} {what} a minute", status=429, code="rate_limit_exceeded",
                retry_after=wait,
            )  # fmt: skip
        bucket.level -= take

    def _bucket(self, key_id: str, what: str, per_minute: int, now: float) -> _Bucket:
        bucket = self._buckets.get((key_id, what))
        if bucket is None:
            if len(self._buckets) >= _MAX_BUCKETS:  # many short-lived keys: full buckets say nothing
                self._buckets.clear()
            bucket = self._buckets[key_id, what] = _Bucket(float(per_minute), now)
        return bucket
