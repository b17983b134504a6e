"""``rollback``: returns the former champion."""

from __future__ import annotations

import argparse
import getpass
import time
from dataclasses import asdict
from typing import Any

from router_runtime.registry_reader import load_registry
from training.commands.retrain import add_places, state_of
from training.commands.serving import add_registry, serving_json, strangers_note
from training.promotion import Promoter
from training.retrain.state import State
from training.tracking import Tracker

HELP = "Returns the champion before this one: its alias in MLflow and the bundle that the runtime serves."
EXAMPLES = """examples:
  python -m training rollback --reason "complaints about contracts"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("--reason", default="rolled back by hand", metavar="TEXT", help="why, for the record")
    parser.add_argument("--author", metavar="NAME", help="who (default: the user of this process)")
    add_places(parser)
    add_registry(parser)


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Rolls back; gives what was changed.

    Raises:
        UnknownVersion: There is no champion, or none before it.
        BundleError: The former one cannot serve beside the registry.
    """
    registry = load_registry(args.registry)
    state = State(state_of(args))
    with state.alone():
        promoter = Promoter(Tracker(), args.out, state, registry=registry)
        promoter.finish_pending()
        change, bundle = promoter.rollback(args.author or getpass.getuser(), args.reason, time.time())
    document = {**asdict(change), **serving_json(bundle, registry, args.out)}
    text = f"version {change.version} is champion again, after {change.former} (bundle {bundle.version})"
    return document, text + strangers_note(document, args.registry)
