"""Where ``train`` reads from: a table, a log, or a file of another system."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

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


def read_source(args: argparse.Namespace) -> Source:
    """Reads what ``--table``, ``--log`` or ``--import`` name."""
    return Source(load_table(args.table))
