"""Live health of providers and models: what the policy may choose now, and how well each has been doing.

For each provider, and for each model at it, a :class:`~router_runtime.breaker.Cell` counts good and failed calls and
follows the latency. Its breaker, a hold and a disablement close the door. Nothing here waits, does I/O or reads the
wall clock; the clock is injected.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from router_runtime.breaker import Cell, CellStatus, Door, HealthSettings

UNHEALTHY = "unhealthy or disabled"
"""The reason that a decision gives for leaving out a model whose door is closed."""

Scope = Literal["model", "provider"]
Target = tuple[str, str]
"""(provider, model)."""


class Health:
    """Health of everything that is called; one for each router. Safe to use from several threads.

    Args:
        settings: Thresholds.
        clock: Monotonic seconds.
    """

    def __init__(self, settings: HealthSettings | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings or HealthSettings()
        self._clock = clock
        self._guard = threading.Lock()
        self._models: dict[Target, Cell] = {}
        self._providers: dict[str, Cell] = {}
        self._disabled: dict[str, float] = {}

    @property
    def untouched(self) -> bool:
        """Whether nothing was ever told to it, so that every mask is True and every score 1."""
        return not self._providers and not self._disabled

    def succeeded(self, target: Target, latency_ms: float | None = None) -> tuple[str, ...]:
        """Counts a good answer after ``latency_ms``; the names of the breakers that it closed as a good probe."""
        now = self._clock()
        with self._guard:
            cells = zip(_names(target), self._cells(target), strict=True)
            return tuple([name for name, cell in cells if cell.succeeded(now, latency_ms)])

    def failed(
        self,
        target: Target,
        *,
        scope: Scope = "model",
        hold_s: float | None = None,
        asked: bool = True,
        reason: str = "",
    ) -> tuple[str, ...]:
        """Counts a failure that was the provider's fault; the names of the breakers that it opened.

        Args:
            target: Who failed.
            scope: ``"provider"`` where all its models are concerned (connection refused, overload, bad key).
            hold_s: Seconds for which nothing may be sent (Retry-After); it does not open the breaker by itself.
            asked: The provider asked for the hold; False: it is our own judgement (a wrong key), which a call that has
                no other candidate need not wait for.
            reason: Short, for status pages.
        """
        now = self._clock()
        with self._guard:
            cells = self._cells(target)
            concerned = zip(_names(target), cells if scope == "provider" else cells[:1], strict=False)
            opened = tuple([name for name, cell in concerned if cell.failed(now)])
            if hold_s is not None and hold_s > 0:
                cells[scope == "provider"].hold(now + hold_s, reason, asked=asked)
        return opened

    def released(self, target: Target) -> None:
        """Gives back a probe whose call ended without a verdict (the caller went away)."""
        with self._guard:
            for cell in self._cells(target):
                cell.probe_at = None

    def admit(self, target: Target) -> bool:
        """Asks to send one call; in half-open state only one caller gets True until the probe is answered."""
        now = self._clock()
        with self._guard:
            if self._disabled.get(target[1], 0.0) > now:
                return False
            cells = self._cells(target)
            if any(cell.closed_until(now) > now for cell in cells):
                return False
            for cell in cells:
                if cell.opened_at is not None:
                    cell.probe_at = now
            return True

    def asked_for(self, target: Target) -> float:
        """Seconds for which the provider asked to be left alone; breakers and holds of our own do not count."""
        now = self._clock()
        with self._guard:
            return max(0.0, *(cell.asked_until - now for cell in self._cells(target)))

    def may_retry(self, target: Target, wait_s: float) -> bool:
        """Whether a call that just failed at ``target`` may try there again after ``wait_s`` seconds."""
        now = self._clock()
        with self._guard:
            if self._disabled.get(target[1], 0.0) > now:
                return False
            return all(c.opened_at is None and c.held_until <= now + wait_s for c in self._cells(target))

    def disable(self, model: str, seconds: float = float("inf")) -> None:
        """Takes a model out until ``enable`` or for ``seconds``; unlike a breaker, no last resort overrides it."""
        with self._guard:
            self._disabled[model] = self._clock() + seconds

    def enable(self, model: str) -> None:
        """Undoes ``disable``; no effect where the model was not disabled."""
        with self._guard:
            self._disabled.pop(model, None)

    def disabled(self) -> dict[str, float]:
        """Seconds left by disabled model (``inf`` without an end)."""
        now = self._clock()
        with self._guard:
            return {model: until - now for model, until in self._disabled.items() if until > now}

    def mask(self, targets: Sequence[Target]) -> npt.NDArray[np.bool_]:
        """Which targets may be called now, bool[C]. Takes no probe: ``admit`` does at the call itself."""
        now = self._clock()
        with self._guard:
            return np.array([self._is_open(target, now) for target in targets], dtype=np.bool_)

    def scores(
        self, targets: Sequence[Target], sla_ms: Sequence[float | None] | None = None
    ) -> npt.NDArray[np.float32]:
        """Health scores, float32[C] in 0..1, 1 = nothing to complain of.

        (1 − failed / (calls + prior_calls)) of the worse of model and provider, times sla / latency where the moving
        mean of the latency breaches the target's SLA; both over the window.
        """
        now = self._clock()
        limits = sla_ms or [None] * len(targets)
        with self._guard:
            return np.array([self._score(t, limit, now) for t, limit in zip(targets, limits, strict=True)], np.float32)

    def last_resort(self, targets: Sequence[Target]) -> list[int]:
        """The order in which to try ``targets`` where ``mask`` is all False, as indices.

        Disabled ones are left out: a person wanted that. The rest stands by the time at which its door opens, soonest
        first, then by error rate, then in the order given. Never empty unless everything is disabled.
        """
        now = self._clock()
        with self._guard:
            keys = {
                i: (max(0.0, self._closed_for(t, now)), -self._score(t, None, now), i)
                for i, t in enumerate(targets)
                if self._disabled.get(t[1], 0.0) <= now
            }
        return sorted(keys, key=keys.__getitem__)

    def status(self) -> dict[str, CellStatus]:
        """State by ``provider`` and ``provider/model``."""
        now = self._clock()
        with self._guard:
            return {name: cell.status(now) for name, cell in sorted(self._named().items())}

    def doors(self) -> dict[str, Door]:
        """The doors that are not simply open, by name as in ``status``."""
        now = self._clock()
        with self._guard:
            return {name: cell.door(now) for name, cell in self._named().items() if cell.shut(now)}

    def adopt(self, name: str, door: Door) -> None:
        """Takes over what another replica found out about ``name``; its own calls go on deciding after that."""
        now = self._clock()
        provider, _, model = name.partition("/")
        with self._guard:
            cell = self._cells((provider, model))[0] if model else self._provider(provider)
            cell.adopt(door, now)

    def _named(self) -> dict[str, Cell]:
        return {**self._providers, **{_names(key)[0]: cell for key, cell in self._models.items()}}

    def _cells(self, target: Target) -> tuple[Cell, Cell]:
        """(the model's cell, the provider's cell), made at first sight."""
        model = self._models.get(target)
        if model is None:
            model = self._models[target] = Cell(self.settings)
        return model, self._provider(target[0])

    def _provider(self, name: str) -> Cell:
        provider = self._providers.get(name)
        if provider is None:
            provider = self._providers[name] = Cell(self.settings)
        return provider

    def _closed_for(self, target: Target, now: float) -> float:
        until = self._disabled.get(target[1], 0.0)
        for cell in self._cells(target):
            until = max(until, cell.closed_until(now))
        return until - now

    def _is_open(self, target: Target, now: float) -> bool:
        """As ``_closed_for(…) <= 0``, quick for what is well: every decision asks this of every candidate."""
        model, provider = self._models.get(target), self._providers.get(target[0])
        for cell in (model, provider):
            if cell is not None and cell.shut(now):
                return self._closed_for(target, now) <= 0
        return not self._disabled or self._disabled.get(target[1], 0.0) <= now

    def _score(self, target: Target, sla_ms: float | None, now: float) -> float:
        model, provider = self._models.get(target), self._providers.get(target[0])
        worst = min([cell.quality(now) for cell in (model, provider) if cell is not None], default=1.0)
        latency_ms = None if model is None else model.latency(now)
        if sla_ms is not None and latency_ms is not None and latency_ms > sla_ms:
            worst *= sla_ms / latency_ms
        return worst


def _names(target: Target) -> tuple[str, str]:
    """As ``status`` calls the model's cell and the provider's."""
    return f"{target[0]}/{target[1]}", target[0]
