"""Where ``train`` reads from."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from router_runtime.encoder import TextEncoder
from router_runtime.errors import ConfigError
from training.dataset import Table, load_table
from training.feature_matrix import AnyFeatures
from training.importers import KINDS, import_file
from training.log_table import load_log
from training.store_window import local_log


@dataclass(frozen=True)
class Source:
    """What was read.

    Args:
        table: The table.
        counts: Rows that reading has counted.
        note: A sentence about the data for the model card, or None.
        features: Of the table's prompts, where reading made them: a log's, which may hold no text.
    """

    table: Table
    counts: dict[str, int] = field(default_factory=dict)
    note: str | None = None
    features: AnyFeatures | None = None


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments that name a source; exactly one is needed."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--table", type=Path, metavar="DIR", help="folder of prompts, outcomes, models (.parquet)")
    source.add_argument("--log", type=Path, metavar="DIR", help="folder of logged decisions, attempts and feedback")
    source.add_argument("--store", metavar="URL", help="that log by URL: dir:///…, postgresql://… or clickhouse://…")
    source.add_argument(
        "--import",
        dest="imported",
        nargs=2,
        metavar=("KIND", "FILE"),
        help=f"a file of another system; KIND is {', '.join(KINDS)}",
    )
    parser.add_argument("--mapping", type=Path, metavar="YAML", help="column mapping of an imported file")


def read_source(args: argparse.Namespace, encoder: TextEncoder | None = None) -> Source:
    """Reads the source that the arguments name; a log's texts by ``encoder``, too.

    Raises:
        ConfigError: A mapping without an import.
        DataError: The source cannot be read; says where.
        StoreError: A remote store cannot be read.
    """
    if args.mapping is not None and args.imported is None:
        raise ConfigError("--mapping describes an imported file: give --import KIND FILE too")
    if args.table is not None:
        table = load_table(args.table)
        return Source(table, _untidy(table))
    if args.imported is not None:
        kind, file = args.imported
        table = import_file(kind, Path(file), args.mapping)
        return Source(table, table.report.counts(), f"Imported from {Path(file).name} ({kind}).")
    with local_log(args.store if args.log is None else args.log) as folder:
        logged = load_log(folder, encoder=encoder)
    return Source(
        logged.table,
        logged.counts(),
        "Learnt from a log: each prompt was answered by one model, which the policy of the day chose.",
        logged.features,
    )


def _untidy(table: Table) -> dict[str, int]:
    """What was wrong with the rows of a table's files; its labelled rows are counted by the pipeline."""
    return {name: count for name, count in table.report.counts().items() if "." in name}
