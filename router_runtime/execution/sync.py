"""Synchronous twins of asynchronous calls, on one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from router_runtime.execution.settings import StreamItem
from router_runtime.execution.streams import ChatStream
from router_runtime.forking import Process

T = TypeVar("T")


class Background:
    """An event loop in a daemon thread, started at its first use. Safe to use from several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = Process()

    @property
    def running(self) -> bool:
        """Whether the loop was started and not stopped; in a forked child it was not."""
        return self._thread is not None and self._thread.is_alive()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs ``work`` to its end; an interrupt of the waiting thread cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return future.result()
        finally:
            future.cancel()  # no effect where it is done

    def iterate(self, stream: ChatStream) -> Iterator[StreamItem]:
        """The items of ``stream``, which is closed at the end and where the caller stops early."""
        try:
            while (item := self.run(_next(stream))) is not None:
                yield item
        finally:
            self.run(stream.aclose())

    def stop(self) -> None:
        """Ends the loop and its thread; a later use starts new ones."""
        with self._guard:
            self._leave()
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _started(self) -> asyncio.AbstractEventLoop:
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


async def _next(stream: ChatStream) -> StreamItem | None:
    return await anext(stream, None)
