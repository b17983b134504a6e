"""The spool: one SQLite file for each writing process, durable at every commit.

``<root>/spool/<uuid>.sqlite`` (WAL, synchronous=FULL) with ``<uuid>.lock`` beside it. The writer holds the lock file
with flock for as long as it lives; the kernel frees it when the process dies, so that whoever gets the lock knows that
the spool is closed or orphaned and may seal it. The lock is a file of its own because closing any descriptor of an
SQLite file drops SQLite's own locks on it. One writer per file: Debian 12's SQLite (3.40.1) can corrupt a WAL that
several writers reset.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from operator import attrgetter
from pathlib import Path

from router_runtime.errors import StoreError
from router_runtime.forking import Process, leave, mind_forks
from router_runtime.records import uuid7
from router_runtime.stores.base import COLUMNS, Row

SPOOL_FOLDER = "spool"
_TABLE = (
    "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,"
    " decision_id TEXT NOT NULL, time REAL NOT NULL, body TEXT NOT NULL)"
)
_SELECT = "SELECT id, kind, decision_id, time, body FROM events"
PATIENCE_S = 60.0
"""How long a reader waits for who mends or seals a spool."""
_values = attrgetter(*COLUMNS)
_INSERT = "INSERT OR IGNORE INTO events (id, kind, decision_id, time, body) VALUES (?,?,?,?,?)"
_INSERTS = {size: _INSERT + ",(?,?,?,?,?)" * (size - 1) for size in (64, 16, 4, 1)}
"""Many rows in a statement: a statement runs without Python's lock, which a row at a time would take back for each."""


class Spool:
    """The spool of this process; opens its file at the first append, and a new one once that is large or old enough.

    Safe to use from several threads. After a fork the child starts a file of its own.

    Args:
        root: Directory of the store; made where it is missing.
        rotate_rows: Rows after which the file is closed, so that a sealer can take it.
        rotate_characters: Of the rows' bodies, likewise: a row may hold a prompt of any length.
        rotate_s: Seconds after which an append closes it, so that days are sealed and old ones can be deleted.
        new_id: Makes the file's name.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        rotate_rows: int = 100_000,
        rotate_characters: int = 256 << 20,
        rotate_s: float = 86_400.0,
        new_id: Callable[[], str] = uuid7,
    ) -> None:
        self.folder = Path(root) / SPOOL_FOLDER
        self._rotate_rows, self._rotate_characters, self._rotate_s = rotate_rows, rotate_characters, rotate_s
        self._new_id = new_id
        self._guard = threading.Lock()
        self._path: Path | None = None
        self._connection: sqlite3.Connection | None = None
        self._lock_fd = -1
        self._rows, self._characters, self._opened = 0, 0, 0.0
        mind_forks(self)

    def append(self, rows: Sequence[Row]) -> None:
        """Commits ``rows`` in one transaction; on return they are on the disk.

        Raises:
            StoreError: Where the file cannot be made or written; none of ``rows`` was stored.
        """
        with self._guard:
            try:
                connection = self._open()
                with connection:
                    for some in _portions(rows):
                        connection.execute(_INSERTS[len(some)], [value for row in some for value in _values(row)])
            except (sqlite3.Error, OSError) as error:
                self._discard()
                reason = f"{self.folder}: cannot append to the spool ({error}); free space or fix access"
                raise StoreError(reason) from error
            self._rows += len(rows)
            self._characters += sum(len(row.body) for row in rows)
            if self._is_full():
                self._close()

    def close(self) -> None:
        """Closes the file and frees its lock."""
        with self._guard:
            self._close()

    def begin_anew(self) -> None:
        """In a forked child, leaves the parent's file to it."""
        self._guard = threading.Lock()
        leave(self._connection)
        self._path = self._connection = None
        if self._lock_fd >= 0:
            os.close(self._lock_fd)  # a copy: the parent holds its lock, and would for good as long as this lives
            self._lock_fd = -1

    def _is_full(self) -> bool:
        large = self._rows >= self._rotate_rows or self._characters >= self._rotate_characters
        return large or time.monotonic() - self._opened >= self._rotate_s

    def _open(self) -> sqlite3.Connection:
        """The connection of this process, made where there is none."""
        if self._connection is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{self._new_id()}.sqlite"
            self._rows, self._characters, self._opened = 0, 0, time.monotonic()
            self._lock_fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._path = path
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._connection = _connect(path)
        return self._connection

    def _close(self) -> None:
        """Ends the file in order; the lock goes last, so that nobody seals a file that is still being closed."""
        if self._connection is not None:
            self._connection.close()
        self._path = self._connection = None
        if self._lock_fd >= 0:
            _unlock(self._lock_fd)
            self._lock_fd = -1

    def _discard(self) -> None:
        """Lets go of a file that failed; a later append starts a new one, the old rows stay for the sealer."""
        if self._path is not None and self._rows == 0:  # a disk that stays full would gather an empty file a try
            with suppress(OSError):
                remove_spool(self._path)
        try:
            self._close()
        except sqlite3.Error:  # closing checkpoints the WAL, which a full disk may refuse; the WAL keeps the rows
            self._connection = None
            self._close()


