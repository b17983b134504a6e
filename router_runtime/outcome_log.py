"""The outcome log: events leave the request path through a bounded queue and one writing thread.

``offer`` never blocks and never fails the call that it is part of: where the queue is full the event is dropped and
counted. ``append`` returns once the event is durable. One thread writes batches to the store; where the store fails
the batch goes to the fallback, and the store is tried again with the next one.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from router_runtime.errors import StoreError
from router_runtime.hooks import Decided, RouterEvent
from router_runtime.records import Event, uuid7
from router_runtime.stores.base import EventStore, Row, to_row
from router_runtime.stores.forward import forward
from router_runtime.stores.opening import local_folder, open_store
from router_runtime.stores.spool import Spool

_YIELD_S, _YIELD_EVERY = 20e-6, 2
"""After every second event that nobody waits for, the thread lets go of the interpreter: a request that needs it then
waits for 0.05 ms at most, not for a batch nor for the interpreter's switch interval. Letting go costs 20 µs."""


@dataclass(frozen=True, slots=True)
class LogStats:
    """What the log did since it was opened, in events.

    Args:
        written: Durable in the store.
        fallback: Durable in the fallback, because the store failed.
        dropped: Lost because the queue was full, or because store and fallback failed; never an acknowledged one.
        pending: Waiting in the queue.
    """

    written: int = 0
    fallback: int = 0
    dropped: int = 0
    pending: int = 0


class _Ticket:
    """What an ``append`` waits for: ``left`` events, which the log's thread answers one by one."""

    __slots__ = ("done", "error", "left")

    def __init__(self, left: int) -> None:
        self.done = threading.Event()
        self.error: StoreError | None = None
        self.left = left

    def answer(self, error: StoreError | None) -> None:
        self.left -= 1
        self.error = self.error or error
        if self.left == 0:
            self.done.set()


