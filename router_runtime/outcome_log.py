"""The outcome log: events leave the request path through a bounded queue and one writing thread.

``offer`` never blocks and never fails the call that it is part of: where the queue is full the event is dropped and
counted. ``append`` returns once the event is durable. One thread writes batches to the store; where the store fails
the batch goes to the fallback, see :mod:`router_runtime.stores.delivery`. What waits when the process ends in order is
still written; a child that is forked begins with an empty queue, its parent writes what waited.
"""

from __future__ import annotations

import atexit
import hashlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from weakref import WeakSet

from router_runtime.errors import StoreError
from router_runtime.forking import mind_forks
from router_runtime.hooks import Decided, RouterEvent
from router_runtime.records import Decision, Event, uuid7
from router_runtime.stores.base import EventStore, Row, to_row
from router_runtime.stores.delivery import Delivered, Delivery
from router_runtime.stores.forward import forward
from router_runtime.stores.opening import address_of, local_folder, open_store
from router_runtime.stores.spool import Spool

_YIELD_S, _YIELD_EVERY = 20e-6, 2
"""After every second event that nobody waits for, the thread lets go of the interpreter: a request that needs it then
waits for 0.05 ms at most, not for a batch nor for the interpreter's switch interval. Letting go costs 20 µs."""
_BATCH_BYTES = 4 << 20
_EVENT_BYTES, _ID_BYTES = 2048, 40
"""Of memory: an event without its text, and one of the features' ids."""


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


class _Waiting(NamedTuple):
    """One event in the queue, who waits for it, and about how many bytes it holds."""

    event: Event
    ticket: _Ticket | None
    size: int


