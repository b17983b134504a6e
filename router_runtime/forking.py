"""What a child must not use of its parent's: connections, files and threads that were open when the process forked.

A service that opens its router before its workers fork (gunicorn's ``preload_app``) hands each of them a copy. SQLite's
and PostgreSQL's connections belong to one process, and of threads the child has none but its own.
"""

from __future__ import annotations

import os

_INHERITED: list[object] = []
"""The parent goes on using these, so that a child must not close them, not even by letting go of them."""


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
        _INHERITED.extend(one for one in opened if one is not None)
        return True
