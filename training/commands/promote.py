"""``promote``: makes a version the champion by hand."""

from __future__ import annotations

import argparse
import getpass
import json
import time
from dataclasses import asdict
from typing import Any

from router_runtime.errors import ConfigError, NotPromoted
from router_runtime.registry_reader import load_registry
from training.commands.retrain import add_places, state_of
from training.commands.serving import add_registry, serving_json, strangers_note
from training.promotion import CHAMPION, WITHDRAWN, Kind, Promoter, Promotion
from training.retrain.state import State
from training.run_record import Version
from training.tracking import Tracker

HELP = "Makes a version the champion: its alias in MLflow and the bundle that the runtime serves."
EXAMPLES = """examples:
  python -m training promote 7
  python -m training promote --latest
  python -m training promote 7 --force --reason "the law segment is tested by hand" --author ada

A version whose verdict is against it, or that has none, needs --force with a reason, which is recorded in MLflow.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("version", nargs="?", help="number or alias of a version")
    which.add_argument("--latest", action="store_true", help="the newest version")
    parser.add_argument("--force", action="store_true", help="though the gate's verdict does not allow it")
    parser.add_argument("--reason", metavar="TEXT", help="why; needed with --force")
    parser.add_argument("--author", metavar="NAME", help="who (default: the user of this process)")
    add_places(parser)
    add_registry(parser)


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Promotes; gives what was changed.

    Raises:
        ConfigError: ``--force`` without a reason, or a registry that is not valid.
        UnknownVersion: There is no such version.
        NotPromoted: Where the verdict does not allow it.
        BundleError: The bundle cannot serve beside the registry.
    """
    if args.force and not args.reason:
        raise ConfigError("--force needs --reason TEXT: it is recorded with the version")
    registry = load_registry(args.registry)
    tracker, state = Tracker(), State(state_of(args))
    with state.alone():
        promoter = Promoter(tracker, args.out, state, registry=registry)
        promoter.finish_pending()
        version = promoter.wanted(None if args.latest else args.version)
        if not args.force:
            require_verdict(version)
        champion = tracker.version(CHAMPION)
        former = champion.number if champion else None
        reason = args.reason or "its verdict allows it"
        kind: Kind = "forced" if args.force else "gate"
        author = args.author or getpass.getuser()
        change = Promotion(version.number, former, kind, author, reason, time.time())
        bundle = promoter.promote(change)
    document = {**asdict(change), **serving_json(bundle, registry, args.out)}
    text = f"version {version.number} is champion and serves from {args.out} (bundle {bundle.version})"
    return document, text + strangers_note(document, args.registry)


def require_verdict(version: Version) -> None:
    """Refuses a version that the gate did not let through, or that was worse in live traffic since.

    Raises:
        NotPromoted: With the reasons.
    """
    how = f"to overrule it: promote {version.number} --force --reason TEXT"
    if WITHDRAWN in version.tags:
        raise NotPromoted(
            f"version {version.number} was withdrawn as canary: {version.tags.get('withdrawal_reason', '')}; {how}"
        )
    if "verdict" not in version.tags:
        raise NotPromoted(f"version {version.number} has no verdict of the gate; {how}")
    verdict = json.loads(version.tags["verdict"])
    if not verdict["promote"]:
        raise NotPromoted(f"version {version.number} did not pass the gate: {verdict['summary']}; {how}")
