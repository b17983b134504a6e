"""One way to write to a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


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
