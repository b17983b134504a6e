"""How fast an account may go on: token buckets of this process, or shared by replicas through Redis.

A bucket holds a minute's worth and fills evenly. ``take`` refuses where less than the amount is there;
``overdraw`` counts what was already used and may go below zero.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from router_runtime.errors import StateAway
from router_runtime.state.link import PREFIX, RedisLink

_MAX_BUCKETS = 10_000

_TAKE = """
local t = redis.call('TIME')
local now, rate, take, least = t[1] + t[2] / 1000000, tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local found = redis.call('HMGET', KEYS[1], 'level', 'time')
local level = rate
if found[1] then level = math.min(rate, tonumber(found[1]) + math.max(0, now - tonumber(found[2])) * rate / 60) end
local wait = 0
if least > 0 and level < least then wait = (least - level) * 60 / rate else level = level - take end
redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level), 'time', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(60000 * (1 + math.max(0, rate - level) / rate)))
return string.format('%.6f', wait)
"""


class Rates(Protocol):
    """Token buckets by name."""

    shared: bool
    """Whether asking may wait for a network."""

    def take(self, name: str, per_minute: int, amount: float) -> float:
        """Takes ``amount``, or 0 to ask whether anything is left; the seconds to wait where it is refused."""

    def overdraw(self, name: str, per_minute: int, amount: float) -> None:
        """Takes what was already used."""


@dataclass(slots=True)
class _Bucket:
    """``level`` at ``time``."""

    level: float
    time: float


class LocalRates:
    """The buckets of one process. Safe to use from several threads.

    Args:
        timer: Monotonic seconds.
    """

    shared = False

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer, self._guard = timer, threading.Lock()
        self._buckets: dict[str, _Bucket] = {}

    def take(self, name: str, per_minute: int, amount: float) -> float:
        """See :class:`Rates`."""
        least = max(amount, 1.0)
        with self._guard:
            bucket = self._filled(name, per_minute)
            if bucket.level < least:
                return (least - bucket.level) * 60.0 / per_minute
            bucket.level -= amount
        return 0.0

    def overdraw(self, name: str, per_minute: int, amount: float) -> None:
        """See :class:`Rates`."""
        with self._guard:
            self._filled(name, per_minute).level -= amount

    def _filled(self, name: str, per_minute: int) -> _Bucket:
        now, bucket = self._timer(), self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= _MAX_BUCKETS:  # many short-lived keys: full buckets say nothing
                self._buckets.clear()
            bucket = self._buckets[name] = _Bucket(float(per_minute), now)
        bucket.level = min(per_minute, bucket.level + max(0.0, now - bucket.time) * per_minute / 60.0)
        bucket.time = now
        return bucket


class RedisRates:
    """Buckets that replicas share; while Redis is away, those of this process stand in.

    Args:
        link: The Redis; its clock is the one that counts.
    """

    shared = True

    def __init__(self, link: RedisLink) -> None:
        self._link, self._here = link, LocalRates()
        self._script = link.script(_TAKE)

    def take(self, name: str, per_minute: int, amount: float) -> float:
        """See :class:`Rates`."""
        try:
            return self._ask(name, per_minute, amount, max(amount, 1.0))
        except StateAway:
            return self._here.take(name, per_minute, amount)

    def overdraw(self, name: str, per_minute: int, amount: float) -> None:
        """See :class:`Rates`."""
        try:
            self._ask(name, per_minute, amount, 0.0)
        except StateAway:
            self._here.overdraw(name, per_minute, amount)

    def _ask(self, name: str, per_minute: int, amount: float, least: float) -> float:
        keys, arguments = [f"{PREFIX}rate:{name}"], [per_minute, amount, least]
        return float(self._link.call(lambda _client: self._script(keys, arguments)))
