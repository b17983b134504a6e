"""Events out of a store, wherever they lie: open spools and sealed days of a folder, or a remote store."""

from __future__ import annotations

import os
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
    # Spools first: one that is sealed afterwards is then seen twice, not never, and its rows are known by their ids.
    seen: set[str] = set()
    for _, rows in read_spools(folder):
        for row in rows:
            seen.add(row.id)
            if row.time >= since:
                yield row
    for row in read_sealed(folder, since):
        if row.id not in seen:
            yield row


def read_spools(root: str | os.PathLike[str]) -> Iterator[tuple[Path, list[Row]]]:
    """Each spool that is still there once it has been read, with all its rows; what a sealer took is left out.

    Sealed files are to be listed afterwards (what was left out is among them by then), less those of the same names as
    these spools: they hold the same rows.

    Raises:
        StoreError: Where a spool cannot be read.
    """
    for path in spool_files(root):
        try:
            rows = list(read_spool(path))
        except StoreError:
            if path.exists():
                raise
            continue
        if path.exists():
            yield path, rows
