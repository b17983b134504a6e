"""What the dashboard reads of the outcome log: sealed days and open spools as one table, through DuckDB.

Nothing here runs on the event loop. Prompts and features are never read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from router_runtime.errors import StoreError
from router_runtime.gateway.ui_queries import NARROW, TABLES
from router_runtime.gateway.ui_sealed import SealedDays, quoted
from router_runtime.stores.base import COLUMNS, Row
from router_runtime.stores.opening import local_folder, open_remote
from router_runtime.stores.reading import read_spools

_MEMORY = "1GB"
_SCHEMA = pa.schema([(name, pa.float64() if name == "time" else pa.string()) for name in COLUMNS])
_HIDDEN = ("prompt", "features")
_WITHIN_S = 7 * 86_400
"""How long after a decision its feedback is looked for."""


@contextmanager
def opened(place: str | Path, since: float, sealed: SealedDays | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """The log's events from ``since`` on (UTC seconds) as views of few columns, with the tables of ``ui_queries``.

    Args:
        place: Folder or URL of the log.
        since: UTC seconds.
        sealed: What was read of sealed files before; None = they are read anew.

    Raises:
        StoreError: Where the log cannot be read.
    """
    with duckdb.connect(":memory:") as db:
        db.execute(f"SET memory_limit = '{_MEMORY}'; SET threads = 1; SET enable_progress_bar = false")
        try:
            _narrow(db, place, since, sealed)
            for statement in TABLES:
                db.execute(statement, {"since": since} if "$since" in statement else None)
            yield db
        except (duckdb.Error, OSError) as error:
            raise StoreError(f"the log cannot be read ({str(error).splitlines()[0]})") from error


def find_decision(place: str | Path, decision_id: str) -> dict[str, Any] | None:
    """A decision with its attempts and feedback, without the prompt; None where the log has none of this id.

    Its id tells its time (UUIDv7), so that only the days from then on are looked at.

    Raises:
        StoreError: Where the log cannot be read.
    """
    since = time_of(decision_id)
    if since is None:
        return None
    with duckdb.connect(":memory:") as db:
        db.execute(f"SET memory_limit = '{_MEMORY}'; SET threads = 1; SET enable_progress_bar = false")
        try:
            _events(db, place, since - 1, since + _WITHIN_S)
            rows = db.execute(
                "SELECT kind, body FROM events WHERE decision_id = $id ORDER BY time, id", {"id": decision_id}
            ).fetchall()
        except duckdb.Error as error:
            raise StoreError(f"the log cannot be read ({str(error).splitlines()[0]})") from error
    return _joined(rows)


def _joined(rows: list[tuple[str, str]]) -> dict[str, Any] | None:
    """The events of one decision as one document; an event that comes twice counts once."""
    bodies = {(kind, body): json.loads(body) for kind, body in rows}
    kinds: dict[str, list[dict[str, Any]]] = {"decision": [], "attempt": [], "feedback": []}
    for (kind, _), body in bodies.items():
        kinds.get(kind, []).append(body)
    if not kinds["decision"]:
        return None
    decision = kinds["decision"][0]
    shown = {name: value for name, value in decision.items() if name not in _HIDDEN}
    attempts = {body.get("index", place): body for place, body in enumerate(kinds["attempt"])}
    return {
        "decision": shown,
        "prompt_logged": decision.get("prompt") is not None,
        "attempts": [attempts[index] for index in sorted(attempts)],
        "feedback": kinds["feedback"],
    }


def time_of(decision_id: str) -> float | None:
    """UTC seconds of a UUIDv7; None where it is none."""
    digits = decision_id.replace("-", "")
    if len(digits) != 32 or digits[12] != "7":
        return None
    try:
        seconds = int(digits[:12], 16) / 1000
        datetime.fromtimestamp(seconds + 2 * 86_400, UTC)  # 48 bits reach beyond all dates
    except (ValueError, OverflowError):
        return None
    return seconds


def _narrow(db: duckdb.DuckDBPyConnection, place: str | Path, since: float, sealed: SealedDays | None) -> None:
    """Makes a view of each kind, such as ``narrow_decision``: the columns of :data:`ui_queries.NARROW`."""
    folder = local_folder(place)
    spools = _events(db, place, since, files_too=sealed is None)
    files = [] if folder is None or sealed is None else _sealed(folder, since, spools)
    kept = [] if sealed is None else sealed.narrowed(db, files)
    for kind, query in NARROW.items():
        parts = [query.format(events="events")]
        if kept:
            parts.append(f"SELECT * FROM read_parquet([{', '.join(quoted(one[kind]) for one in kept)}])")  # noqa: S608 - our own paths, quoted
        db.execute(f"CREATE TEMP VIEW narrow_{kind} AS {' UNION ALL '.join(parts)}")


def _events(
    db: duckdb.DuckDBPyConnection,
    place: str | Path,
    since: float,
    until: float = float("inf"),
    *,
    files_too: bool = True,
) -> set[str]:
    """Makes the view ``events``: id, kind, decision_id, time, body; gives the names of the spools among them."""
    folder = local_folder(place)
    spools: set[str] = set()
    if folder is None:
        db.register("remote", _table(_of_store(str(place), since)))
        parts = ["SELECT * FROM remote"]
    else:
        db.register("spooled", _table(_of_spools(folder, spools)))
        parts = ["SELECT * FROM spooled"]
        files = _sealed(folder, since, spools, until) if files_too else []
        if files:
            names, listed = ", ".join(COLUMNS), ", ".join(map(quoted, files))
            parts.append(f"SELECT {names} FROM read_parquet([{listed}], hive_partitioning = false)")  # noqa: S608 - our own paths, quoted
    db.execute(f"CREATE TEMP VIEW events AS {' UNION ALL '.join(parts)}")
    return spools


def _sealed(folder: Path, since: float, spools: set[str], until: float = float("inf")) -> list[Path]:
    """The sealed files of the days from ``since`` to ``until``, less those of spools that were read already."""
    first = f"day={datetime.fromtimestamp(max(since, 0.0), UTC):%Y-%m-%d}"
    last = "day=~" if until == float("inf") else f"day={datetime.fromtimestamp(until, UTC):%Y-%m-%d}"
    found = sorted(folder.glob("day=*/*.parquet"))
    return [path for path in found if first <= path.parent.name <= last and path.stem not in spools]


def _of_spools(folder: Path, names: set[str]) -> Iterator[Row]:
    """The rows of the spools, whose names are added to ``names``."""
    for path, rows in read_spools(folder):
        names.add(path.stem)
        yield from rows


def _of_store(url: str, since: float) -> Iterator[Row]:
    store = open_remote(url)
    try:
        for portion in store.read(since):
            yield from portion
    finally:
        store.close()


def _table(rows: Iterable[Row]) -> pa.Table:
    held = [(row.id, row.kind, row.decision_id, row.time, row.body) for row in rows]
    columns = list(zip(*held, strict=True)) if held else [()] * len(COLUMNS)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)
