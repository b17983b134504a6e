"""What a store of events is: rows in, acknowledged once they are durable."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from router_runtime.records import Event, to_dict


@dataclass(frozen=True, slots=True)
class Row:
    """One event as it is stored.

    Args:
        id: Unique key of the event, so that sealing or replaying it twice does no harm.
        kind: ``decision``, ``attempt`` or ``feedback``.
        decision_id: The join key.
        time: UTC seconds since the epoch.
        body: ``records.to_dict`` of the event as JSON.
    """

    id: str
    kind: str
    decision_id: str
    time: float
    body: str


COLUMNS = tuple(one.name for one in fields(Row))
"""Names of a row's columns, the same in every store."""


def portions(rows: Iterable[Row], count: int, characters: int) -> Iterator[list[Row]]:
    """``rows`` in order, in lists of at most ``count``, each full as well where its bodies reach ``characters``."""
    some: list[Row] = []
    held = 0
    for row in rows:
        some.append(row)
        held += len(row.body)
        if len(some) == count or held >= characters:
            yield some
            some, held = [], 0
    if some:
        yield some


class EventStore(Protocol):
    """An append-only home of events."""

    def append(self, rows: Sequence[Row]) -> None:
        """Stores ``rows`` in one unit; when it returns they survive a crash of the process and of the machine.

        Raises:
            StoreError: Where nothing of ``rows`` was stored.
        """
        ...

    def close(self) -> None:
        """Lets go of files and connections; may be called twice."""
        ...


class RemoteStore(EventStore, Protocol):
    """A store on another machine, which many processes share; training takes a copy of the days that it needs."""

    def read(self, since: float = ..., batch: int = ...) -> Iterator[Sequence[Row]]:
        """Events with time ≥ ``since`` in order of time, each once, in portions of about ``batch``.

        Raises:
            StoreError: Where the store cannot be read.
        """
        ...


def to_row(event: Event, row_id: str) -> Row:
    """``event`` as a row under the key ``row_id``.

    Raises:
        ValueError: Where a value is not JSON (NaN and infinities are not).
        RecursionError: Where one is nested too deeply.
    """
    data = to_dict(event)
    decision_id = str(data["decision_id"] if "decision_id" in data else data["id"])
    return Row(row_id, str(data["kind"]), storable(decision_id), event.time, dump(data))


def storable(text: str) -> str:
    """``text`` without what some store cannot hold: lone surrogates and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


_ENCODE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def dump(data: dict[str, Any]) -> str:
    """Compact JSON; values that JSON does not know are refused (``meta`` of feedback is the caller's).

    A lone surrogate, which no store can hold, becomes ``?``.
    """
    text = _ENCODE(data)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
