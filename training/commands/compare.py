"""``compare``: two versions side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from router_runtime.bundle import Bundle, open_bundle
from router_runtime.errors import UnknownVersion
from router_runtime.opening import open_for
from router_runtime.registry_reader import load_registry
from training.commands.numbers import at_least
from training.commands.serving import add_registry
from training.compare import Version, compare, comparison_figure, comparison_text, flat_difference
from training.dataset import load_table
from training.held_out import held_out
from training.progress import Progress
from training.race import REPLICATES
from training.run_record import RunRecord
from training.scratch import scratch
from training.tracking import Tracker

HELP = "Compares two routers (bundle folders, version numbers or aliases of MLflow) on one table, pair by pair."
EXAMPLES = """examples:
  python -m training compare champion challenger --table heldout
  python -m training compare 3 models/mine --table heldout --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("a", help="bundle folder, version number or alias")
    parser.add_argument("b", help="likewise; differences are b − a")
    parser.add_argument("--table", type=Path, required=True, metavar="DIR", help="prompts that neither was trained on")
    add_registry(parser)
    parser.add_argument("--pool", choices=["auto", "core", "all"], default="auto", help="models to choose from")
    parser.add_argument("--replicates", type=at_least(1), default=REPLICATES, help="bootstrap replicates")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--no-log", action="store_true", help="do not log the comparison in MLflow")


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Compares, logs a run with the figure; gives the report and its text."""
    progress = Progress(enabled=not args.quiet)
    held = held_out(load_table(args.table), args.pool)
    both = (args.a, args.b)
    tracker = None if args.no_log and all(Path(name).is_dir() for name in both) else Tracker()
    registry = load_registry(args.registry)
    a, b = (Version(name, open_for(registry, fetch(name, tracker))) for name in both)
    report = compare(a, b, held, replicates=args.replicates, seed=args.seed, progress=progress)
    text = comparison_text(report)
    if tracker is not None and not args.no_log:
        record = RunRecord(
            params={"a": a.name, "b": b.name, "table": held.table.name},
            metrics=flat_difference(report),
            tags={"kind": "comparison", "a_version": a.bundle.version, "b_version": b.bundle.version},
            figures={"comparison.png": comparison_figure(report)},
            documents={"comparison.txt": text},
        )
        report["run_id"] = tracker.log(f"compare {Path(a.name).name} {Path(b.name).name}", record)
    return report, text


def fetch(name: str, tracker: Tracker | None) -> Bundle:
    """The bundle of a folder, or of a version or alias.

    Raises:
        UnknownVersion: It is neither.
    """
    if tracker is None or Path(name).is_dir():
        return open_bundle(name)
    if tracker.version(name) is None:
        raise UnknownVersion(f"{name!r} is no folder, and {tracker.unknown(name)}")
    with scratch() as folder:
        return open_bundle(tracker.bundle(name, folder))