class OutcomeLog:
    """A queue, a thread and a store.

    Args:
        store: Where events go.
        fallback: Where they go while ``store`` fails (a local spool beside a remote store).
        capacity: Events that may wait; beyond it ``offer`` drops.
        capacity_bytes: Of memory that they may hold, likewise: each may keep a prompt of any length.
        batch: Events in one commit; fewer where they are large.
        recovered: Begins to bring what the fallback may hold to the store, a portion at each step; called on the
            writing thread when the store takes events.
        linger_s: How long the thread gathers offered events before it commits; an ``append`` is written at once. A
            commit slows the requests beside it, so few of them are to meet one.
        new_id: Makes the key of an event.
        timer: Monotonic seconds.
        place: Folder or URL of ``store``, for those who read it; may hold a password.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        fallback: EventStore | None = None,
        recovered: Callable[[], Iterator[object]] | None = None,
        capacity: int = 10_000,
        capacity_bytes: int = 128 << 20,
        batch: int = 512,
        linger_s: float = 0.25,
        new_id: Callable[[], str] = uuid7,
        timer: Callable[[], float] = time.monotonic,
        place: str | Path | None = None,
    ) -> None:
        self.place = place
        self._delivery = Delivery(store, fallback, recovered, timer)
        self._capacity, self._capacity_bytes = capacity, capacity_bytes
        self._batch, self._linger_s, self._new_id = batch, linger_s, new_id
        self._closed = False
        self.begin_anew()
        mind_forks(self)
        _OPEN.add(self)

    def begin_anew(self) -> None:
        """At the start and in a forked child, whose parent writes what waits and has the thread."""
        self._queue: deque[_Waiting] = deque()
        self._state = threading.Condition()
        self._stats = LogStats()
        self._urgent = self._hurry = self._catching_up = False
        self._held = self._busy = 0
        self._thread: threading.Thread | None = None

    @property
    def stats(self) -> LogStats:
        """Counts so far."""
        with self._state:
            return replace(self._stats, pending=len(self._queue) + self._busy)

    def offer(self, event: Event) -> bool:
        """Queues ``event`` without waiting; False where the queue is full or closed and the event was dropped."""
        size = _size(event)
        with self._state:
            if self._closed or self._is_full(size):
                self._stats = replace(self._stats, dropped=self._stats.dropped + 1)
                return False
            self._put(_Waiting(event, None, size))
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
            self._urgent = True
            for event in events:
                self._put(_Waiting(event, ticket, _size(event)))
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
        self._delivery.close()
        _OPEN.discard(self)

    def _is_full(self, size: int) -> bool:
        """Whether an event of ``size`` bytes finds no room; where nothing waits, one of any size does."""
        return len(self._queue) >= self._capacity or bool(self._queue and self._held + size > self._capacity_bytes)

    def _put(self, one: _Waiting) -> None:
        """Queues; starts the thread at the first event, so that a router that logs nothing costs none."""
        self._queue.append(one)
        self._held += one.size
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="pointsman-outcome-log", daemon=True)
            self._thread.start()
        elif len(self._queue) == 1 or self._is_due():
            self._state.notify_all()

    def _is_due(self) -> bool:
        """Whether what waits is to be written without lingering."""
        large = len(self._queue) >= self._batch or self._held >= _BATCH_BYTES
        return self._urgent or self._closed or self._catching_up or large

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            if taken:
                self._write(taken)
            self._catching_up = self._delivery.catch_up()

    def _take(self) -> list[_Waiting] | None:
        """The next batch, nothing where a step of catching up is due; None once the log is closed and empty."""
        with self._state:
            while not (self._queue or self._catching_up or self._closed):
                self._state.wait()
            if self._closed and not self._queue:
                return None
            if not self._is_due():
                self._state.wait(self._linger_s)
            taken: list[_Waiting] = []
            size = 0
            while self._queue and len(taken) < self._batch and size < _BATCH_BYTES:
                taken.append(self._queue.popleft())
                size += taken[-1].size
            self._held -= size
            self._hurry = self._urgent or len(taken) == self._batch
            self._urgent = self._urgent and bool(self._queue)
            self._busy = len(taken)
            return taken

    def _write(self, taken: list[_Waiting]) -> None:
        rows: list[Row] = []
        waiting: list[_Ticket] = []
        unreadable = 0
        for place, (event, ticket, _) in enumerate(taken):
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
        done = self._delivery.commit(rows) if rows else Delivered()
        with self._state:
            lost = unreadable + len(rows) - done.written - done.fallback
            old = self._stats
            self._stats = LogStats(old.written + done.written, old.fallback + done.fallback, old.dropped + lost)
            self._busy = 0
            self._state.notify_all()
        _answer(waiting, done.error)


_OPEN: WeakSet[OutcomeLog] = WeakSet()


def _flush_all() -> None:
    """At the end of the process: what was offered in the last moment is not lost where nobody closes the log."""
    for log in list(_OPEN):
        log.flush()


atexit.register(_flush_all)


def open_log(place: str | Path, outbox: Path) -> OutcomeLog:
    """The log at ``place``: a folder, its ``dir:///`` URL, or a remote store with ``outbox`` for the time it is away.

    Raises:
        ConfigError: Where ``place`` is no store, or its driver is not installed.
    """
    store = open_store(place)
    if local_folder(place) is not None:
        return OutcomeLog(store, place=place)
    name = hashlib.sha256(address_of(str(place)).encode()).hexdigest()[:16]
    folder = outbox / name  # one for each store: what was meant for one must not go to another
    spare = Spool(folder)

    def catch_up() -> Iterator[object]:
        spare.close()
        return forward(folder, store)

    return OutcomeLog(store, fallback=spare, recovered=catch_up, place=place)


def _size(event: Event) -> int:
    """About how many bytes of memory ``event`` holds."""
    if not isinstance(event, Decision):
        return _EVENT_BYTES
    text = 0 if event.prompt is None else sys.getsizeof(event.prompt)
    ids = 0 if event.features is None else len(event.features.get("ids", ()))
    return _EVENT_BYTES + text + ids * _ID_BYTES


def _answer(tickets: list[_Ticket], error: StoreError | None) -> None:
    for ticket in tickets:
        ticket.answer(error)
