"""A window of any outcome store as a folder of the sealed log's shape, which is what all readers read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from router_runtime.errors import DataError
from router_runtime.records import uuid7
from router_runtime.stores.base import COLUMNS, Row
from router_runtime.stores.opening import local_folder, open_remote
from training.event_log import day_of, events_table, write_events
from training.scratch import scratch

ROWS_PER_FILE = 100_000
"""Bounds the memory of a copy: about 1 kB for each event."""


@contextmanager
def local_log(place: str | Path, since: float | None = None) -> Iterator[Path]:
    """The folder of a local store, or a copy of a remote one's events that lives as long as the block.

    Args:
        place: A folder, ``dir:///path``, ``postgresql://…`` or ``clickhouse://…``.
        since: UTC seconds since the epoch; a remote store's earlier events are not copied. (Attempts and feedback of a
            decision are never earlier than it.)

    Raises:
        ConfigError: Where ``place`` is no store, or its driver is not installed.
        StoreError: Where a remote store cannot be read.
        DataError: Where a remote store holds nothing from then on.
    """
    folder = local_folder(place)
    if folder is not None:
        yield folder
        return
    with scratch() as folder, closing(open_remote(str(place))) as store:
        if not copy_events(store.read(float("-inf") if since is None else since), folder):
            late = "" if since is None else f" from {day_of(since)} on; name an earlier --since"
            raise DataError(f"the store holds no events{late}")
        yield folder


def copy_events(portions: Iterator[Sequence[Row]], folder: Path) -> int:
    """Writes ``portions`` of events below ``folder``; gives their number."""
    waiting: list[Row] = []
    copied = 0
    for portion in portions:
        waiting += portion
        if len(waiting) >= ROWS_PER_FILE:
            copied += _write(waiting, folder)
            waiting = []
    return copied + _write(waiting, folder)


def _write(rows: Sequence[Row], folder: Path) -> int:
    columns = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    write_events(folder, events_table(columns), uuid7())
    return len(rows)
