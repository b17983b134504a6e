"""Rows on their way to a store: a fallback takes them while it fails, and they follow when it is back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from router_runtime.errors import StoreError
from router_runtime.forking import leave, mind_forks
from router_runtime.stores.base import EventStore, Row


@dataclass(frozen=True, slots=True)
class Delivered:
    """Where rows came to lie.

    Args:
        written: Of them, durable in the store.
        fallback: Durable in the fallback.
        error: Why they are in neither.
    """

    written: int = 0
    fallback: int = 0
    error: StoreError | None = None


class Delivery:
    """A store and its fallback, used by one thread.

    A store that failed is left alone for as long as failing took, so that one that hangs takes half of the thread's
    time at most, and the fallback has the other half.

    Args:
        store: Where rows go.
        fallback: Where they go while ``store`` fails; None = they are lost then.
        recovered: Begins to bring what ``fallback`` holds to ``store``, a portion at each step.
        timer: Monotonic seconds.
    """

    def __init__(
        self,
        store: EventStore,
        fallback: EventStore | None = None,
        recovered: Callable[[], Iterator[object]] | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._fallback, self._recovered, self._timer = store, fallback, recovered, timer
        self._bringing: Iterator[object] | None = None
        self.begin_anew()
        mind_forks(self)

    def begin_anew(self) -> None:
        """At the start and in a forked child, which leaves what its parent is in the middle of to it."""
        leave(self._bringing)
        self._bringing = None
        self._behind = self._recovered is not None  # an earlier process may have left something
        self._answers, self._rests_until = False, -math.inf

    def commit(self, rows: Sequence[Row]) -> Delivered:
        """Stores ``rows``; never raises."""
        error, fallback = self._send(rows), self._fallback
        if error is None:
            return Delivered(written=len(rows))
        if fallback is not None:
            error = _failure(lambda: fallback.append(rows))
        return Delivered(error=error) if error else Delivered(fallback=len(rows))

    def catch_up(self) -> bool:
        """Brings a portion of what the fallback holds to the store, if that answers; whether to go on now."""
        if not (self._behind and self._answers):
            return False
        began = self._timer()
        error = _failure(self._bring)
        if error is not None:
            self._failed(began)
        return self._behind and self._answers

    def close(self) -> None:
        """Closes both; may be called twice."""
        self._bringing = None
        self._store.close()
        if self._fallback is not None:
            self._fallback.close()

    def _send(self, rows: Sequence[Row]) -> StoreError | None:
        began = self._timer()
        if self._fallback is not None and began < self._rests_until:
            return StoreError("the store failed a moment ago")
        error = _failure(lambda: self._store.append(rows))
        self._answers = True
        if error is not None:
            self._failed(began)
        return error

    def _bring(self) -> None:
        assert self._recovered is not None
        if self._bringing is None:
            self._bringing = self._recovered()
        if next(self._bringing, None) is None:
            self._bringing, self._behind = None, False

    def _failed(self, began: float) -> None:
        now = self._timer()
        self._answers, self._rests_until = False, now + (now - began)
        self._bringing, self._behind = None, self._recovered is not None


def _failure(work: Callable[[], object]) -> StoreError | None:
    """Why ``work`` failed; None where it did not. Whatever it raises: the log's thread must not end."""
    try:
        work()
    except StoreError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a fault of a driver
        return StoreError(f"the store failed: {type(error).__name__}: {str(error)[:200]}")
    return None
