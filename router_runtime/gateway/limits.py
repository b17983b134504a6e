"""How many requests and tokens a key may take a minute, and how many requests are answered at a time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from router_runtime.errors import GatewayRefusal
from router_runtime.gateway.auth import Caller
from router_runtime.gateway.settings import GatewaySettings
from router_runtime.state.rates import LocalRates, Rates


class Limits:
    """Rates, and the places of one process. Use from one event loop.

    Args:
        settings: Bounds of concurrency.
        timer: Monotonic seconds.
        rates: Buckets that replicas share; None = this process's own.
    """

    def __init__(
        self, settings: GatewaySettings, timer: Callable[[], float] = time.monotonic, rates: Rates | None = None
    ) -> None:
        self._settings = settings
        self._rates: Rates = LocalRates(timer) if rates is None else rates
        self._by_key: Counter[str] = Counter()
        self.active = 0
        """Requests that are being answered."""

    async def admit(self, caller: Caller) -> None:
        """Counts one request of ``caller``.

        Raises:
            GatewayRefusal: 429 with the seconds to wait.
        """
        if caller.tokens_per_minute is not None:
            await self._check(caller.key_id, "tokens", caller.tokens_per_minute, 0)
        if caller.requests_per_minute is not None:
            await self._check(caller.key_id, "requests", caller.requests_per_minute, 1)

    async def spent(self, caller: Caller, tokens: int) -> None:
        """Counts ``tokens`` of an answer; what is overdrawn keeps the key out until it is earned again."""
        if caller.tokens_per_minute is None or not tokens:
            return
        name = f"{caller.key_id}/tokens"
        if self._rates.shared:
            await asyncio.to_thread(self._rates.overdraw, name, caller.tokens_per_minute, tokens)
        else:
            self._rates.overdraw(name, caller.tokens_per_minute, tokens)

    @contextmanager
    def place(self, caller: Caller) -> Iterator[None]:
        """A place among the requests that are being answered.

        Raises:
            GatewayRefusal: 503 where the gateway is full, 429 where the key is.
        """
        if self.active >= self._settings.max_concurrent:
            raise GatewayRefusal("the gateway is full", status=503, code="gateway_full", retry_after=1.0)
        if self._by_key[caller.key_id] >= self._settings.max_concurrent_per_key:
            raise GatewayRefusal("too many requests at a time", status=429, code="too_many_at_once", retry_after=1.0)
        self.active += 1
        self._by_key[caller.key_id] += 1
        try:
            yield
        finally:
            self.active -= 1
            self._by_key[caller.key_id] -= 1
            if not self._by_key[caller.key_id]:
                del self._by_key[caller.key_id]

    async def _check(self, key_id: str, what: str, per_minute: int, take: int) -> None:
        name = f"{key_id}/{what}"
        if self._rates.shared:
            wait = await asyncio.to_thread(self._rates.take, name, per_minute, take)
        else:
            wait = self._rates.take(name, per_minute, take)
        if wait > 0:
            raise GatewayRefusal(
                f"this key may take {per_minute} {what} a minute", status=429, code="rate_limit_exceeded",
                retry_after=wait,
            )  # fmt: skip
