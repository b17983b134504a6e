"""What a child must not use of its parent's: connections, files and threads that were open when the process forked.

A service that opens its router before its workers fork (gunicorn's ``preload_app``) hands each of them a copy. SQLite's
and PostgreSQL's connections belong to one process, of threads the child has none but its own, and a lock that another
thread held at that moment is never released in the child.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

_INHERITED: list[object] = []
"""The parent goes on using these, so that a child must not close them, not even by letting go of them."""


class Inherited(Protocol):
    """What begins anew in a forked child."""

    def begin_anew(self) -> None:
        """Called in the child, before anything else runs there: new locks, no thread, nothing of the parent's."""


_OPEN: WeakSet[Inherited] = WeakSet()


def mind_forks(one: Inherited) -> None:
    """``one`` begins anew in every child that is forked while it lives."""
    _OPEN.add(one)


def leave(*opened: object) -> None:
    """In a child: leaves what the parent opened to it, open."""
    _INHERITED.extend(one for one in opened if one is not None)


def _begin_anew() -> None:
    for one in list(_OPEN):
        one.begin_anew()


os.register_at_fork(after_in_child=_begin_anew)


class Process:
    """The process that opened something; to be asked under the lock of whoever opens it."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def forked(self, *opened: object) -> bool:
        """Whether this is a child of the process that opened ``opened``, and was not asked before."""
        pid = os.getpid()
        if pid == self._pid:
            return False
        self._pid = pid
        leave(*opened)
        return True
