"""The memory in one SQLite file: entries, their words and vectors; durable at every commit.

One connection, used under a lock (:class:`~router_runtime.sqlite.Connected`): Debian 12's SQLite (3.40.1) can corrupt
a WAL that several writers reset at one moment, so a write begins with BEGIN IMMEDIATE and the WAL is only ever reset
under that lock.
Deletion overwrites (``secure_delete``) and empties the WAL.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from router_runtime.errors import StoreError
from router_runtime.memory.entries import Entry, Placed, State
from router_runtime.memory.keywords import KEYWORDS_VERSION, counted, said
from router_runtime.sqlite import Connected, immediate, make_private, write_ahead

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, agent TEXT NOT NULL, scope TEXT NOT NULL,
    text TEXT NOT NULL, tags TEXT NOT NULL, time REAL NOT NULL, expires REAL, encoder TEXT NOT NULL,
    vector BLOB NOT NULL, words BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS entries_scope ON entries (scope, seq);
CREATE INDEX IF NOT EXISTS entries_expires ON entries (expires) WHERE expires IS NOT NULL;
CREATE INDEX IF NOT EXISTS entries_encoder ON entries (encoder);
CREATE TABLE IF NOT EXISTS gone (n INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS encoded (one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER NOT NULL);
INSERT OR IGNORE INTO encoded VALUES (1, 0);
"""
_FIELDS = "id, agent, scope, text, tags, time, expires"
_STATE = """
    SELECT (SELECT coalesce(max(seq), 0) FROM entries), (SELECT coalesce(max(n), 0) FROM gone),
        (SELECT n FROM encoded)"""
_READ_BATCH = 5000


