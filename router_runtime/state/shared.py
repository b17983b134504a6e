"""All that replicas share, and the thread that keeps this process's copy of it fresh."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from router_runtime.errors import StateAway
from router_runtime.forking import mind_forks
from router_runtime.health import Health
from router_runtime.hooks import Observer, RouterEvent
from router_runtime.state.doors import Doors, clear_disabled, read_disabled, write_disabled
from router_runtime.state.link import SCHEMES, RedisLink
from router_runtime.state.rates import RedisRates
from router_runtime.state.redis_budgets import RedisBudgets

EVERY_S = 0.25
_LOG = logging.getLogger("router_runtime.state")


def is_shared(place: str) -> bool:
    """Whether ``place`` is the URL of a shared state, not a folder."""
    return place.startswith(SCHEMES)


def _ignore(_event: RouterEvent) -> None:
    """Nobody asked."""


class SharedState:
    """Budgets, rates, doors and disabled models in one Redis.

    While Redis is away, limits hold in this process alone: one warning is logged, ``StateChanged`` is told, and the
    thread looks for it until it is back.

    Args:
        url: ``redis://…``, ``rediss://…`` or ``unix://…``.
        observer: Is told when Redis goes and comes back.
        clock: UTC seconds since the epoch.
        every_s: Pause between two exchanges with the others.

    Raises:
        ConfigError: The URL is none, or the extra ``redis`` is not installed.
    """

    def __init__(
        self,
        url: str,
        observer: Observer = _ignore,
        *,
        clock: Callable[[], float] = time.time,
        every_s: float = EVERY_S,
    ) -> None:
        self._link = RedisLink(url, observer)
        self._clock, self._every_s = clock, every_s
        self.budgets = RedisBudgets(self._link, clock)
        self.rates = RedisRates(self._link)
        self._doors: Doors | None = None
        self._tell_disabled: Callable[[Mapping[str, float]], None] | None = None
        self._told: dict[str, float] = {}
        self._end = threading.Event()
        self._round = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def up(self) -> bool:
        """Whether Redis answered the last time."""
        return self._link.up

    @property
    def place(self) -> str:
        """Where it is, without secrets."""
        return self._link.place

    def start(self, health: Health, tell_disabled: Callable[[Mapping[str, float]], None]) -> None:
        """Begins to keep ``health`` and the disabled models in step; the first exchange is done on return."""
        self._doors, self._tell_disabled = Doors(self._link, health), tell_disabled
        self.exchange()
        self._begin()
        mind_forks(self)

    def exchange(self) -> bool:
        """One round with the others; False where Redis is away."""
        with self._round, suppress(StateAway):  # it was said where it was met
            self._exchange()
        return self._link.up

    def disable(self, model: str, until: float) -> None:
        """Disables ``model`` on every replica until a time (UTC seconds since the epoch; infinity: until enabled).

        Raises:
            StateAway: Redis does not answer; nobody was told.
        """
        self._link.call(lambda client: write_disabled(client, model, until))
        self.exchange()

    def enable(self, model: str) -> bool:
        """Enables ``model`` again; False where it was not disabled here.

        Raises:
            StateAway: Redis does not answer.
        """
        was = self._link.call(lambda client: clear_disabled(client, model))
        self.exchange()
        return was

    def disabled(self) -> dict[str, float]:
        """Until when each model is disabled on every replica.

        Raises:
            StateAway: Redis does not answer.
        """
        return self._link.call(lambda client: read_disabled(client, self._clock()))

    def close(self) -> None:
        """Ends the thread and the connections; may be called twice."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        self._link.close()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name="pointsman-state", daemon=True)
        self._thread.start()

    def begin_anew(self) -> None:
        """In a forked child, which has neither the thread nor whoever may have held the lock."""
        self.budgets.begin_anew()
        if not self._end.is_set():
            self._round = threading.Lock()
            self._begin()

    def _run(self) -> None:
        said = ""
        while not self._end.wait(self._every_s):
            try:
                self.exchange()
            except Exception as error:  # noqa: BLE001 - whatever it is, breakers and the kill switch go on being shared
                if said != (said := f"{type(error).__name__}: {error}"):
                    _LOG.warning("an exchange with the shared state failed (%s)", said)

    def _exchange(self) -> None:
        if not self._link.up:
            if not self._link.probe():
                return
            self.budgets.catch_up()
            self._link.back()
        self.budgets.pay()
        if self._doors is not None:
            self._doors.exchange()
        if self._tell_disabled is not None:
            ends = self.disabled()
            if ends != self._told:
                self._tell_disabled(ends)
                self._told = ends
        self.budgets.refresh()


def finite(until: float) -> float | None:
    """``until`` for JSON: None without an end."""
    return None if until == math.inf else until