class OutcomeLog:
    """A queue, a thread and a store.

    Args:
        store: Where events go.
        fallback: Where they go while ``store`` fails (a local spool beside a remote store).
        capacity: Events that may wait; beyond it ``offer`` drops.
        batch: Events in one commit.
        recovered: Called on the writing thread when the store takes events and the fallback may hold some; a
            StoreError of it means: again after the next batch.
        linger_s: How long the thread gathers offered events before it commits; an ``append`` is written at once. A
            commit slows the requests beside it, so few of them are to meet one.
        new_id: Makes the key of an event.
        place: Folder or URL of ``store``, for those who read it; may hold a password.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        fallback: EventStore | None = None,
        recovered: Callable[[], object] | None = None,
        capacity: int = 10_000,
        batch: int = 512,
        linger_s: float = 0.25,
        new_id: Callable[[], str] = uuid7,
        place: str | Path | None = None,
    ) -> None:
        self.place = place
        self._store, self._fallback, self._recovered = store, fallback, recovered
        self._behind = recovered is not None  # an earlier process may have left something
        self._capacity, self._batch, self._linger_s, self._new_id = capacity, batch, linger_s, new_id
        self._queue: deque[tuple[Event, _Ticket | None]] = deque()
        self._state = threading.Condition()
        self._stats = LogStats()
        self._urgent = self._closed = self._hurry = False
        self._busy = 0
        self._thread: threading.Thread | None = None

    @property
    def stats(self) -> LogStats:
        """Counts so far."""
        with self._state:
            return replace(self._stats, pending=len(self._queue) + self._busy)

    def offer(self, event: Event) -> bool:
        """Queues ``event`` without waiting; False where the queue is full or closed and the event was dropped."""
        with self._state:
            if self._closed or len(self._queue) >= self._capacity:
                self._stats = replace(self._stats, dropped=self._stats.dropped + 1)
                return False
            self._queue.append((event, None))
            self._wake()
            return True

    def observe(self, event: RouterEvent) -> None:
        """A router's observer: offers each decision."""
        if isinstance(event, Decided):
            self.offer(event.decision)

    def append(self, *events: Event, timeout_s: float = 10.0) -> None:
        """Returns once all ``events`` (at least one) are durable, in the store or in the fallback.

        Raises:
            StoreError: Where one could not be stored, or not in time; it may then be stored later or never, as may
                the others.
        """
        ticket = _Ticket(len(events))
        with self._state:
            if self._closed:
                raise StoreError("the outcome log is closed")
            self._queue.extend((event, ticket) for event in events)
            self._urgent = True
            self._wake()
        if not ticket.done.wait(timeout_s):
            raise StoreError(f"the event was not stored within {timeout_s:g} s")
        if ticket.error is not None:
            raise ticket.error

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Waits until the queue is empty and written; False where the time was not enough."""
        end = time.monotonic() + timeout_s
        with self._state:
            self._urgent = True
            self._state.notify_all()
            while self._queue or self._busy:
                left = end - time.monotonic()
                if left <= 0 or not self._state.wait(left):
                    return False
        return True

    def close(self, timeout_s: float = 10.0) -> None:
        """Writes what is queued, ends the thread and closes the stores; may be called twice."""
        with self._state:
            self._closed = True
            self._state.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
        self._store.close()
        if self._fallback is not None:
            self._fallback.close()

    def _wake(self) -> None:
        """Starts the thread at the first event, so that a router that logs nothing costs none."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="pointsman-outcome-log", daemon=True)
            self._thread.start()
        elif self._urgent or len(self._queue) in (1, self._batch):
            self._state.notify_all()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            self._write(taken)

    def _take(self) -> list[tuple[Event, _Ticket | None]] | None:
        """The next batch; None once the log is closed and empty."""
        with self._state:
            while not self._queue:
                if self._closed:
                    return None
                self._state.wait()
            if not (self._urgent or self._closed or len(self._queue) >= self._batch):
                self._state.wait(self._linger_s)
            taken = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
            self._urgent = self._urgent and bool(self._queue)
            self._busy = len(taken)
            self._hurry = self._urgent or len(taken) == self._batch
            return taken

    def _write(self, taken: list[tuple[Event, _Ticket | None]]) -> None:
        rows: list[Row] = []
        waiting: list[_Ticket] = []
        unreadable = 0
        for place, (event, ticket) in enumerate(taken):
            if not (self._hurry or place % _YIELD_EVERY):
                time.sleep(_YIELD_S)
            try:
                rows.append(to_row(event, self._new_id()))
            except Exception as error:  # noqa: BLE001 - a caller's meta may hold anything, and must not stop the others
                unreadable += 1
                _answer([ticket] if ticket else [], StoreError(f"the event is not JSON: {error}"))
            else:
                if ticket is not None:
                    waiting.append(ticket)
        written, fallback, error_seen = self._commit(rows)
        with self._state:
            lost = unreadable + len(rows) - written - fallback
            old = self._stats
            self._stats = LogStats(old.written + written, old.fallback + fallback, old.dropped + lost)
            self._busy = 0
            self._state.notify_all()
        _answer(waiting, error_seen)
        if written:
            self._catch_up()

    def _commit(self, rows: list[Row]) -> tuple[int, int, StoreError | None]:
        """(rows in the store, rows in the fallback, what went wrong where they are in neither)."""
        if not rows:
            return 0, 0, None
        failed = _failure(self._store, rows)
        if failed is None:
            return len(rows), 0, None
        if self._fallback is None:
            return 0, 0, failed
        self._behind = self._recovered is not None
        failed = _failure(self._fallback, rows)
        return 0, 0 if failed else len(rows), failed

    def _catch_up(self) -> None:
        """Tells that the store answers again, until that has worked once."""
        if self._behind and self._recovered is not None:
            try:
                self._recovered()
            except StoreError:  # away again: the rows stay where they are
                return
            self._behind = False


def open_log(place: str | Path, outbox: Path) -> OutcomeLog:
    """The log at ``place``: a folder, its ``dir:///`` URL, or a remote store with ``outbox`` for the time it is away.

    Raises:
        ConfigError: Where ``place`` is no store, or its driver is not installed.
    """
    store = open_store(place)
    if local_folder(place) is not None:
        return OutcomeLog(store, place=place)
    where = urlsplit(str(place))
    name = hashlib.sha256(f"{where.scheme}://{where.hostname}:{where.port}{where.path}".encode()).hexdigest()[:16]
    folder = outbox / name  # one for each store: what was meant for one must not go to another
    spare = Spool(folder)

    def catch_up() -> None:
        spare.close()
        forward(folder, store)

    return OutcomeLog(store, fallback=spare, recovered=catch_up, place=place)


def _failure(store: EventStore, rows: list[Row]) -> StoreError | None:
    """Why ``store`` did not take ``rows``; None where it did. Whatever it raises: the log's thread must not end."""
    try:
        store.append(rows)
    except StoreError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a fault of a driver
        return StoreError(f"the store failed: {type(error).__name__}: {str(error)[:200]}")
    return None


def _answer(tickets: list[_Ticket], error: StoreError | None) -> None:
    for ticket in tickets:
        ticket.answer(error)
