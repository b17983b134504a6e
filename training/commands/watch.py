"""``watch``: the guard of the canary."""

from __future__ import annotations

import argparse
import getpass
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from router_runtime.alternates import withdrawn_name
from router_runtime.errors import ConfigError
from router_runtime.overrides import default_state_dir, disable, read_disabled
from router_runtime.registry_reader import load_registry
from router_runtime.state import SharedState
from training.canary import Findings, examine
from training.log_table import load_log
from training.progress import Progress
from training.promotion import WITHDRAWN
from training.retrain.window import iso, make_window
from training.store_window import local_log
from training.tracking import Tracker

HELP = "Compares the registry's canary with the rest of the traffic, and withdraws it where its guard is broken."
EXAMPLES = """examples:
  python -m training watch --store dir:///var/lib/pointsman/log --registry registry.yaml --since 2d

exit codes: 0 the canary goes on (or there is too little to judge), 1 failed, 2 wrong usage, 3 it is withdrawn, now or
by an earlier run: what that one could not finish is finished.

A withdrawn bundle gets no traffic from any router that watches the state folder, or that shares the registry's Redis;
its version in MLflow loses the alias canary and keeps the reason. Another bundle in the canary's place starts afresh.
"""
EXIT_WITHDRAWN = 3
ALIAS = "canary"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("--store", required=True, metavar="URL", help="the log: a folder, dir:///…, or a remote store")
    parser.add_argument("--registry", type=Path, required=True, help="names the canary and its guard")
    parser.add_argument("--since", default="7d", metavar="TIME", help="how far to look back (default 7d)")
    parser.add_argument("--until", default="now", metavar="TIME", help="a moment (default: now)")
    parser.add_argument("--state", type=Path, metavar="DIR", help="folder that the routers watch (default: the user's)")
    parser.add_argument("--no-mlflow", action="store_true", help="leave MLflow alone")
    parser.add_argument("--dry-run", action="store_true", help="say what it finds; withdraw nothing")


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Examines and, where the guard is broken, withdraws.

    Raises:
        ConfigError: Where the registry has no canary.
    """
    registry = load_registry(args.registry)
    if registry.canary is None:
        raise ConfigError(f"{args.registry} has no canary")
    now = time.time()
    window = make_window(args.since, args.until, now)
    Progress(enabled=not args.quiet).say("reading the log")
    with local_log(args.store, window.since) as folder:
        log = load_log(folder, since=window.since, until=window.until, with_requests=False)
    found = examine(log, registry.canary, registry.experiments)
    state = args.state or default_state_dir()
    withdrawn = is_withdrawn(found, state, now)
    if found.broken and not args.dry_run:
        withdraw(found, state, registry.state, None if args.no_mlflow else Tracker, now)
        withdrawn = True
    document = {**found.as_json(), "withdrawn": withdrawn, "reason": found.reason or None}
    return document, _text(found, withdrawn)


def exit_code(document: dict[str, Any]) -> int:
    """3 where the canary is withdrawn."""
    return EXIT_WITHDRAWN if document["withdrawn"] else 0


def is_withdrawn(found: Findings, state: Path, now: float) -> bool:
    """Whether the canary takes no traffic any more; what it did before may still lie in the window."""
    return (
        found.bundle_version is not None and read_disabled(state).get(withdrawn_name(found.bundle_version), 0.0) > now
    )


def withdraw(
    found: Findings, state: Path, shared: str | None, open_tracker: Callable[[], Tracker] | None, now: float
) -> None:
    """Stops the canary's traffic, then takes its alias. Each step may be done again: a later run does the rest.

    Args:
        found: With a broken guard.
        state: Folder that the routers watch.
        shared: URL of the Redis that replicas share, or None.
        open_tracker: Opens the MLflow of its version, or None. Last: one that is away must keep no canary in traffic.
        now: UTC seconds since the epoch.
    """
    version = str(found.bundle_version)
    disable(state, withdrawn_name(version), math.inf, now)
    if shared is not None:
        replicas = SharedState(shared)
        replicas.disable(withdrawn_name(version), math.inf)
        replicas.close()
    if open_tracker is None:
        return
    tracker = open_tracker()
    known = tracker.version(ALIAS)
    if known is None or not known.tags.get("bundle_sha256", "").startswith(version):
        return
    tags = {WITHDRAWN: iso(now), "withdrawn_by": getpass.getuser(), "withdrawal_reason": found.reason[:4000]}
    tracker.tag(known.number, tags)
    tracker.unpoint(ALIAS)


def _text(found: Findings, withdrawn: bool) -> str:
    if found.bundle_version is None:
        return "no canary decided anything in this time"
    head = f"canary {found.bundle_version}: {found.decisions:,} decisions of {found.subjects:,} subjects"
    state = "guard broken" if found.broken else "goes on" if found.checks else "too few to judge"
    verdict = "withdrawn" if withdrawn else state
    return "\n".join([f"{head}; {verdict}", *(f"  {check.text}" for check in found.checks)])