def _portions(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """``rows`` in order, in portions of the sizes that there is a statement for."""
    place = 0
    while place < len(rows):
        size = next(size for size in _INSERTS if size <= len(rows) - place)
        yield rows[place : place + size]
        place += size


def _connect(path: Path) -> sqlite3.Connection:
    """A durable connection to a new spool, readable by its owner alone: it may hold prompts."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    with connection:
        connection.execute(_TABLE)
    folder = os.open(path.parent, os.O_RDONLY)  # the new name must be durable too
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return connection


def spool_files(root: str | os.PathLike[str]) -> list[Path]:
    """Every spool below ``root``, open or not, oldest first (the names are UUIDv7)."""
    return sorted((Path(root) / SPOOL_FOLDER).glob("*.sqlite"))


def read_spool(path: Path, *, claimed: bool = False, by_time: bool = False) -> Iterator[Row]:
    """Rows of one spool, open or not, in the order of their append.

    Args:
        path: The spool.
        claimed: Whether the caller holds its lock, see :func:`claim`.
        by_time: In the order of their times instead.

    Raises:
        StoreError: Where the file is not a spool.
    """
    try:
        yield from _rows(path, "rw" if claimed else "ro", by_time)
    except sqlite3.Error as error:
        # A writer that was killed inside a commit leaves a log that must be mended before it can be read, which takes
        # the right to write; only the holder of the lock may have that.
        if claimed or not getattr(error, "sqlite_errorname", "").startswith("SQLITE_READONLY"):
            raise StoreError(f"{path}: not a readable spool ({error})") from error
        with _claimed(path):
            yield from read_spool(path, claimed=True, by_time=by_time)


@contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """Holds the spool's lock as soon as who mends or seals it is done.

    Raises:
        StoreError: That takes too long, or the spool is gone then.
    """
    given_up = time.monotonic() + PATIENCE_S
    while True:
        with claim(path) as free:
            if free:
                yield
                return
        if not path.exists():
            raise StoreError(f"{path}: has been sealed meanwhile")
        if time.monotonic() >= given_up:
            raise StoreError(f"{path}: is being mended or sealed; read it again")
        time.sleep(0.05)


def _rows(path: Path, mode: str, by_time: bool) -> Iterator[Row]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone() is None:
            return  # its writer died before it could make the table
        if not by_time:
            yield from (Row(*row) for row in connection.execute(f"{_SELECT} ORDER BY seq"))
            return
        # The places are sorted, not the rows: those hold prompts.
        for (seq,) in connection.execute("SELECT seq FROM events ORDER BY time, seq").fetchall():
            yield Row(*connection.execute(f"{_SELECT} WHERE seq = ?", (seq,)).fetchone())


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Holds the spool's lock while the block runs; yields False where its writer (or another sealer) is alive.

    Raises:
        StoreError: The lock cannot be opened: it is another user's.
    """
    try:
        descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: cannot be claimed ({error.strerror})") from error
    process = Process()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield False
        return
    try:
        yield path.exists()
    finally:
        if process.forked():  # a child lets go of what its parent was in the middle of; the lock is the parent's
            os.close(descriptor)
        else:
            _unlock(descriptor)


def _unlock(descriptor: int) -> None:
    """Frees a lock, also where a child holds a copy of ``descriptor``, and closes that."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def remove_spool(path: Path) -> None:
    """Deletes a claimed spool with its companions; the lock file goes last."""
    for suffix in (".sqlite", ".sqlite-wal", ".sqlite-shm", ".lock"):
        path.with_suffix(suffix).unlink(missing_ok=True)
