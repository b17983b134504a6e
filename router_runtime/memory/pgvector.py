"""Ranking by vectors in PostgreSQL itself (extension ``vector``, 0.8 or newer): no process holds a copy of them.

Each encoder has an index of its own (HNSW: Malkov and Yashunin 2018; half precision, inner product), so that another
encoder's vectors, of another length, may stand in the same column until they are made again. The index is searched on
until enough entries that may be read have been found, nearest first.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from psycopg import sql

from router_runtime.memory.encoders import unpacked
from router_runtime.memory.entries import Vector

_LOG = logging.getLogger("router_runtime.memory")
_LEAST = (0, 8)
_MOST_DIMS = 4000
_SESSION = """
SELECT '[1]'::vector;
SET hnsw.ef_search = 200;
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
        self._using, self.size = using, 0
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

    def nearest(
        self, query: Vector, scopes: Sequence[str], agents: Sequence[str] | None, now: float, k: int
    ) -> list[int]:
        """See :class:`~router_runtime.memory.ranking.Ranking`."""
        authors = sql.SQL("" if agents is None else "AND agent = ANY({})").format(sql.Literal(list(agents or ())))
        given = {"asked": _literal(query), "scopes": list(scopes), "now": now, "k": k}
        literals = {name: sql.Literal(value) for name, value in given.items()}
        asked = self._query.format(authors=authors, **literals, **self._parts)
        with self._using("read") as db:
            found = [row[0] for row in db.execute(asked, prepare=False).fetchall()]
            last = db.execute("SELECT coalesce(max(seq), 0) FROM memory_entries").fetchone()
        self.size = last[0] if last else 0
        return found


def _literal(vector: Vector) -> str:
    return "[" + ",".join(f"{number:.6g}" for number in vector.tolist()) + "]"


def _new_enough(version: str) -> bool:
    return tuple(int(part) for part in version.split(".")[:2]) >= _LEAST
