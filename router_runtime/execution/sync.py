"""Synchronous twins of asynchronous calls, on one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from router_runtime.execution.settings import StreamItem
from router_runtime.execution.streams import ChatStream
from router_runtime.forking import Process

T = TypeVar("T")


class Background:
    """An event loop in a daemon thread, started at its first use. Safe to use from several threads."""

    def __init__(self) -> None:
        # Work is handed over under it, so that stop() finds all of it. Reentrant, because the collector may let go of a
        # stream in a thread that holds it.
        self._guard = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = Process()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs ``work`` to its end; an interrupt of the waiting thread cancels it.

        Raises:
            concurrent.futures.CancelledError: :meth:`stop` ended it.
        """
        with self._guard:
            future = asyncio.run_coroutine_threadsafe(work, self.started())
        return _result(future)

    def hand(self, work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> Future[T]:
        """Gives ``work`` to ``loop``, which an earlier use was run on, and does not wait.

        Raises:
            concurrent.futures.CancelledError: :meth:`stop` ended that loop.
        """
        with self._guard:
            self._leave()
            if self._loop is loop:
                return asyncio.run_coroutine_threadsafe(work, loop)
        work.close()
        raise CancelledError("the router was closed")

    def stop(self) -> None:
        """Ends what runs, then the loop and its thread; a later use starts new ones."""
        with self._guard:
            self._leave()
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            asyncio.run_coroutine_threadsafe(_end_all(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def started(self) -> asyncio.AbstractEventLoop:
        """The loop."""
        with self._guard:
            self._leave()
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="pointsman-calls", daemon=True)
                self._thread.start()
            return self._loop

    def _leave(self) -> None:
        """In a forked child there is no thread to run the parent's loop."""
        if self._process.forked(self._loop):
            self._loop = self._thread = None


class SyncStream(Iterator[StreamItem]):
    """The items of a stream, for code without an event loop; close it (``with``, ``close``) where you stop early.

    One that is let go of without that is closed soon after, and nobody waits for it: the collector lets go of things in
    any thread, be it the loop's own, and under locks that the closing may need.

    Args:
        background: Runs it.
        stream: Not begun yet.

    Raises:
        concurrent.futures.CancelledError: While iterating, where the background was stopped.
    """

    def __init__(self, background: Background, stream: ChatStream) -> None:
        self._background, self._stream = background, stream
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()  # a step that was interrupted must end before the stream can be closed
        self._ended = False

    def __next__(self) -> StreamItem:
        item: StreamItem | None = None
        if not self._ended:
            self._loop = self._loop or self._background.started()
            try:
                item = _result(self._background.hand(_next(self._stream, self._turn), self._loop))
            finally:
                if item is None:
                    self.close()
        if item is None:
            raise StopIteration
        return item

    def close(self) -> None:
        """Stops the provider and closes the books; may be called twice."""
        with suppress(CancelledError):  # stopped: that closed it
            closing = self._let_go()
            if closing is not None:
                _result(closing)

    def _let_go(self) -> Future[None] | None:
        """Begins to close what is open."""
        ended, self._ended = self._ended, True
        if ended or self._loop is None:
            return None
        return self._background.hand(_aclose(self._stream, self._turn), self._loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(CancelledError):
            self._let_go()


def _result(future: Future[T]) -> T:
    """What came of it; an interrupt of the waiting thread cancels it."""
    try:
        return future.result()
    finally:
        future.cancel()  # no effect where it is done


async def _next(stream: ChatStream, turn: asyncio.Lock) -> StreamItem | None:
    async with turn:
        return await anext(stream, None)


async def _aclose(stream: ChatStream, turn: asyncio.Lock) -> None:
    async with turn:
        await stream.aclose()


async def _end_all() -> None:
    """Cancels what runs, and closes what is open: streams between two items, connections."""
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    while others := asyncio.all_tasks() - {this}:
        for one in others:
            one.cancel()
        await asyncio.wait(others)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
