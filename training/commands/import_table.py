"""``import``: a file of another system → a table on disk, with a count of every row."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from training.dataset import save_table
from training.importers import KINDS, import_file
from training.validation import MAX_BAD_SHARE

HELP = "Reads a file of another system and writes it as a table (prompts, outcomes, models) to train on."
EXAMPLES = """examples:
  python -m training import litellm spend_logs.jsonl --out data/interim/spend
  python -m training import routerbench routerbench_0shot.parquet --out data/interim/routerbench
  python -m training import mapped answers.csv --mapping columns.yaml --out data/interim/answers
"""
_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("kind", choices=KINDS, help="what wrote the file")
    parser.add_argument("file", type=Path, help="JSON, JSONL, CSV or Parquet")
    parser.add_argument("--mapping", type=Path, metavar="YAML", help="column mapping")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the table")
    parser.add_argument(
        "--max-bad-share",
        type=float,
        default=MAX_BAD_SHARE,
        metavar="SHARE",
        help="stop above this share of malformed rows (default %(default)s)",
    )


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Imports; gives the counts, and the first rejected rows."""
    table = import_file(args.kind, args.file, args.mapping, max_bad_share=args.max_bad_share)
    save_table(table, args.out)
    counts, rejected = table.report.counts(), [str(reason) for reason in table.report.examples[:_SHOWN]]
    document = {
        "out": str(args.out),
        "prompts": len(table.prompts),
        "outcomes": len(table.outcomes),
        "models": table.model_names,
        "counts": counts,
        "rejected": rejected,
    }
    words = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items())
    lines = [f"{args.out}: {len(table.prompts):,} prompts, {len(table.models)} models ({words})"]
    return document, "\n".join([*lines, *(f"  rejected: {reason}" for reason in rejected)])
