"""What happens inside, as frozen events for observers, so that the runtime needs no logging or metrics library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from router_runtime.errors import PointsmanError
from router_runtime.records import Decision


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
class Swapped:
    """A registry, a bundle or the state of disabled models was taken over.

    Args:
        what: ``"registry"``, ``"bundle"`` or ``"overrides"``.
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


RouterEvent = Decided | DeadlineMissed | Swapped | SwapRefused
Observer = Callable[[RouterEvent], None]
"""Is called on the request's thread: it must be quick, and it must not raise."""
