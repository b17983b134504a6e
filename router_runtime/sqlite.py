"""How a SQLite file is made, opened, written and held over a fork, for whoever keeps one."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

from router_runtime.forking import Process


def write_ahead(db: sqlite3.Connection, within_s: float = 5.0) -> None:
    """Puts the file into WAL mode; where another process is about to do so too, SQLite fails at once: tries again.

    Raises:
        sqlite3.Error: It cannot be done, or not in time.
    """
    end = time.monotonic() + within_s
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() >= end:
                raise
        time.sleep(0.01)


@contextmanager
def immediate(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One immediate transaction of a connection in autocommit; whatever ends it, none stays open.

    Raises:
        sqlite3.Error: It could not begin or be committed; nothing of it was then written.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    finally:
        if db.in_transaction:  # a full disk ends one by itself
            db.execute("ROLLBACK")


def make_private(path: Path) -> None:
    """Makes ``path``, readable by its owner alone, where it is missing, and never opens what is there.

    Closing any descriptor of a SQLite file drops all of SQLite's locks on it in this process: the next process that
    closes the file would then take itself for the last one, and delete the log of the writes that follow.

    Raises:
        OSError: It cannot be made.
    """
    with _ALONE, suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


class Connected:
    """One connection to a SQLite database, for one thread at a time; made at its first use.

    It is closed before the process forks, and made anew where it is used next: a child that inherits one inherits what
    SQLite knows of the file's locks, too, but not the locks, and whatever it opened then would go without.

    Args:
        connect: Makes it, usable from any thread.
        in_memory: There is no file: it stays open, and a child has a copy of its own.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], *, in_memory: bool = False) -> None:
        self._connect, self._in_memory = connect, in_memory
        self._guard = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._process = Process()
        if not in_memory:
            with _ALONE:
                _FILES.add(self)

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection, for the caller alone.

        Raises:
            sqlite3.Error: It cannot be made, or what else ``connect`` raises.
        """
        with self._guard:
            if self._process.forked(self._db) and not self._in_memory:  # by C code, which tells nobody before
                self._db = None
            if self._db is None:
                self._db = self._connect()
            yield self._db

    def close(self) -> None:
        """Closes it; a later use opens it again."""
        with self._guard:
            self._close()

    def pause(self) -> None:
        """Waits for its user, closes it, and lets nobody use it before :meth:`resume`."""
        self._guard.acquire()
        with suppress(sqlite3.Error):
            self._close()

    def resume(self) -> None:
        """Ends a pause, in the process that forked and in its child."""
        self._guard.release()

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None and not self._process.forked(db):
            db.close()


_ALONE = threading.Lock()
"""Held while the process forks, and by whoever makes a file or a :class:`Connected`."""
_FILES: WeakSet[Connected] = WeakSet()
_PAUSED: list[Connected] = []


def _pause() -> None:
    _ALONE.acquire()
    for file in list(_FILES):
        file.pause()
        _PAUSED.append(file)


def _resume() -> None:
    while _PAUSED:
        _PAUSED.pop().resume()
    _ALONE.release()


os.register_at_fork(before=_pause, after_in_parent=_resume, after_in_child=_resume)
