"""Files of other systems → rows as mappings; a row that cannot be read is an error of that row alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from router_runtime.errors import DataError, RowError

Row = Mapping[str, Any]
_LISTS = ("data", "rows", "logs", "items", "records")
_PICKLES = (".pkl", ".pickle", ".p")
_FIELD_BYTES = 1 << 27
_BATCH = 1000


def read_rows(path: Path) -> Iterator[tuple[int, Row | RowError]]:
    """The 1-based number and content of each row of a JSON, JSONL, CSV or Parquet file, by its extension.

    Raises:
        DataError: Where the file is missing, of another kind (a pickle is never loaded: it runs code), or broken as a
            whole.
    """
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise DataError(
            f"{path} is a pickle, which runs code when it is loaded, so it is refused; convert it where you trust it: "
            f"""python -c "import pandas; pandas.read_pickle('{path.name}').to_parquet('{path.stem}.parquet')\""""
        )
    reader = _READERS.get(suffix)
    if reader is None:
        raise DataError(f"{path} has no known extension (known are {', '.join(sorted(_READERS))})")
    if not path.is_file():
        raise DataError(f"{path} is missing")
    try:
        yield from reader(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def _jsonl(path: Path) -> Iterator[tuple[int, Row | RowError]]:
    with path.open("rb") as file:
        number = 0
        for line in file:
            if line.strip():
                number += 1
                yield number, _parsed(line, path, number)


def _parsed(line: bytes, path: Path, number: int) -> Row | RowError:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        return RowError(f"is not JSON ({_short(error)})", file=path.name, row=number, field="line")
    return _as_row(found, path, number)


def _as_row(found: Any, path: Path, number: int) -> Row | RowError:
    if isinstance(found, dict):
        return found
    return RowError(f"is {type(found).__name__}, not an object", file=path.name, row=number, field="line")


def _json(path: Path) -> Iterator[tuple[int, Row | RowError]]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({_short(error)}); one object a line is called .jsonl") from error
    if isinstance(found, dict):
        found = next((found[key] for key in _LISTS if isinstance(found.get(key), list)), found)
    if not isinstance(found, list):
        raise DataError(f"{path} is no list of rows, nor an object with one under {', '.join(_LISTS)}")
    for number, item in enumerate(found, 1):
        yield number, _as_row(item, path, number)


def _csv(path: Path) -> Iterator[tuple[int, Row | RowError]]:
    csv.field_size_limit(_FIELD_BYTES)  # the module's own limit of 128 kB is below what a prompt may have
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # Strict, or one quote that is not closed makes a single field of the whole rest of the file.
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if len(set(header)) < len(header):
                raise DataError(f"{path} names a column twice in its header")
            for number, values in enumerate((row for row in reader if row), 1):
                line = reader.line_num
                if len(values) != len(header):
                    reason = f"has {len(values)} fields, the header has {len(header)}"
                    yield number, RowError(reason, file=path.name, row=number, field="line")
                else:
                    yield number, dict(zip(header, values, strict=True))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8; save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(
            f"{path} is not CSV after line {line} ({error}): is a quote not closed, or not doubled?"
        ) from error


def _parquet(path: Path) -> Iterator[tuple[int, Row | RowError]]:
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({_short(error)})") from error


_READERS: Mapping[str, Callable[[Path], Iterator[tuple[int, Row | RowError]]]] = {
    ".json": _json,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
