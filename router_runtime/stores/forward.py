"""From a local spool to the store that was away: what the log wrote beside a remote store goes there later."""

from __future__ import annotations

import os
from itertools import islice

from router_runtime.stores.base import EventStore
from router_runtime.stores.spool import claim, read_spool, remove_spool, spool_files

BATCH = 1000


def forward(root: str | os.PathLike[str], store: EventStore) -> int:
    """Appends every closed or orphaned spool below ``root`` to ``store`` and deletes it; gives the number of events.

    A spool goes only when all of it is durable over there; an event that was sent twice counts once by its key.

    Raises:
        StoreError: Where ``store`` fails or a spool cannot be read; what is left stays for the next time.
    """
    sent = 0
    for path in spool_files(root):
        with claim(path) as free:
            if not free:
                continue
            waiting = read_spool(path, claimed=True)
            while rows := list(islice(waiting, BATCH)):
                store.append(rows)
                sent += len(rows)
            remove_spool(path)
    return sent
