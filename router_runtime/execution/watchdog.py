"""One timer for a whole attempt, moved without touching the event loop.

``asyncio.timeout`` around each read of a stream costs a timer made and cancelled for every chunk. Here a limit only
writes an attribute; the one timer of the loop looks at it when it fires, and sets itself again where the limit moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Literal, TypeVar

T = TypeVar("T")
TimeoutKind = Literal["first_token", "idle", "total"]


class Expired(Exception):
    """A limit passed; never leaves the package, the engine turns it into an attempt's error.

    Args:
        kind: Which limit.
    """

    def __init__(self, kind: TimeoutKind) -> None:
        super().__init__(kind)
        self.kind: TimeoutKind = kind


class Watchdog:
    """Limits of time on one attempt; each of them also ends at the deadline of the whole call.

    Args:
        deadline: Loop time at which the whole call ends.
    """

    __slots__ = ("_before", "_deadline", "_due", "_fired", "_kind", "_loop", "_task", "_timer")

    def __init__(self, deadline: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = deadline
        self._due = float("inf")
        self._kind: TimeoutKind = "total"
        self._fired = False
        self._before = 0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None

    async def limit(self, work: Awaitable[T], due: float, kind: TimeoutKind) -> T:
        """Awaits ``work`` until loop time ``due``, or the deadline where that is sooner.

        Raises:
            Expired: Saying which of the two passed; ``work`` was cancelled.
        """
        self._arm(due, kind)
        try:
            return await work
        except asyncio.CancelledError:
            if not self._was_ours():
                raise
        finally:
            self._due = float("inf")
        raise Expired(self._kind)

    def close(self) -> None:
        """Takes the timer out of the event loop."""
        self._due = float("inf")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, due: float, kind: TimeoutKind) -> None:
        self._due, self._kind = (due, kind) if due < self._deadline else (self._deadline, "total")
        self._task = asyncio.current_task()
        if self._timer is not None and self._timer.when() > self._due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._due, self._check)

    def _check(self) -> None:
        self._timer = None
        if self._due == float("inf"):
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._check)
        elif self._task is not None:
            self._fired, self._before = True, self._task.cancelling()
            self._task.cancel()

    def _was_ours(self) -> bool:
        """Whether the cancellation that just arrived is the timer's alone; takes it back from the task."""
        if not self._fired or self._task is None:
            return False
        self._fired = False
        return self._task.uncancel() <= self._before