class SqliteMemory:
    """See :class:`router_runtime.memory.entries.MemoryStore`.

    Args:
        path: The file; made where it is missing, readable by its owner alone.
        wait_s: Longest wait for other processes that read or write it.
    """

    def __init__(self, path: str | os.PathLike[str], wait_s: float = 30.0) -> None:
        self.path, self._wait_s = Path(path), wait_s
        self._connected = Connected(self._connect)

    def append(self, entries: Sequence[tuple[Entry, str, bytes]]) -> list[int]:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        with self._writing("written") as db:
            seqs = []
            for entry, encoder, vector in entries:
                told = (entry.id, entry.agent, entry.scope, entry.text, json.dumps(entry.tags), entry.time)
                row = (*told, entry.expires, encoder, vector, counted(said(entry.text, entry.tags)))
                made = db.execute(
                    f"INSERT INTO entries ({_FIELDS}, encoder, vector, words) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                    row,
                )
                seqs.append(int(made.lastrowid or 0))
            return seqs

    def ranking(self, encoder: str, dims: int) -> None:
        """See :class:`~router_runtime.memory.entries.MemoryStore`: ranked in the process."""

    def placed(self, after: int) -> Iterator[Placed]:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        while True:
            with self._using("read") as db:
                rows = db.execute(
                    "SELECT seq, agent, scope, expires, encoder, vector, words FROM entries"
                    " WHERE seq > ? ORDER BY seq LIMIT ?",
                    (after, _READ_BATCH),
                ).fetchall()
            for row in rows:
                yield Placed(*row)
            if len(rows) < _READ_BATCH:
                return
            after = rows[-1][0]

    def fetch(self, seqs: Sequence[int]) -> dict[int, Entry]:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        with self._using("read") as db:
            rows = db.execute(
                f"SELECT seq, {_FIELDS} FROM entries WHERE seq IN (SELECT value FROM json_each(?))",  # noqa: S608
                (json.dumps(list(seqs)),),
            ).fetchall()
        return {row[0]: _entry(row[1:]) for row in rows}

    def forget(self, *, ids: Sequence[str] | None = None, agent: str | None = None, scope: str | None = None) -> int:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        tests, given = [], []
        if ids is not None:
            tests.append("id IN (SELECT value FROM json_each(?))")
            given.append(json.dumps(list(ids)))
        for name, value in (("agent", agent), ("scope", scope)):
            if value is not None:
                tests.append(f"{name} = ?")
                given.append(value)
        return self._delete(" AND ".join(tests), given) if tests else 0

    def expire(self, now: float) -> int:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        return self._delete("expires <= ?", [now])

    def keep_newest(self, scope: str, n: int) -> int:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        newest = "seq NOT IN (SELECT seq FROM entries WHERE scope = ? ORDER BY seq DESC LIMIT ?)"
        return self._delete(f"scope = ? AND {newest}", [scope, scope, n])

    def other_encodings(self, encoder: str, after: int, n: int) -> list[tuple[int, str]]:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        with self._using("read") as db:
            rows = db.execute(
                "SELECT seq, text, tags FROM entries WHERE encoder != ? AND seq > ? ORDER BY seq LIMIT ?",
                (encoder, after, n),
            ).fetchall()
        return [(seq, said(text, json.loads(tags))) for seq, text, tags in rows]

    def encode_again(self, rows: Sequence[tuple[int, str, bytes]]) -> None:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        with self._writing("encoded again") as db:
            db.executemany(
                "UPDATE entries SET encoder = ?, vector = ? WHERE seq = ?",
                [(encoder, vector, seq) for seq, encoder, vector in rows],
            )
            db.execute("UPDATE encoded SET n = n + 1")

    def gone(self, after: int) -> list[int]:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        with self._using("read") as db:
            return [row[0] for row in db.execute("SELECT seq FROM gone WHERE n > ?", (after,))]

    def state(self) -> State:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        with self._using("read") as db:
            return State(*db.execute(_STATE).fetchone())

    def close(self) -> None:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        self._connected.close()

    def _delete(self, test: str, given: Sequence[Any]) -> int:
        with self._writing("forgotten") as db:
            rows = db.execute(f"DELETE FROM entries WHERE {test} RETURNING seq", given).fetchall()  # noqa: S608
            db.executemany("INSERT INTO gone (seq) VALUES (?)", rows)
        with self._using("emptied of what was forgotten") as db:  # also where no row is left: a process died in between
            busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreError(
                "the memory's log could not be emptied of what was forgotten, somebody is reading it; forget again"
            )
        return len(rows)

    @contextmanager
    def _using(self, what: str) -> Iterator[sqlite3.Connection]:
        with _told(what), self._connected.use() as db:
            yield db

    @contextmanager
    def _writing(self, what: str) -> Iterator[sqlite3.Connection]:
        with self._using(what) as db, immediate(db):
            yield db

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        make_private(self.path)
        db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=self._wait_s)
        write_ahead(db)
        for pragma in ("synchronous = FULL", "secure_delete = ON"):
            db.execute(f"PRAGMA {pragma}")
        db.executescript(_SCHEMA)
        _brought_up(db)
        return db


def _brought_up(db: sqlite3.Connection) -> None:
    """Counts the words of a file anew that counted them by other rules, or had an index of SQLite's (before 1)."""
    if _version(db) == KEYWORDS_VERSION:
        return
    with immediate(db):
        if _version(db) == KEYWORDS_VERSION:
            return  # somebody was faster
        if "words" not in {row[1] for row in db.execute("PRAGMA table_info(entries)")}:
            for name in ("TABLE vocabulary", "TABLE words", "INDEX entries_place"):
                db.execute(f"DROP {name}")
            db.execute("ALTER TABLE entries ADD COLUMN words BLOB NOT NULL DEFAULT x''")
        rows = db.execute("SELECT seq, text, tags FROM entries")
        db.executemany(
            "UPDATE entries SET words = ? WHERE seq = ?",
            [(counted(said(text, json.loads(tags))), seq) for seq, text, tags in rows],
        )
        db.execute(f"PRAGMA user_version = {KEYWORDS_VERSION}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _entry(row: Sequence[Any]) -> Entry:
    key, agent, scope, text, tags, time, expires = row
    return Entry(key, agent, scope, text, tuple(json.loads(tags)), time, expires)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"the memory could not be {what}: {error}") from error
