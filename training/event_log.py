"""The sealed outcome log: ``<root>/day=YYYY-MM-DD/<uuid>.parquet``, defined here once.

One row for each event: keys to join on, and the event as JSON (``records.to_dict``). A file holds events of one day
(UTC) and appears whole or not at all; the deterministic name makes writing it again harmless. Spools that no one has
sealed yet (``<root>/spool/*.sqlite``) are part of the log.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from router_runtime.stores.reading import read_spools

EVENT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("decision_id", pa.string(), nullable=False),
        pa.field("time", pa.float64(), nullable=False),
        pa.field("body", pa.string(), nullable=False),
    ]
)
"""``id`` is the event's own key, ``kind`` one of :data:`KINDS`, ``time`` UTC seconds since the epoch, ``body`` JSON."""
KINDS = ("decision", "attempt", "feedback")
COMPRESSION, COMPRESSION_LEVEL = "zstd", 3
_DAY_S = 86_400


def day_of(time: float) -> str:
    """The UTC day of ``time`` as the partition names it, e.g. ``2026-04-01``."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d")


def write_events(root: Path, events: pa.Table, name: str) -> list[Path]:
    """Writes ``events`` (of :data:`EVENT_SCHEMA`) as ``day=…/<name>.parquet``, one file for each day.

    Args:
        root: The log's folder.
        events: The events, in any order; they are sorted by time.
        name: A UUID; the same name again replaces the same files.
    """
    if events.num_rows == 0:
        return []
    events = events.sort_by("time")
    times: npt.NDArray[np.float64] = events["time"].to_numpy()
    days = np.floor(times / _DAY_S)
    starts = np.flatnonzero(np.diff(days, prepend=-np.inf))
    ends = np.append(starts[1:], len(times))
    return [
        _write(root / f"day={day_of(times[start])}" / f"{name}.parquet", events.slice(start, end - start))
        for start, end in zip(starts, ends, strict=True)
    ]


def _write(path: Path, events: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with partial.open("wb") as file:
        pq.write_table(events, file, compression=COMPRESSION, compression_level=COMPRESSION_LEVEL)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)  # the new name must be durable too
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path


def sealed_files(root: Path) -> list[Path]:
    """The Parquet files of the log in order of day and name."""
    return sorted(root.glob("day=*/*.parquet"))


def spooled_events(root: Path) -> Iterator[tuple[Path, pa.Table]]:
    """The events of each spool, still open or not, as :func:`router_runtime.stores.reading.read_spools` says it.

    Raises:
        StoreError: Where a spool cannot be read.
    """
    for path, rows in read_spools(root):
        yield path, events_table({name: [getattr(row, name) for row in rows] for name in EVENT_SCHEMA.names})


def events_table(columns: Mapping[str, Sequence[object]]) -> pa.Table:
    """Events from a list for each column of :data:`EVENT_SCHEMA`."""
    arrays = [pa.array(columns[field.name], type=field.type) for field in EVENT_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=EVENT_SCHEMA)
