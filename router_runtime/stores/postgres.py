"""Events in PostgreSQL: one table, each event under its own key (extra ``postgres``)."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import sql

from router_runtime.errors import StoreError
from router_runtime.forking import leave, mind_forks
from router_runtime.stores.base import Row

_TABLE = sql.SQL(
    "CREATE TABLE IF NOT EXISTS {table} (id text PRIMARY KEY, kind text NOT NULL, decision_id text NOT NULL,"
    " time double precision NOT NULL, body text NOT NULL)"
)
_INDEX = sql.SQL("CREATE INDEX IF NOT EXISTS {index} ON {table} (time)")
_INSERT = sql.SQL("INSERT INTO {table} VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING")
_SELECT = sql.SQL("SELECT id, kind, decision_id, time, body FROM {table} WHERE time >= %s ORDER BY time, id")
_LOCK = 0x706F696E  # any number: two processes that make the table at one moment would fail
_GRACE_S = 1.0
"""A server that works ends a statement by itself; one that says nothing for so long beyond that is given up."""


class PostgresStore:
    """Appends to and reads one table; connects at the first use, and again after a failure. Thread-safe.

    Args:
        url: ``postgresql://…``; a password is better given by ``PGPASSWORD`` or ``~/.pgpass``.
        table: Made where it is missing.
        connect_timeout_s: To connect.
        statement_timeout_s: For one statement, and for one ``append`` as a whole: a server that hangs must not hold
            the log's thread for longer than a caller of ``OutcomeLog.append`` waits.
    """

    def __init__(
        self,
        url: str,
        *,
        table: str = "pointsman_events",
        connect_timeout_s: float = 3.0,
        statement_timeout_s: float = 5.0,
    ) -> None:
        self._url, self._table = url, sql.Identifier(table)
        self._index = sql.Identifier(f"{table}_time")
        self._connect_timeout_s, self._statement_timeout_s = connect_timeout_s, statement_timeout_s
        self._guard = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        mind_forks(self)

    def append(self, rows: Sequence[Row]) -> None:
        """See :class:`router_runtime.stores.base.EventStore`; an event that is there already stays as it is."""
        values = [(row.id, row.kind, row.decision_id, row.time, row.body) for row in rows]
        with self._guard:
            try:
                self._commit(values)
            except psycopg.Error as error:
                self._drop()
                raise StoreError(f"PostgreSQL did not take {len(rows)} events: {_reason(error)}") from error

    def read(self, since: float = float("-inf"), batch: int = 10_000) -> Iterator[Sequence[Row]]:
        """See :class:`router_runtime.stores.base.RemoteStore`."""
        try:
            with self._new() as connection, connection.cursor("pointsman") as cursor:
                if not self._there(connection):
                    return
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

    def begin_anew(self) -> None:
        """In a forked child, leaves the parent's connection to it."""
        self._guard = threading.Lock()
        leave(self._connection)
        self._connection = None

    def _commit(self, values: Sequence[tuple[Any, ...]]) -> None:
        connection, first = self._connection, self._connection is None
        if connection is None:
            connection = self._connection = self._new()
        with self._in_time(connection):
            if first and not self._there(connection):
                self._make(connection)
            with connection.transaction(), connection.cursor() as cursor:
                # A crash of the server must not lose what was acknowledged, whatever the server's default is.
                cursor.execute("SET LOCAL synchronous_commit = on")
                cursor.executemany(_INSERT.format(table=self._table), values)

    def _new(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self._url,
            connect_timeout=max(int(self._connect_timeout_s), 1),
            options=f"-c statement_timeout={int(self._statement_timeout_s * 1e3)}",
            keepalives_idle=30,  # a server whose machine is gone is noticed while it is read, too
            keepalives_interval=10,
            keepalives_count=3,
        )

    def _there(self, connection: psycopg.Connection[Any]) -> bool:
        """Whether the table is there: who may only write or read, or reads a standby, cannot make it."""
        with connection.transaction():
            found = connection.execute("SELECT to_regclass(%s)", (self._table.as_string(connection),)).fetchone()
        return found is not None and found[0] is not None

    def _make(self, connection: psycopg.Connection[Any]) -> None:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            connection.execute(_TABLE.format(table=self._table))
            connection.execute(_INDEX.format(index=self._index, table=self._table))

    @contextmanager
    def _in_time(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        """Cuts the connection where the block takes too long; what waits for the server then fails."""
        with socket.socket(fileno=os.dup(connection.fileno())) as twin:  # whose number no other socket can take over
            watch = threading.Timer(self._statement_timeout_s + _GRACE_S, _cut, (twin,))
            watch.daemon = True
            with suppress(RuntimeError):  # at its end an interpreter starts no thread, and waits for none
                watch.start()
            try:
                yield
            finally:
                watch.cancel()
                if watch.is_alive():
                    watch.join()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _reason(error: psycopg.Error) -> str:
    """The first line; the rest may quote the row."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
