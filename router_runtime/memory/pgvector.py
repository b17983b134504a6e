"""Ranking in PostgreSQL itself (extension ``vector``, 0.8 or newer): no process holds a copy of words or vectors.

Words are ranked by the server's own rule (``ts_rank``, over a GIN index), for the rarest words of a query alone: it
reads every row that holds any of them. Each encoder has an index of its own (HNSW: Malkov and Yashunin 2018; half
precision, inner product), so that another encoder's vectors, of another length, may stand in the same column until they
are made again. The index is searched on until enough entries that may be read have been found, nearest first.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from psycopg import sql

from router_runtime.encoder import Vector
from router_runtime.memory.encoders import unpacked
from router_runtime.memory.entries import Bounds, Ranked
from router_runtime.memory.keywords import words_of

_LOG = logging.getLogger("router_runtime.memory")
_LEAST = (0, 8)
_MOST_DIMS = 4000
_ASKED_WORDS, _READ_WORDS = 8, 64
_COMMON_SHARE, _COMMON_LEAST, _COUNTED_LEAST, _TOO_COMMON = 0.005, 200, 20, 8
_SESSION = """
SELECT '[1]'::vector;
SET hnsw.ef_search = 400;
SET hnsw.iterative_scan = strict_order;
SET hnsw.max_scan_tuples = 200000;
"""
_COLUMN = "ALTER TABLE memory_entries ADD COLUMN IF NOT EXISTS meaning halfvec"
_Using = Callable[[str], AbstractContextManager[psycopg.Connection[Any]]]


def enabled(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server ranks; makes the extension where it may, and the column.

    Args:
        connection: In autocommit; the memory's table is there.

    Raises:
        psycopg.Error: The server failed otherwise than by forbidding it.
    """
    row = connection.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'").fetchone()
    if row is None or not _new_enough(row[0]):
        return False
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.errors.InsufficientPrivilege:
        _LOG.warning(
            "the memory ranks in this process: pgvector is there, but not in this database; "
            "let a superuser run: CREATE EXTENSION vector"
        )
        return False
    made = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    if made is None or not _new_enough(made[0]):
        return False
    for statement in (*_SESSION.strip().split("\n"), _COLUMN):
        connection.execute(statement)
    return True


def halfvec(vector: bytes) -> str:
    """What :func:`router_runtime.memory.encoders.packed` gave, as the server reads it."""
    return _literal(unpacked([vector], len(vector) // 2)[0])


class PgvectorRanking:
    """See :class:`router_runtime.memory.ranking.Ranking`.

    Args:
        using: Opens a transaction of the store's.
        encoder: Its fingerprint.
        dims: Of a vector; above 4,000 there is no index, and all are compared.
    """

    def __init__(self, using: _Using, encoder: str, dims: int) -> None:
        self._using, self._guard = using, threading.Lock()
        self._common: dict[str, int] = {}
        self._counted, self._size = _COMMON_LEAST, 0
        column = sql.SQL(f"(meaning::halfvec({int(dims)}))")  # of the index's very form
        mine = sql.SQL("encoder = {}").format(sql.Literal(encoder))
        self._query = sql.SQL("""
            SELECT seq FROM (
                SELECT seq, {column} <#> {asked}::halfvec AS far FROM memory_entries
                WHERE {mine} AND scope = ANY({scopes}) AND (expires IS NULL OR expires > {now}) {authors}
                ORDER BY {column} <#> {asked}::halfvec LIMIT {k}) AS nearest
            WHERE far < 0 ORDER BY far, seq DESC""")
        self._parts = {"column": column, "mine": mine}
        if dims <= _MOST_DIMS:
            name = sql.Identifier(f"memory_meaning_{hashlib.sha256(encoder.encode()).hexdigest()[:12]}")
            index = (
                "CREATE INDEX IF NOT EXISTS {name} ON memory_entries USING hnsw ({column} halfvec_ip_ops) WHERE {mine}"
            )
            with using("indexed") as db:
                db.execute(sql.SQL("SELECT pg_advisory_xact_lock(7104878)"))
                db.execute(sql.SQL(index).format(name=name, **self._parts))

    def first(self, query: str, vector: Vector, within: Bounds, k: int) -> Ranked:
        """See :class:`~router_runtime.memory.entries.Ranking`."""
        with self._using("read") as db:
            meaning = [row[0] for row in db.execute(self._nearest(vector, within, k), prepare=False).fetchall()]
            words = self._asked(db, query)
            return Ranked(self._by_words(db, words, within, k) if words and within.scopes else [], meaning)

    def _nearest(self, vector: Vector, within: Bounds, k: int) -> sql.Composed:
        authors = sql.SQL("" if within.agents is None else "AND agent = ANY({})")
        given = {"asked": _literal(vector), "scopes": list(within.scopes), "now": within.now, "k": k}
        literals = {name: sql.Literal(value) for name, value in given.items()}
        asked = authors.format(sql.Literal(list(within.agents or ())))
        return self._query.format(authors=asked, **literals, **self._parts)

    def _by_words(self, db: psycopg.Connection[Any], words: Sequence[str], within: Bounds, k: int) -> list[int]:
        authors = "" if within.agents is None else " AND agent = ANY(%(agents)s)"
        query = f"""
            SELECT seq FROM memory_entries, to_tsquery('simple', %(asked)s) AS asked
            WHERE words @@ asked AND scope = ANY(%(scopes)s) AND (expires IS NULL OR expires > %(now)s){authors}
            ORDER BY ts_rank(words, asked, 1) DESC, seq DESC LIMIT %(k)s"""  # noqa: S608 - our own text
        asked = " | ".join(f"'{word}'" for word in words)
        given = {"asked": asked, "scopes": list(within.scopes), "now": within.now, "k": k}
        return [row[0] for row in db.execute(query, {**given, "agents": list(within.agents or ())}).fetchall()]

    def _asked(self, db: psycopg.Connection[Any], query: str) -> list[str]:
        """The rarest words of a query: common ones cost much and say little."""
        common = self._counts(db)
        words = list(dict.fromkeys(words_of(query)))[:_READ_WORDS]
        most = max(_COMMON_LEAST, int(_COMMON_SHARE * self._size))
        rarest = sorted(words, key=lambda word: (common.get(word, 0), -len(word)))
        rare = [word for word in rarest if common.get(word, 0) <= most][:_ASKED_WORDS]
        # Words of every twentieth entry rank nothing that the vectors do not rank better, at ten times the cost.
        return rare or [word for word in rarest if common.get(word, 0) <= _TOO_COMMON * most][:2]

    def _counts(self, db: psycopg.Connection[Any]) -> dict[str, int]:
        """Words that many entries hold, with the number: counted, which reads all of them, as often as they double."""
        last = db.execute("SELECT coalesce(max(seq), 0) FROM memory_entries").fetchone()
        with self._guard:
            self._size = last[0] if last else 0
            if self._size > 2 * self._counted:
                counting = "SELECT word, ndoc FROM ts_stat('SELECT words FROM memory_entries') WHERE ndoc >= %s"
                self._common = dict(db.execute(counting, (_COUNTED_LEAST,)).fetchall())
                self._counted = self._size
            return self._common


def _literal(vector: Vector) -> str:
    return "[" + ",".join(f"{number:.6g}" for number in vector.tolist()) + "]"


def _new_enough(version: str) -> bool:
    return tuple(int(part) for part in version.split(".")[:2]) >= _LEAST
