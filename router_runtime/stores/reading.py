"""Events out of a store, wherever they lie: open spools and sealed days of a folder, or a remote store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from router_runtime.errors import StoreError
from router_runtime.stores.base import Row
from router_runtime.stores.opening import local_folder, open_remote
from router_runtime.stores.seal import read_sealed
from router_runtime.stores.spool import read_spool, spool_files


def read_events(place: str | Path, since: float = 0.0) -> Iterator[Row]:
    """Every event with time ≥ ``since`` (UTC seconds since the epoch), each once, in no certain order.

    Raises:
        ConfigError: Where ``place`` is no store, or its driver is not installed.
        StoreError: Where the store cannot be read.
    """
    folder = local_folder(place)
    if folder is None:
        store = open_remote(str(place))
        try:
            for batch in store.read(since):
                yield from batch
        finally:
            store.close()
        return
    # Spools first: one that is sealed meanwhile is then seen twice, not never, and its rows are known by their ids.
    seen: set[str] = set()
    for path in spool_files(folder):
        for row in _spooled(path):
            seen.add(row.id)
            if row.time >= since:
                yield row
    for row in read_sealed(folder, since):
        if row.id not in seen:
            yield row


def _spooled(path: Path) -> Iterator[Row]:
    try:
        yield from read_spool(path)
    except StoreError:
        if path.exists():  # else a sealer took it meanwhile
            raise
