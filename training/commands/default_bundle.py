"""``default-bundle``: the small bundle that ships, learnt from several tables together."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from router_runtime.errors import BundleFormatError
from training.commands.numbers import at_least
from training.commands.train import summary, summary_text
from training.dataset import load_table
from training.held_out import select_pool
from training.learner import learner, learner_params
from training.merge import merge_tables
from training.outcome_models import LearnConfig
from training.progress import Progress
from training.train import TrainSettings, train

HELP = "Fits the bundle that ships with the package, on several tables together; at most 2 MB."
EXAMPLES = """examples:
  python -m training default-bundle --data ../shared/data --out models/default
"""
TABLES = ("mmlu_pro", "zeroeval", "llmrouter")
MAX_TOTAL = 2_000_000
RANK = 24
"""Columns of hashed weights: 65,536 bytes each, so that weights and trees stay within the limit."""
TEXT_ROWS = 9_000
"""Prompts that the text scores learn from: half of them all, an eighth of the time."""
NOTE = (
    "Learnt from public benchmark answers of 2024 and 2025, not from traffic: exam questions, mathematics, some code, "
    "mostly English. Train on your own logs as soon as there are any."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the tables")
    parser.add_argument("--out", type=Path, default=Path("models/default"), metavar="DIR", help="folder of the bundle")
    parser.add_argument("--tables", nargs="+", default=list(TABLES), help="folders in --data")
    parser.add_argument("--measured", type=Path, metavar="JSON", help="quality.json of the benchmark, for the card")
    parser.add_argument("--seed", type=at_least(0), default=0)


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Fits and writes the bundle; it is not registered in MLflow.

    Raises:
        BundleFormatError: Where it came out too large.
    """
    progress = Progress(enabled=not args.quiet)
    tables = [select_pool(load_table(args.data / name)) for name in args.tables]
    config = LearnConfig(seed=args.seed, rank=RANK, sketch=0, text_rows=TEXT_ROWS)
    settings = TrainSettings(
        learn=learner(config, progress),
        seed=args.seed,
        params=learner_params(config),
        note=NOTE,
        elsewhere="" if args.measured is None else day_one_text(args.measured),
        measured=False,  # no prompt was answered by all of the tables' models; leaving out whole tables says more
    )
    done = train(merge_tables(tables, " + ".join(args.tables)), args.out, settings, tracker=None, progress=progress)
    size = sum(file.stat().st_size for file in args.out.iterdir())
    if size > MAX_TOTAL:
        raise BundleFormatError(f"{args.out} has {size} bytes, a bundle that ships has at most {MAX_TOTAL}")
    return {**summary(done), "bytes": size}, f"{summary_text(done)}\n{size / 1e6:.2f} MB"


def day_one_text(file: Path) -> str:
    """What the benchmark measured of learning from other tables, or without a model, in one sentence."""
    day = json.loads(file.read_text()).get("day_one", {})
    found = [
        f"{name} ({kind.replace('_', ' ')}) {entry['difference']['aiq']:+.4f} "
        f"({' to '.join(f'{limit:+.4f}' for limit in entry['difference']['intervals']['aiq'])})"
        for kind, entries in day.items()
        for name, entry in entries.items()
    ]
    if not found:
        return ""
    return (
        "Routers fitted like it without a table, or a model, were measured on what was left out. AIQ minus that of "
        f"the Zero router that knows the same priors alone: {'; '.join(found)}."
    )
