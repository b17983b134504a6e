"""What happens inside, as frozen events for observers, so that the runtime needs no logging or metrics library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from router_runtime.errors import BudgetExceeded, PointsmanError
from router_runtime.records import Attempt, Decision

AttemptReason = Literal["first", "fallback", "retry", "last_resort", "hedge"]
"""Why a candidate is asked: as the first; after another failed; a second time; though its door is closed; beside a slow
one."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision was made."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class DeadlineMissed:
    """A decision ran out of time, and the static table chose.

    Args:
        elapsed_ms: When that was seen.
        step: What had been done by then: ``"features"`` or ``"scores"``.
    """

    elapsed_ms: float
    step: str


@dataclass(frozen=True, slots=True)
class PredictionFailed:
    """The bundle's graph could not compute a request, and the static table chose.

    Args:
        error: Why.
    """

    error: PointsmanError


@dataclass(frozen=True, slots=True)
class Swapped:
    """A registry, a bundle or the state of disabled models was taken over.

    Args:
        what: ``"registry"``, ``"bundle"``, ``"overrides"``, or ``"bundle of ARM"``.
        version: Its fingerprint.
    """

    what: str
    version: str


@dataclass(frozen=True, slots=True)
class SwapRefused:
    """One was not valid; the former one goes on serving.

    Args:
        what: As in :class:`Swapped`.
        error: Why.
    """

    what: str
    error: PointsmanError


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A provider is about to be asked; :class:`AttemptFinished` with the same decision and index follows, always.

    Args:
        decision_id: Of the call.
        index: Place among the call's attempts, from 0.
        provider, model: The registry's names.
        reason: Why this one, now.
        wait_s: How long the call had waited for it (backoff, Retry-After).
    """

    decision_id: str
    index: int
    provider: str
    model: str
    reason: AttemptReason
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AttemptFinished:
    """An attempt ended, well (``attempt.error`` is None) or not; the record is the one that is logged."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class BudgetRefused:
    """A candidate was not asked, because a budget has too little left for it.

    Args:
        decision_id: Of the call.
        provider, model: The registry's names.
        error: Which budget, and when it resets.
    """

    decision_id: str
    provider: str
    model: str
    error: BudgetExceeded


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """A circuit breaker opened, or closed again after a good probe.

    Args:
        name: ``"provider"`` or ``"provider/model"``, as in :meth:`router_runtime.health.Health.status`.
        state: Its state from now on.
        reason: Class name of the error that opened it; None where it closed.
    """

    name: str
    state: Literal["open", "closed"]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The state that replicas share went away, so that limits hold in this process alone, or came back.

    Args:
        shared: Whether it is there from now on.
        reason: Class name of what went wrong; None where it came back.
    """

    shared: bool
    reason: str | None = None


RouterEvent = (
    Decided
    | DeadlineMissed
    | PredictionFailed
    | Swapped
    | SwapRefused
    | AttemptStarted
    | AttemptFinished
    | BudgetRefused
    | BreakerChanged
    | StateChanged
)
Observer = Callable[[RouterEvent], None]
"""Is called on the request's thread, attempts in the task of the call: it must be quick, and it must not raise."""


class Bell:
    """An observer that passes events on to others, which may join at any time.

    Args:
        listeners: The first ones.
    """

    def __init__(self, *listeners: Observer) -> None:
        self._listeners = listeners

    def add(self, listener: Observer) -> None:
        """``listener`` hears of everything from now on."""
        self._listeners = (*self._listeners, listener)

    def __call__(self, event: RouterEvent) -> None:
        """Tells everybody."""
        for listener in self._listeners:
            listener(event)
