"""Forked children of a test, which leave without running pytest's exit work."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def in_child(work: Callable[[], object], within_s: int = 20) -> None:
    """Runs ``work`` in a child, and fails where it raises or takes too long: what waits there may wait for ever."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(within_s)
            work()
            code = 0
        except Exception:  # noqa: BLE001 - told by the exit status
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


@contextmanager
def living_child() -> Iterator[None]:
    """A child that does nothing and lives for as long as the block."""
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(tell)
        os.read(hear, 1)
        os._exit(0)
    try:
        yield
    finally:
        os.close(tell)
        os.close(hear)
        os.waitpid(child, 0)
