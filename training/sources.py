"""Where ``train`` reads from."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from training.dataset import Table, load_table


@dataclass(frozen=True)
class Source:
    """What was read.

    Args:
        table: The table.
        counts: Rows that reading has counted.
        note: A sentence about the data for the model card, or None.
    """

    table: Table
    counts: dict[str, int] = field(default_factory=dict)
    note: str | None = None


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments that name a source; exactly one is needed."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--table", type=Path, metavar="DIR", help="folder of prompts, outcomes, models (.parquet)")


def read_source(args: argparse.Namespace) -> Source:
    """Reads the source that the arguments name."""
    return Source(load_table(args.table))
