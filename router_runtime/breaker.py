"""Circuit breaker, rolling window and hold of one thing that is called.

The breaker opens after too many failures: closed → open → half-open, in which one probe at a time decides. A hold
(Retry-After, an exhausted quota) closes the door until a stated time and leaves the breaker as it is.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, NamedTuple

BreakerState = Literal["closed", "open", "half_open"]


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
        latency_ms: Moving mean over good calls; None where the window holds none.
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


class Cell:
    """Window, latency, breaker and hold of one provider or model; not safe alone, its owner locks around it.

    ``now`` is in monotonic seconds throughout.

    Args:
        settings: Thresholds.
    """

    __slots__ = (
        "asked_until",
        "bad",
        "good",
        "held_until",
        "hold_reason",
        "latency_at",
        "latency_ms",
        "opened_at",
        "probe_at",
        "run",
        "settings",
        "slots",
    )

    def __init__(self, settings: HealthSettings) -> None:
        self.settings = settings
        self.slots: deque[list[int]] = deque()  # [number of the slot, good, failed]
        self.good = self.bad = self.run = 0
        self.latency_ms = 0.0
        self.latency_at: float | None = None
        self.opened_at: float | None = None
        self.probe_at: float | None = None
        self.held_until = self.asked_until = 0.0
        self.hold_reason: str | None = None

    def succeeded(self, now: float, latency_ms: float | None) -> bool:
        """Counts a good call; whether it closed the breaker, as a good probe."""
        probed = self.opened_at is not None
        if probed:
            self._close_breaker()
        self.run = 0
        self._count(now, good=1)
        if latency_ms is not None:
            held = self.latency(now)
            self.latency_ms = latency_ms if held is None else held + self.settings.latency_weight * (latency_ms - held)
            self.latency_at = now
        return probed

    def failed(self, now: float) -> bool:
        """Counts a failed call; whether it opened the breaker."""
        self.run += 1
        self._count(now, bad=1)
        if self.opened_at is not None:  # a failed probe: closed again for a whole interval
            self.opened_at, self.probe_at = now, None
        elif self._should_open():
            self.opened_at = now
            return True
        return False

    def hold(self, until: float, reason: str, *, asked: bool) -> None:
        """Closes the door until a time; an earlier hold that lasts longer stays."""
        self.held_until, self.hold_reason = max(self.held_until, until), reason or "held"
        if asked:
            self.asked_until = max(self.asked_until, until)

    def shut(self, now: float) -> bool:
        """Whether it must be asked :meth:`closed_until`; quick, for what is well."""
        return self.opened_at is not None or self.held_until > now

    def closed_until(self, now: float) -> float:
        """The time at which a call may be tried; not after ``now`` where it may be at once."""
        until, settings = self.held_until, self.settings
        if self.opened_at is not None:
            until = max(until, self.opened_at + settings.probe_interval_s)
            if self.probe_at is not None and now < self.probe_at + settings.probe_timeout_s:
                until = max(until, self.probe_at + settings.probe_timeout_s)
        return until

    def quality(self, now: float) -> float:
        """1 − failed / (calls + prior_calls) over the window, 0..1."""
        if not self.bad:
            return 1.0
        self._age(now)
        return 1.0 - self.bad / (self.good + self.bad + self.settings.prior_calls)

    def latency(self, now: float) -> float | None:
        """Moving mean over good calls in ms; None where the window holds none.

        What is left alone for its latency gets no call that could show a better one, so that an old one is forgotten.
        """
        if self.latency_at is None or now >= self.latency_at + self.settings.window_s:
            return None
        return self.latency_ms

    def status(self, now: float) -> CellStatus:
        """For status pages."""
        self._age(now)
        calls, state = self.good + self.bad, self._state(now)
        wait = max(0.0, self.closed_until(now) - now)
        reason = self.hold_reason if self.held_until > now else f"breaker {state}" if state != "closed" else None
        return CellStatus(state, calls, self.bad / calls if calls else 0.0, self.latency(now), wait, reason)

    def door(self, now: float) -> Door:
        """For other replicas."""
        opened_ago_s = None if self.opened_at is None else now - self.opened_at
        held_for_s, asked_for_s = max(0.0, self.held_until - now), max(0.0, self.asked_until - now)
        return Door(opened_ago_s, held_for_s, self.hold_reason, asked_for_s)

    def adopt(self, door: Door, now: float) -> None:
        """Takes over another replica's door."""
        if door.opened_ago_s is not None:
            self.opened_at, self.probe_at = now - door.opened_ago_s, None
        elif self.opened_at is not None:
            self._close_breaker()
        self.held_until, self.hold_reason = now + door.held_for_s, door.reason
        self.asked_until = now + door.asked_for_s

    def _count(self, now: float, *, good: int = 0, bad: int = 0) -> None:
        slot = int(now * self.settings.slots / self.settings.window_s)
        if not self.slots or self.slots[-1][0] != slot:
            self.slots.append([slot, 0, 0])
        self.slots[-1][1] += good
        self.slots[-1][2] += bad
        self.good += good
        self.bad += bad
        self._age(now)

    def _age(self, now: float) -> None:
        oldest = int(now * self.settings.slots / self.settings.window_s) - self.settings.slots
        while self.slots and self.slots[0][0] <= oldest:
            _, good, bad = self.slots.popleft()
            self.good -= good
            self.bad -= bad

    def _state(self, now: float) -> BreakerState:
        if self.opened_at is None:
            return "closed"
        return "open" if now < self.opened_at + self.settings.probe_interval_s else "half_open"

    def _should_open(self) -> bool:
        calls = self.good + self.bad
        return self.run >= self.settings.open_after or (
            calls >= self.settings.min_calls and self.bad >= self.settings.open_error_rate * calls
        )

    def _close_breaker(self) -> None:
        """After a good probe: the past is forgotten, or the old failures would open it again at once."""
        self.opened_at = self.probe_at = None
        self.slots.clear()
        self.good = self.bad = self.run = 0
