"""The sealer: closed or orphaned spools become day-partitioned Parquet.

``<root>/day=YYYY-MM-DD/<spool-uuid>.parquet``, a row for each event with the spool's columns. A file is written beside
its name, synced and renamed, and only then the spool is deleted; the name comes from the spool, so that a sealer that
dies half way does no harm: the next one writes the same files again.

The one module of the runtime that uses pyarrow (extra ``store``), and only while it seals.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from router_runtime.errors import StoreError
from router_runtime.stores.base import COLUMNS, Row, portions
from router_runtime.stores.spool import claim, read_spool, remove_spool, spool_files

_ROWS, _CHARACTERS = 50_000, 8 << 20
"""In a row group, so that a spool of long prompts is never in memory as a whole."""
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC).timestamp(), datetime.max.replace(tzinfo=UTC).timestamp() - 1


@dataclass(slots=True)
class SealReport:
    """What a run of the sealer did.

    Args:
        files: Parquet files that were written.
        rows: Events in them.
        open_spools: Spools that were left alone because their writer lives.
        failed: Reason by spool that could not be sealed; it stays where it is.
    """

    files: list[Path] = field(default_factory=list)
    rows: int = 0
    open_spools: int = 0
    failed: dict[Path, str] = field(default_factory=dict)


def seal(root: str | os.PathLike[str]) -> SealReport:
    """Seals every spool below ``root`` that nobody writes any more; any number of sealers may run at a time.

    Raises:
        StoreError: Where pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise StoreError("sealing needs pyarrow; add it with: pip install 'pointsman[store]'")
    import pyarrow as pa  # here, not above: see the module's first lines

    report = SealReport()
    for path in spool_files(root):
        try:
            with claim(path) as free:
                if free:
                    _seal_one(Path(root), path, report)
                else:
                    report.open_spools += path.exists()
        except (StoreError, OSError, pa.ArrowException) as error:
            report.failed[path] = str(error)
    return report


def forget(root: str | os.PathLike[str], before: float) -> list[Path]:
    """Deletes the sealed days that ended before ``before`` (UTC seconds since the epoch); gives their folders.

    Raises:
        StoreError: One cannot be deleted.
    """
    first = f"day={_day_of(before)}"
    gone = []
    for folder in sorted(Path(root).glob("day=????-??-??")):
        if folder.name >= first:
            break
        try:
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
        except OSError as error:
            raise StoreError(f"{folder}: cannot be deleted ({error})") from error
        gone.append(folder)
    return gone


def read_sealed(root: str | os.PathLike[str], since: float = 0.0) -> Iterator[Row]:
    """Every sealed event with time ≥ ``since``, day by day.

    Raises:
        StoreError: Where there are sealed days and pyarrow is not installed, or a file is damaged.
    """
    first = f"day={_day_of(since)}"
    files = [path for path in sorted(Path(root).glob("day=*/*.parquet")) if path.parent.name >= first]
    if not files:
        return
    if find_spec("pyarrow") is None:
        raise StoreError("reading sealed days needs pyarrow; add it with: pip install 'pointsman[store]'")
    import pyarrow as pa  # here, not above: see the module's first lines
    import pyarrow.parquet as pq

    for path in files:
        try:
            for batch in pq.ParquetFile(path).iter_batches(columns=list(COLUMNS)):
                rows = (Row(*values) for values in zip(*(batch.column(c).to_pylist() for c in COLUMNS), strict=True))
                yield from (row for row in rows if row.time >= since)
        except FileNotFoundError:  # its day has been deleted since it was listed
            continue
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{path}: cannot be read ({error})") from error


def _seal_one(root: Path, path: Path, report: SealReport) -> None:
    rows = read_spool(path, claimed=True, by_time=True)
    for day, events in groupby(rows, key=lambda row: _day_of(row.time)):
        file = root / f"day={day}" / f"{path.stem}.parquet"
        report.rows += _write(file, events)
        report.files.append(file)
    remove_spool(path)


def _day_of(time: float) -> str:
    """The UTC day; what lies outside of the years 1 to 9999 counts to their first day or their last."""
    return datetime.fromtimestamp(min(max(time, _FIRST), _LAST), UTC).date().isoformat()


def _write(path: Path, rows: Iterable[Row]) -> int:
    """Writes one file so that it appears whole and durable, or not at all; gives the number of its rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # by a killed sealer: who seals holds the spool's lock
        left.unlink(missing_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            written = _write_groups(file, rows)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)  # the new name must be durable before the spool goes
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return written


def _write_groups(file: BinaryIO, rows: Iterable[Row]) -> int:
    import pyarrow as pa  # here, not above: an extra, and nothing that a request needs may load it
    import pyarrow.parquet as pq

    types = {name: pa.float64() if name == "time" else pa.string() for name in COLUMNS}
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in types.items()])
    written = 0
    with pq.ParquetWriter(file, schema, compression="zstd", compression_level=3) as writer:
        for some in portions(rows, _ROWS, _CHARACTERS):
            columns = [pa.array([getattr(row, name) for row in some], kind) for name, kind in types.items()]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(some))
            written += len(some)
    return written
