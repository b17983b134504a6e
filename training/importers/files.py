"""A file of another system → a table."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from router_runtime.errors import ConfigError
from training.dataset import Table
from training.importers import litellm, routerbench, sprout
from training.importers.collecting import Collector, Convert
from training.importers.mapping import ColumnMapping, Quality, load_mapping
from training.importers.reading import read_rows
from training.validation import MAX_BAD_SHARE

KINDS = ("litellm", "routerbench", "sprout", "mapped")


def import_file(kind: str, path: Path, mapping: Path | None = None, *, max_bad_share: float = MAX_BAD_SHARE) -> Table:
    """Reads a file of another system.

    Args:
        kind: ``litellm`` (spend logs; JSON, JSONL, CSV or Parquet), ``routerbench`` (wide table; Parquet or CSV),
            ``sprout`` (Parquet or JSONL) or ``mapped`` (any of these, with a column mapping).
        path: The file.
        mapping: Column mapping in YAML; ``mapped`` needs one, ``litellm`` takes its ``quality`` and ``prices``, the
            benchmarks its ``prices``.
        max_bad_share: Bound on malformed rows, 0..1.

    Returns:
        A table; from logs with one model for each prompt. Its ``report`` counts every row.

    Raises:
        ConfigError: For an unknown kind, or a mapping that is missing or not valid.
        DataError: Where the file cannot be read, or nothing is left.
        TooManyBadRows: Above the bound.
    """
    columns = None if mapping is None else load_mapping(mapping)
    convert = _converter(kind, columns)
    collector = Collector(path.name)
    collector.collect(read_rows(path), convert)
    return collector.table(path.stem, columns.prices if columns else {}, max_bad_share)


def _converter(kind: str, columns: ColumnMapping | None) -> Convert:
    if kind == "litellm":
        return partial(litellm.convert, mapping=litellm.with_mapping(columns))
    if kind == "routerbench":
        return routerbench.convert
    if kind == "sprout":
        return sprout.convert
    if kind != "mapped":
        raise ConfigError(f"import kind {kind!r} is unknown; it is one of {', '.join(KINDS)}")
    if columns is None:
        raise ConfigError("import kind 'mapped' needs a column mapping in YAML (see training/importers/mapping.py)")
    return replace(columns, quality=columns.quality or Quality("quality")).convert
