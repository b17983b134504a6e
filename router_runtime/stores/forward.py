"""From a local spool to the store that was away: what the log wrote beside a remote store goes there later."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from router_runtime.errors import StoreError
from router_runtime.stores.base import EventStore, Row, portions
from router_runtime.stores.spool import claim, read_spool, remove_spool, spool_files

ROWS, CHARACTERS = 1000, 4 << 20
"""In one portion, so that the store takes it within its time."""
_LOG = logging.getLogger("router_runtime.stores")
_STAYS = "events stay behind: %s"


def forward(root: str | os.PathLike[str], store: EventStore) -> Iterator[int]:
    """Appends every closed or orphaned spool below ``root`` to ``store`` and deletes it, a portion at each step.

    A spool goes only when all of it is durable over there; an event that was sent twice counts once by its key. One
    that cannot be read stays where it is and is logged; it holds up no other.

    Yields:
        Number of events in the portion that was just stored.

    Raises:
        StoreError: Where ``store`` fails; what is left stays for the next time.
    """
    for path in spool_files(root):
        with ExitStack() as held:
            try:
                free = held.enter_context(claim(path))
            except StoreError as error:
                _LOG.warning(_STAYS, error)
                continue
            if free:
                yield from _send(path, store)


def _send(path: Path, store: EventStore) -> Iterator[int]:
    waiting = portions(read_spool(path, claimed=True), ROWS, CHARACTERS)
    rows, sent = _next(waiting), 0
    while rows:
        if sent:
            yield sent
        store.append(rows)
        sent, rows = len(rows), _next(waiting)
    if rows is not None:
        remove_spool(path)
    if sent:
        yield sent


def _next(waiting: Iterator[list[Row]]) -> list[Row] | None:
    """The next portion, empty at the end; None where the spool cannot be read further."""
    try:
        return next(waiting, [])
    except StoreError as error:
        _LOG.warning(_STAYS, error)
        return None
