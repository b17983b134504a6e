"""Events in PostgreSQL: one table, each event under its own key (extra ``postgres``)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from router_runtime.errors import StoreError
from router_runtime.forking import Process
from router_runtime.stores.base import Row

_TABLE = sql.SQL(
    "CREATE TABLE IF NOT EXISTS {table} (id text PRIMARY KEY, kind text NOT NULL, decision_id text NOT NULL,"
    " time double precision NOT NULL, body text NOT NULL)"
)
_INDEX = sql.SQL("CREATE INDEX IF NOT EXISTS {index} ON {table} (time)")
_INSERT = sql.SQL("INSERT INTO {table} VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING")
_SELECT = sql.SQL("SELECT id, kind, decision_id, time, body FROM {table} WHERE time >= %s ORDER BY time, id")
_LOCK = 0x706F696E  # any number: two processes that make the table at one moment would fail


class PostgresStore:
    """Appends to and reads one table; connects at the first use, and again after a failure. Thread-safe.

    Args:
        url: ``postgresql://…``; a password is better given by ``PGPASSWORD`` or ``~/.pgpass``.
        table: Made where it is missing.
        connect_timeout_s: To connect.
        statement_timeout_s: For one statement, so that a server that hangs does not hold the log's thread.
    """

    def __init__(
        self,
        url: str,
        *,
        table: str = "pointsman_events",
        connect_timeout_s: float = 5.0,
        statement_timeout_s: float = 10.0,
    ) -> None:
        self._url, self._table = url, sql.Identifier(table)
        self._index = sql.Identifier(f"{table}_time")
        self._connect_timeout_s, self._statement_timeout_s = connect_timeout_s, statement_timeout_s
        self._guard = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._process = Process()

    def append(self, rows: Sequence[Row]) -> None:
        """See :class:`router_runtime.stores.base.EventStore`; an event that is there already stays as it is."""
        values = [(row.id, row.kind, row.decision_id, row.time, row.body) for row in rows]
        with self._guard:
            try:
                connection = self._open()
                with connection.transaction(), connection.cursor() as cursor:
                    # A crash of the server must not lose what was acknowledged, whatever the server's default is.
                    cursor.execute("SET LOCAL synchronous_commit = on")
                    cursor.executemany(_INSERT.format(table=self._table), values)
            except psycopg.Error as error:
                self._drop()
                raise StoreError(f"PostgreSQL did not take {len(rows)} events: {_reason(error)}") from error

    def read(self, since: float = float("-inf"), batch: int = 10_000) -> Iterator[Sequence[Row]]:
        """See :class:`router_runtime.stores.base.RemoteStore`."""
        try:
            with self._new() as connection, connection.cursor("pointsman") as cursor:
                cursor.itersize = batch
                cursor.execute(_SELECT.format(table=self._table), (since,))
                while found := cursor.fetchmany(batch):
                    yield [Row(*values) for values in found]
        except psycopg.Error as error:
            raise StoreError(f"PostgreSQL cannot be read: {_reason(error)}") from error

    def close(self) -> None:
        """Closes the connection."""
        with self._guard:
            self._drop()

    def _open(self) -> psycopg.Connection[Any]:
        if self._process.forked(self._connection):
            self._connection = None
        if self._connection is None:
            self._connection = self._new()
        return self._connection

    def _new(self) -> psycopg.Connection[Any]:
        """A connection; the table is there."""
        connection = psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=max(int(self._connect_timeout_s), 1),
            options=f"-c statement_timeout={int(self._statement_timeout_s * 1e3)}",
        )
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            connection.execute(_TABLE.format(table=self._table))
            connection.execute(_INDEX.format(index=self._index, table=self._table))
        connection.autocommit = False
        return connection

    def _drop(self) -> None:
        if self._connection is not None and not self._process.forked(self._connection):
            self._connection.close()
        self._connection = None


def _reason(error: psycopg.Error) -> str:
    """The first line; the rest may quote the row."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
