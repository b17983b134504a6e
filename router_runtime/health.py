"""Live health of providers and models: what the policy may choose now, and how well each has been doing.

For each provider, and for each model at it, a rolling window counts good and failed calls and an exponentially
weighted mean follows the latency. A circuit breaker opens after too many failures: closed → open → half-open, in
which one probe at a time decides. A hold (Retry-After, an exhausted quota) and a disablement close the door until a
stated time. Nothing here waits, does I/O or reads the wall clock; the clock is injected.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

UNHEALTHY = "unhealthy or disabled"
"""The reason that a decision gives for leaving out a model whose door is closed."""

BreakerState = Literal["closed", "open", "half_open"]
Scope = Literal["model", "provider"]
Target = tuple[str, str]
"""(provider, model)."""


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """When a breaker opens and how scores fall.

    Args:
        window_s: Length of the rolling window.
        slots: Parts of the window; old calls leave it a part at a time.
        min_calls: Calls in the window before the error rate may open the breaker.
        open_error_rate: Share of failures, 0..1, at which it opens.
        open_after: Failures in a row at which it opens, however few calls there were.
        probe_interval_s: How long it stays open before one probe is let through.
        probe_timeout_s: How long a probe may stay unanswered before another is let through.
        prior_calls: Imaginary good calls in the error rate of the score, so that one failure is no verdict.
        latency_weight: Weight of the newest latency in the moving mean, 0..1.
    """

    window_s: float = 60.0
    slots: int = 12
    min_calls: int = 10
    open_error_rate: float = 0.5
    open_after: int = 5
    probe_interval_s: float = 15.0
    probe_timeout_s: float = 60.0
    prior_calls: float = 4.0
    latency_weight: float = 0.2


@dataclass(frozen=True, slots=True)
class CellStatus:
    """What is known of one provider or one model at it, for ``status`` pages.

    Args:
        state: Of the breaker.
        calls: Calls in the window.
        error_rate: Share of failures in the window, 0..1.
        latency_ms: Moving mean over good calls; None before the first.
        closed_for_s: Seconds until a call may be tried; 0 where it may be now.
        reason: Why the door is closed; None where it is open.
    """

    state: BreakerState
    calls: int
    error_rate: float
    latency_ms: float | None
    closed_for_s: float
    reason: str | None


class Door(NamedTuple):
    """What replicas tell each other of one provider or model: whether its door is closed, and since when.

    Args:
        opened_ago_s: Since when its breaker is open (in half-open state, too); None = closed.
        held_for_s: For how long nothing may be sent to it; 0 = it may.
        reason: Of the hold.
        asked_for_s: How much of the hold the provider itself asked for.
    """

    opened_ago_s: float | None
    held_for_s: float
    reason: str | None
    asked_for_s: float = 0.0


class _Cell:
    """Window, latency and breaker of one thing; not safe alone, :class:`Health` locks around it."""

    __slots__ = (
        "asked_until",
        "bad",
        "good",
        "held_until",
        "hold_reason",
        "latency_ms",
        "opened_at",
        "probe_at",
        "run",
        "slots",
    )

    def __init__(self) -> None:
        self.slots: deque[list[int]] = deque()  # [number of the slot, good, failed]
        self.good = self.bad = self.run = 0
        self.latency_ms: float | None = None
        self.opened_at: float | None = None
        self.probe_at: float | None = None
        self.held_until = self.asked_until = 0.0
        self.hold_reason: str | None = None

    def count(self, now: float, settings: HealthSettings, *, good: int = 0, bad: int = 0) -> None:
        slot = int(now * settings.slots / settings.window_s)
        if not self.slots or self.slots[-1][0] != slot:
            self.slots.append([slot, 0, 0])
        self.slots[-1][1] += good
        self.slots[-1][2] += bad
        self.good += good
        self.bad += bad
        self.age(now, settings)

    def age(self, now: float, settings: HealthSettings) -> None:
        oldest = int(now * settings.slots / settings.window_s) - settings.slots
        while self.slots and self.slots[0][0] <= oldest:
            _, good, bad = self.slots.popleft()
            self.good -= good
            self.bad -= bad

    def state(self, now: float, settings: HealthSettings) -> BreakerState:
        if self.opened_at is None:
            return "closed"
        return "open" if now < self.opened_at + settings.probe_interval_s else "half_open"

    def closed_until(self, now: float, settings: HealthSettings) -> float:
        """The time at which a call may be tried; not after ``now`` where it may be at once."""
        until = self.held_until
        if self.opened_at is not None:
            until = max(until, self.opened_at + settings.probe_interval_s)
            if self.probe_at is not None and now < self.probe_at + settings.probe_timeout_s:
                until = max(until, self.probe_at + settings.probe_timeout_s)
        return until

    def should_open(self, settings: HealthSettings) -> bool:
        calls = self.good + self.bad
        return self.run >= settings.open_after or (
            calls >= settings.min_calls and self.bad >= settings.open_error_rate * calls
        )

    def close_breaker(self) -> None:
        """After a good probe: the past is forgotten, or the old failures would open it again at once."""
        self.opened_at = self.probe_at = None
        self.slots.clear()
        self.good = self.bad = self.run = 0


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
        self._models: dict[Target, _Cell] = {}
        self._providers: dict[str, _Cell] = {}
        self._disabled: dict[str, float] = {}

    @property
    def untouched(self) -> bool:
        """Whether nothing was ever told to it, so that every mask is True and every score 1."""
        return not self._providers and not self._disabled

    def succeeded(self, target: Target, latency_ms: float | None = None) -> tuple[str, ...]:
        """Counts a good answer after ``latency_ms``; the names of the breakers that it closed as a good probe."""
        now = self._clock()
        closed: tuple[str, ...] = ()
        with self._guard:
            for name, cell in zip(_names(target), self._cells(target), strict=True):
                if cell.opened_at is not None:
                    cell.close_breaker()
                    closed += (name,)
                cell.run = 0
                cell.count(now, self.settings, good=1)
                if latency_ms is not None:
                    weight = self.settings.latency_weight if cell.latency_ms is not None else 1.0
                    cell.latency_ms = weight * latency_ms + (1 - weight) * (cell.latency_ms or 0.0)
        return closed

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
            opened = tuple(name for name, cell in concerned if self._count_failure(cell, now))
            if hold_s is not None and hold_s > 0:
                cell = cells[1] if scope == "provider" else cells[0]
                cell.held_until, cell.hold_reason = max(cell.held_until, now + hold_s), reason or "held"
                if asked:
                    cell.asked_until = max(cell.asked_until, now + hold_s)
        return opened

    def _count_failure(self, cell: _Cell, now: float) -> bool:
        """Whether the breaker was closed and is open now."""
        cell.run += 1
        cell.count(now, self.settings, bad=1)
        if cell.opened_at is not None:  # a failed probe: closed again for a whole interval
            cell.opened_at, cell.probe_at = now, None
        elif cell.should_open(self.settings):
            cell.opened_at = now
            return True
        return False

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
            if any(cell.closed_until(now, self.settings) > now for cell in cells):
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
        mean of the latency breaches the target's SLA.
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
            cells = {**self._providers, **{_names(key)[0]: cell for key, cell in self._models.items()}}
            return {name: self._describe(cell, now) for name, cell in sorted(cells.items())}

    def doors(self) -> dict[str, Door]:
        """The doors that are not simply open, by name as in ``status``."""
        now = self._clock()
        with self._guard:
            cells = {**self._providers, **{_names(key)[0]: cell for key, cell in self._models.items()}}
            return {
                name: Door(
                    None if cell.opened_at is None else now - cell.opened_at,
                    max(0.0, cell.held_until - now),
                    cell.hold_reason,
                    max(0.0, cell.asked_until - now),
                )
                for name, cell in cells.items()
                if cell.opened_at is not None or cell.held_until > now
            }

    def adopt(self, name: str, door: Door) -> None:
        """Takes over what another replica found out about ``name``; its own calls go on deciding after that."""
        now = self._clock()
        provider, _, model = name.partition("/")
        with self._guard:
            cell = self._cells((provider, model))[0] if model else self._providers.setdefault(provider, _Cell())
            if door.opened_ago_s is not None:
                cell.opened_at, cell.probe_at = now - door.opened_ago_s, None
            elif cell.opened_at is not None:
                cell.close_breaker()
            cell.held_until, cell.hold_reason = now + door.held_for_s, door.reason
            cell.asked_until = now + door.asked_for_s

    def _describe(self, cell: _Cell, now: float) -> CellStatus:
        cell.age(now, self.settings)
        calls, state = cell.good + cell.bad, cell.state(now, self.settings)
        wait = max(0.0, cell.closed_until(now, self.settings) - now)
        reason = cell.hold_reason if cell.held_until > now else f"breaker {state}" if state != "closed" else None
        return CellStatus(state, calls, cell.bad / calls if calls else 0.0, cell.latency_ms, wait, reason)

    def _cells(self, target: Target) -> tuple[_Cell, _Cell]:
        """(the model's cell, the provider's cell), made at first sight."""
        model = self._models.get(target)
        if model is None:
            model = self._models[target] = _Cell()
        provider = self._providers.get(target[0])
        if provider is None:
            provider = self._providers[target[0]] = _Cell()
        return model, provider

    def _closed_for(self, target: Target, now: float) -> float:
        until = self._disabled.get(target[1], 0.0)
        for cell in self._cells(target):
            until = max(until, cell.closed_until(now, self.settings))
        return until - now

    def _is_open(self, target: Target, now: float) -> bool:
        """As ``_closed_for(…) <= 0``, quick for what is well: every decision asks this of every candidate."""
        model, provider = self._models.get(target), self._providers.get(target[0])
        for cell in (model, provider):
            if cell is not None and (cell.opened_at is not None or cell.held_until > now):
                return self._closed_for(target, now) <= 0
        return not self._disabled or self._disabled.get(target[1], 0.0) <= now

    def _score(self, target: Target, sla_ms: float | None, now: float) -> float:
        worst = 1.0
        model, provider = self._models.get(target), self._providers.get(target[0])
        for cell in (model, provider):
            if cell is not None and cell.bad:
                cell.age(now, self.settings)
                worst = min(worst, 1.0 - cell.bad / (cell.good + cell.bad + self.settings.prior_calls))
        if model is None:
            return worst
        if sla_ms is not None and model.latency_ms is not None and model.latency_ms > sla_ms:
            worst *= sla_ms / model.latency_ms
        return worst


def _names(target: Target) -> tuple[str, str]:
    """As ``status`` calls the model's cell and the provider's."""
    return f"{target[0]}/{target[1]}", target[0]
