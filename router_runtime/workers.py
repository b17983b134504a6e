"""Threads for one kind of work, so that what hangs or takes long there keeps no other work waiting."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from router_runtime.forking import Process

T = TypeVar("T")


class Workers:
    """Runs calls on threads of its own, which are started as they are needed. Use it from any event loop.

    Args:
        name: Of the threads.
        threads: Calls at a time; others wait for their turn.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._name, self._threads = name, threads
        self._executor: ThreadPoolExecutor | None = None
        self._process = Process()

    async def run(self, work: Callable[[], T]) -> T:
        """``work()`` on one of the threads, in the caller's context."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._started(), lambda: context.run(work))

    def _started(self) -> ThreadPoolExecutor:
        if self._executor is None or self._process.forked(self._executor):  # a child has none of the threads
            self._executor = ThreadPoolExecutor(self._threads, self._name)
        return self._executor
