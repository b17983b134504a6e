"""How a SQLite file is written."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager


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
