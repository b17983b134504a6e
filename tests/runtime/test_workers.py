"""Threads for one kind of work."""

import asyncio
import os
import signal
import threading
from contextvars import ContextVar

from router_runtime.workers import Workers

ASKED: ContextVar[str] = ContextVar("asked")


async def test_work_runs_on_threads_of_its_own_in_the_caller_s_context() -> None:
    workers = Workers("kind", 2)
    ASKED.set("here")
    names = await asyncio.gather(*(workers.run(lambda: threading.current_thread().name) for _ in range(5)))
    assert {name.rpartition("_")[0] for name in names} == {"kind"}
    assert len(set(names)) <= 2
    assert await workers.run(ASKED.get) == "here"


def test_a_forked_child_starts_threads_of_its_own() -> None:
    workers = Workers("kind", 1)
    assert asyncio.run(workers.run(os.getpid)) == os.getpid()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # threads that are not there would be waited for without end
        os._exit(0 if asyncio.run(workers.run(os.getpid)) == os.getpid() else 1)
    assert os.waitpid(child, 0)[1] == 0
