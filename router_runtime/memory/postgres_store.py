"""The memory in PostgreSQL, for several machines: entries, their words and vectors (extra ``postgres``).

The server ranks where it has pgvector (see ``pgvector.py``), else the process, as with SQLite. Deleted rows are gone
for every query at once;
``forget`` then runs VACUUM, after which their room is free to be overwritten, and the server's write-ahead log and
backups keep them for as long as the server is told to.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from router_runtime.errors import StoreError
from router_runtime.forking import Process
from router_runtime.memory.entries import Entry, Placed, State
from router_runtime.memory.keywords import KEYWORDS_VERSION, counted, said, words_of
from router_runtime.memory.pgvector import PgvectorRanking, enabled, halfvec

_SCHEMA = """
SELECT pg_advisory_xact_lock(7104878);
CREATE TABLE IF NOT EXISTS memory_entries (
    seq bigserial PRIMARY KEY, id text NOT NULL UNIQUE, agent text NOT NULL, scope text NOT NULL, text text NOT NULL,
    tags text[] NOT NULL, time double precision NOT NULL, expires double precision, encoder text NOT NULL,
    vector bytea NOT NULL, words tsvector NOT NULL);
ALTER TABLE memory_entries ADD COLUMN IF NOT EXISTS counted bytea NOT NULL DEFAULT '';
ALTER TABLE memory_entries ADD COLUMN IF NOT EXISTS counted_by int NOT NULL DEFAULT 0;
CREATE INDEX IF NOT EXISTS memory_words ON memory_entries USING gin (words);
CREATE INDEX IF NOT EXISTS memory_counted ON memory_entries (counted_by);
CREATE INDEX IF NOT EXISTS memory_scope ON memory_entries (scope, seq);
CREATE TABLE IF NOT EXISTS memory_gone (n bigserial PRIMARY KEY, seq bigint NOT NULL);
CREATE TABLE IF NOT EXISTS memory_encoded (one int PRIMARY KEY CHECK (one = 1), n bigint NOT NULL);
INSERT INTO memory_encoded VALUES (1, 0) ON CONFLICT DO NOTHING;
"""
_STATE = """
    SELECT (SELECT coalesce(max(seq), 0) FROM memory_entries), (SELECT coalesce(max(n), 0) FROM memory_gone),
        (SELECT n FROM memory_encoded)"""
_FIELDS = "id, agent, scope, text, tags, time, expires"
_READ_BATCH = 5000
# Numbers are given out before they are committed: one writer at a time keeps a reader from passing over a slower one.
_ONE_WRITER = "SELECT pg_advisory_xact_lock(7104879)"


class PostgresMemory:
    """See :class:`router_runtime.memory.entries.MemoryStore`.

    Args:
        url: ``postgresql://…``; a password is better given by ``PGPASSWORD`` or ``~/.pgpass``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._guard = threading.RLock()
        self._connection: psycopg.Connection[Any] | None = None
        self._process = Process()
        self._ranks = False

    def append(self, entries: Sequence[tuple[Entry, str, bytes]]) -> list[int]:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        with self._using("written") as db, db.cursor() as cursor:
            db.execute(_ONE_WRITER)
            column, value = (", meaning", ", %s::halfvec") if self._ranks else ("", "")
            query = f"""
                INSERT INTO memory_entries ({_FIELDS}, encoder, vector, counted, counted_by, words{column})
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, {KEYWORDS_VERSION}, to_tsvector('simple', %s){value})
                RETURNING seq"""  # noqa: S608 - our own text
            cursor.executemany(query, [self._row(*one) for one in entries], returning=True)
            return [int(row[0]) for result in cursor.results() for row in result]

    def _row(self, one: Entry, encoder: str, vector: bytes) -> tuple[object, ...]:
        words, lexemes = _words(one.text, one.tags)
        told = (one.id, one.agent, one.scope, _plain(one.text), [_plain(tag) for tag in one.tags], one.time)
        return (*told, one.expires, encoder, vector, words, lexemes, *self._meaning(vector))

    def ranking(self, encoder: str, dims: int) -> PgvectorRanking | None:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        with self._using("read"):
            ranks = self._ranks
        return PgvectorRanking(self._using, encoder, dims) if ranks else None

    def placed(self, after: int) -> Iterator[Placed]:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        query = "SELECT seq, agent, scope, expires, encoder, vector, counted FROM memory_entries WHERE seq > %s"
        while True:
            with self._using("read") as db:
                rows = db.execute(f"{query} ORDER BY seq LIMIT {_READ_BATCH}", (after,)).fetchall()
            for row in rows:
                yield Placed(*row)
            if len(rows) < _READ_BATCH:
                return
            after = rows[-1][0]

    def fetch(self, seqs: Sequence[int]) -> dict[int, Entry]:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        query = f"SELECT seq, {_FIELDS} FROM memory_entries WHERE seq = ANY(%s)"  # noqa: S608 - our own text
        with self._using("read") as db:
            rows = db.execute(query, (list(seqs),)).fetchall()
        return {
            seq: Entry(key, agent, scope, text, tuple(tags), time, expires)
            for seq, key, agent, scope, text, tags, time, expires in rows
        }

    def forget(self, *, ids: Sequence[str] | None = None, agent: str | None = None, scope: str | None = None) -> int:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        wanted = {"id = ANY(%s)": None if ids is None else list(ids), "agent = %s": agent, "scope = %s": scope}
        given = {test: value for test, value in wanted.items() if value is not None}
        return self._delete(" AND ".join(given), list(given.values())) if given else 0

    def expire(self, now: float) -> int:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        return self._delete("expires <= %s", [now])

    def keep_newest(self, scope: str, n: int) -> int:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        newest = "seq NOT IN (SELECT seq FROM memory_entries WHERE scope = %s ORDER BY seq DESC LIMIT %s)"
        return self._delete(f"scope = %s AND {newest}", [scope, scope, n])

    def other_encodings(self, encoder: str, after: int, n: int) -> list[tuple[int, str]]:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        with self._using("read") as db:
            other = "(encoder != %s OR meaning IS NULL)" if self._ranks else "encoder != %s"
            query = f"SELECT seq, text, tags FROM memory_entries WHERE {other} AND seq > %s ORDER BY seq LIMIT %s"  # noqa: S608 - ours
            return [(seq, said(text, tags)) for seq, text, tags in db.execute(query, (encoder, after, n)).fetchall()]

    def encode_again(self, rows: Sequence[tuple[int, str, bytes]]) -> None:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        with self._using("encoded again") as db, db.cursor() as cursor:
            also = ", meaning = %s::halfvec" if self._ranks else ""
            cursor.executemany(
                f"UPDATE memory_entries SET encoder = %s, vector = %s{also} WHERE seq = %s",  # noqa: S608 - our own text
                [(encoder, vector, *self._meaning(vector), seq) for seq, encoder, vector in rows],
            )
            cursor.execute("UPDATE memory_encoded SET n = n + 1")

    def gone(self, after: int) -> list[int]:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        with self._using("read") as db:
            return [row[0] for row in db.execute("SELECT seq FROM memory_gone WHERE n > %s", (after,)).fetchall()]

    def state(self) -> State:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        with self._using("read") as db:
            row = db.execute(_STATE).fetchone()
        assert row is not None
        return State(*row)

    def close(self) -> None:
        """See :class:`~router_runtime.memory.entries.MemoryStore`."""
        with self._guard:
            if self._connection is not None and not self._process.forked(self._connection):
                self._connection.close()
            self._connection = None

    def _meaning(self, vector: bytes) -> tuple[str, ...]:
        """The value for the server's ranking, where it has one."""
        return (halfvec(vector),) if self._ranks else ()

    def _delete(self, test: str, given: Sequence[Any]) -> int:
        query = f"""
            WITH deleted AS (DELETE FROM memory_entries WHERE {test} RETURNING seq)
            INSERT INTO memory_gone (seq) SELECT seq FROM deleted"""  # noqa: S608 - our own text
        with self._using("forgotten") as db:
            db.execute(_ONE_WRITER)
            count = db.execute(query, given).rowcount
        if count:
            with self._guard, _told("forgotten"):
                self._open().execute("VACUUM memory_entries")
        return count

    @contextmanager
    def _using(self, what: str) -> Iterator[psycopg.Connection[Any]]:
        with self._guard:
            try:
                with _told(what):
                    db = self._open()
                    with db.transaction():
                        yield db
            except StoreError:
                self.close()  # a broken connection is made anew at the next use
                raise

    def _open(self) -> psycopg.Connection[Any]:
        if self._process.forked(self._connection):
            self._connection = None
        if self._connection is None:
            connection = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
            with connection.transaction():
                connection.execute(_SCHEMA)
            self._ranks = enabled(connection)
            _count_words(connection)
            self._connection = connection
        return self._connection


def _count_words(connection: psycopg.Connection[Any]) -> None:
    """Counts the words of rows that were written before there were counts, or by other rules."""
    with connection.transaction():
        query = "SELECT text, tags, seq FROM memory_entries WHERE counted_by != %s FOR UPDATE"
        rows = connection.execute(query, (KEYWORDS_VERSION,)).fetchall()
        connection.cursor().executemany(
            f"""
            UPDATE memory_entries SET counted = %s, words = to_tsvector('simple', %s), counted_by = {KEYWORDS_VERSION}
            WHERE seq = %s""",  # noqa: S608 - our own text
            [(*_words(text, tags), seq) for text, tags, seq in rows],
        )


def _words(text: str, tags: Sequence[str]) -> tuple[bytes, str]:
    """Counted for the process's ranking, and one by one for the server's."""
    whole = said(text, tags)
    return counted(whole), _plain(" ".join(words_of(whole)))


def _plain(text: str) -> str:
    """PostgreSQL's text holds no NUL."""
    return text.replace("\0", "\ufffd")


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise StoreError(f"the memory could not be {what}: {type(error).__name__}: {first}") from error
