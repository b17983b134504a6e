"""One timer for a whole attempt, moved without touching the event loop.

``asyncio.timeout`` around each read of a stream costs a timer made and cancelled for every chunk. Here a limit only
writes an attribute; the one timer of the loop looks at it when it fires, and sets itself again where the limit moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Literal, TypeVar

T = TypeVar("T")
_NEVER = float("inf")
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

    __slots__ = ("_before", "_deadline", "_due", "_fired", "_kind", "_loop", "_task", "_timer", "_when")

    def __init__(self, deadline: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = deadline
        self._due = self._when = _NEVER
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
        self.arm(due, kind)
        try:
            return await work
        except asyncio.CancelledError:
            expired = self.expired()
            if expired is None:
                raise
        finally:
            self.rest()
        raise expired

    def arm(self, due: float, kind: TimeoutKind) -> None:
        """From now on the running task is cancelled at loop time ``due``, or the deadline; :meth:`rest` ends that.

        What :meth:`limit` does in one, for those who read so often that a further coroutine for each read tells.
        """
        self._due, self._kind = (due, kind) if due < self._deadline else (self._deadline, "total")
        # The task is not always the same: a reader may ask for each chunk in one of its own.
        self._task = task = asyncio.current_task(self._loop)
        # Counted now, not when the timer strikes: a caller who cancels in the same turn of the loop must be heard.
        self._before = 0 if task is None else task.cancelling()
        if self._timer is None or self._when > self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._set(self._due)

    def rest(self) -> None:
        """Nothing is being waited for."""
        self._due = _NEVER

    def expired(self) -> Expired | None:
        """To be asked where a CancelledError came: the limit that passed, or None where somebody else cancelled."""
        if not self._fired or self._task is None:
            return None
        self._fired = False
        return Expired(self._kind) if self._task.uncancel() <= self._before else None

    def close(self) -> None:
        """Takes the timer out of the event loop."""
        self._due = _NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, when: float) -> None:
        self._when, self._timer = when, self._loop.call_at(when, self._check)

    def _check(self) -> None:
        self._timer = None
        if self._due == _NEVER:
            return
        if self._loop.time() < self._due:
            self._set(self._due)
        elif self._task is not None:
            self._fired = True
            self._task.cancel()
