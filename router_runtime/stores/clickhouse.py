"""Events in ClickHouse: one ReplacingMergeTree, an event that comes twice counts once (extra ``clickhouse``)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from router_runtime.errors import StoreError
from router_runtime.forking import leave, mind_forks
from router_runtime.stores.base import COLUMNS, Row

if TYPE_CHECKING:
    from clickhouse_connect.driver import Client

_TABLE = """
    CREATE TABLE IF NOT EXISTS {table:Identifier} (
        id String, kind LowCardinality(String), decision_id String, time Float64, body String CODEC(ZSTD(3)))
    ENGINE = ReplacingMergeTree PARTITION BY toYYYYMMDD(toDateTime(time, 'UTC')) ORDER BY (decision_id, kind, id)"""
# One day is one partition (dropping it frees its space at once), and an event's time decides its day, so the same event
# is always in the same partition: FINAL, which looks inside partitions, finds every repetition.
_SELECT = "SELECT {columns} FROM {{table:Identifier}} FINAL WHERE time >= {{since:Float64}} ORDER BY time, id"
_DURABLE = {"async_insert": 1, "wait_for_async_insert": 1}
"""The server gathers small inserts into parts, and answers when they are written."""
_EARLIEST = -1e18


class ClickHouseStore:
    """Appends to and reads one table; connects at the first use, and again after a failure. Thread-safe.

    Args:
        connect: Makes a client.
        table: Made where it is missing.
    """

    def __init__(self, connect: Callable[[], Client], *, table: str = "pointsman_events") -> None:
        self._connect, self._table = connect, table
        self._guard = threading.Lock()
        self._client: Client | None = None
        mind_forks(self)

    @classmethod
    def at(cls, url: str, *, timeout_s: float = 5.0) -> ClickHouseStore:
        """The store at ``clickhouse://user:password@host:port/database`` (``clickhouses://`` with TLS)."""
        secure = urlsplit(url).scheme == "clickhouses"
        dsn = f"{'https' if secure else 'http'}://{url.partition('://')[2]}"
        return cls(
            lambda: clickhouse_connect.get_client(
                dsn=dsn,
                connect_timeout=int(timeout_s),
                send_receive_timeout=int(timeout_s),
                autogenerate_session_id=False,
            )
        )

    def append(self, rows: Sequence[Row]) -> None:
        """See :class:`router_runtime.stores.base.EventStore`."""
        data = [[row.id, row.kind, row.decision_id, row.time, row.body] for row in rows]
        with self._guard, _told(f"ClickHouse did not take {len(rows)} events", self._drop):
            self._open().insert(self._table, data, column_names=list(COLUMNS), settings=dict(_DURABLE))

    def read(self, since: float = float("-inf"), batch: int = 10_000) -> Iterator[Sequence[Row]]:
        """See :class:`router_runtime.stores.base.RemoteStore`."""
        query = _SELECT.format(columns=", ".join(COLUMNS))
        given: dict[str, Any] = {"table": self._table, "since": max(since, _EARLIEST)}
        with _told("ClickHouse cannot be read", lambda: None), closing(self._connect()) as client:
            if not self._there(client):
                return
            stream = client.query_row_block_stream(query, parameters=given, settings={"max_block_size": batch})
            with stream:
                for block in stream:
                    yield [Row(*values) for values in block]

    def close(self) -> None:
        """Closes the client."""
        with self._guard:
            self._drop()

    def begin_anew(self) -> None:
        """In a forked child, leaves the parent's connections to it."""
        self._guard = threading.Lock()
        leave(self._client)
        self._client = None

    def _open(self) -> Client:
        """The client of this process, made where there is none; the table is there."""
        if self._client is None:
            self._client = self._connect()
            if not self._there(self._client):
                self._client.command(_TABLE, parameters={"table": self._table})
        return self._client

    def _there(self, client: Client) -> bool:
        """Whether the table is there: who may only write or read cannot make it."""
        return client.command("EXISTS TABLE {table:Identifier}", parameters={"table": self._table}) == 1

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


@contextmanager
def _told(what: str, undo: Callable[[], None]) -> Iterator[None]:
    """Turns the driver's errors into ours, after ``undo``."""
    try:
        yield
    except (ClickHouseError, OSError) as error:
        undo()
        first = (str(error).splitlines() or [""])[0][:200]
        raise StoreError(f"{what}: {type(error).__name__}: {first}") from error
