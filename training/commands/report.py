"""``report``: what routing earned against one fixed model, as a page to read and as Markdown."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from router_runtime.bundle import open_bundle
from router_runtime.registry_reader import load_registry
from training.progress import Progress
from training.report import Question, write_report
from training.retrain.window import make_window, moment
from training.store_window import local_log

HELP = """Reports on a window of the log: cost and satisfaction against the randomised single-model arm, with intervals;
where a model underperforms, with weights for the registry; drift, calibration, providers, data health. Where the log
cannot support a claim, the report says so and what would."""
EXAMPLES = """examples:
  python -m training report --store dir:///var/lib/pointsman/log --since 14d --out report/
  python -m training report --log logs --since 2026-04-01 --until 2026-04-15 --registry registry.yaml --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--store", metavar="URL", help="dir:///path, postgresql://… or clickhouse://…")
    source.add_argument("--log", type=Path, metavar="DIR", help="folder of a log")
    parser.add_argument("--since", metavar="WHEN", help="a span (14d) or a moment (UTC); all by default")
    parser.add_argument(
        "--until",
        metavar="WHEN",
        help="a moment, or now (default: the end of the log; with --since the last midnight, UTC)",
    )
    parser.add_argument("--registry", type=Path, metavar="FILE", help="names the baseline arm and present weights")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="a bundle: drift since it was trained, too")
    parser.add_argument("--baseline", metavar="MODEL", help="to estimate against where no baseline arm ran")
    parser.add_argument("--out", type=Path, default=Path("report"), metavar="DIR", help="folder of the pages")


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Writes the pages; gives the facts and the verdict."""
    progress = Progress(enabled=not args.quiet)
    since, until = window_of(args.since, args.until, time.time())
    place = args.log if args.log is not None else args.store
    registry = None if args.registry is None else load_registry(args.registry)
    manifest = None if args.bundle is None else open_bundle(args.bundle).manifest
    progress.say("reading the log")
    with local_log(place, since) as folder:
        question = Question(since, until, args.baseline, "the last days" if args.log is None else args.log.name)
        written = write_report(folder, args.out, question, registry=registry, manifest=manifest)
    verdict = written.facts["verdict"]
    files = {"html": str(written.html), "markdown": str(written.markdown), "json": str(written.json)}
    return {"files": files, **written.facts}, f"{verdict['sentence']}\n{verdict['note']}\n{written.html}"


def window_of(since: str | None, until: str | None, now: float) -> tuple[float | None, float | None]:
    """The window asked for in UTC seconds; None where an end is open.

    Raises:
        ConfigError: Where an end cannot be read, or the window is empty.
    """
    if since is not None:
        window = make_window(since, until, now)
        return window.since, window.until
    return None, None if until is None else now if until == "now" else moment(until, "--until")
