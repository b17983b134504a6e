"""``retrain``: the weekly job."""

from __future__ import annotations

import argparse
import getpass
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from router_runtime.registry_reader import DEFAULT_REGISTRY, load_registry
from training.commands.numbers import at_least
from training.gate import GateRules, Priority
from training.progress import Progress
from training.retrain.job import OUTCOMES, Config, Job, Outcome
from training.retrain.weekly import preview, retrain
from training.retrain.window import make_window
from training.tracking import Tracker

HELP = (
    "Learns a challenger from a window of the log, judges it against the champion, and promotes it where it is proven."
)
EXAMPLES = """examples:
  python -m training retrain --store dir:///var/lib/pointsman/log --since 7d
  python -m training retrain --store logs/ --since 2026-04-01 --until 2026-04-08 --dry-run --json

exit codes: 0 promoted, 1 failed, 2 wrong usage, 3 the champion is kept, 4 refused: the log cannot support the claim.

The window ends at the last midnight (UTC) where --until says nothing else. The same window again makes no second
version (unless --force) and gives the same exit code; a run that was killed is finished by the next one. Where no
version is champion yet, the challenger is compared with what was served, as the log has it. --force never overrules the
verdict: that is `promote VERSION --force --reason TEXT`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments; every bound of the gate has one."""
    parser.add_argument("--store", required=True, metavar="URL", help="the log: a folder, dir:///…, or a remote store")
    parser.add_argument(
        "--since", default="7d", metavar="TIME", help="7d, 12h, 2w before the end, or a day (default 7d)"
    )
    parser.add_argument("--until", metavar="TIME", help="a day or moment, or 'now' (default: the last midnight, UTC)")
    add_places(parser)
    parser.add_argument("--registry", type=Path, default=DEFAULT_REGISTRY, help="how both routers choose")
    parser.add_argument("--folds", type=at_least(2), default=Config.folds, help="folds of sessions held out in turn")
    parser.add_argument("--min-rows", type=at_least(1), default=Config.min_rows, help="labelled decisions needed")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--force", action="store_true", help="another version, though the window has one")
    parser.add_argument("--no-report", action="store_true", help="write no report of the window")
    parser.add_argument("--dry-run", action="store_true", help="read, check and count; write nothing")
    gate = parser.add_argument_group("the gate")
    for entry in fields(GateRules):
        option, kind = f"--{entry.name.replace('_', '-')}", type(entry.default)
        choices = get_args(Priority) if entry.name == "priority" else None
        gate.add_argument(option, type=kind, choices=choices, default=entry.default, help=f"default {entry.default}")


def add_places(parser: argparse.ArgumentParser) -> None:
    """Declares where bundles and runs are kept."""
    parser.add_argument(
        "--out", type=Path, default=Path("models/champion"), metavar="DIR", help="folder that the runtime serves"
    )
    parser.add_argument("--state", type=Path, metavar="DIR", help="what runs leave behind (default: DIR.retrain)")


def state_of(args: argparse.Namespace) -> Path:
    """The folder of what runs leave behind."""
    out: Path = args.out
    return args.state or out.with_name(f"{out.name}.retrain")


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Runs the job, or says what it would do; gives the outcome and its text."""
    progress = Progress(enabled=not args.quiet)
    rules = GateRules(**{entry.name: getattr(args, entry.name) for entry in fields(GateRules)})
    job = Job(
        store=args.store,
        window=make_window(args.since, args.until, time.time()),
        registry=load_registry(args.registry),
        served=args.out,
        state=state_of(args),
        config=Config(rules=rules, folds=args.folds, seed=args.seed, min_rows=args.min_rows),
        report=not args.no_report,
        force=args.force,
        author=getpass.getuser(),
    )
    if args.dry_run:
        plan = preview(job, progress=progress)
        return plan, f"{plan['decisions']:,} decisions; a run would: {plan['would']}"
    done = retrain(job, Tracker(), progress=progress)
    return done.as_json(), outcome_text(done, args.out)


def exit_code(document: dict[str, Any]) -> int:
    """By outcome; 0 for a dry run."""
    return OUTCOMES.get(str(document.get("outcome")), 0)


def outcome_text(done: Outcome, served: Path) -> str:
    """The outcome for people, with every reason."""
    stays = "the champion is kept" if done.verdict.get("champion") else "nothing is promoted: no version is champion"
    heads = {
        "promoted": f"version {done.version} is champion and serves from {served}",
        "kept": f"{stays}; version {done.version} is challenger",
        "refused": f"refused: the log cannot support a comparison; version {done.version} is challenger",
    }
    if done.repeated:  # a person may have moved the champion since
        became = "was promoted then" if done.outcome == "promoted" else f"was not promoted then ({done.outcome})"
        heads = dict.fromkeys(heads, f"this window had its version already: {done.version} {became}")
    lines = [
        f"  {'ok' if one['passed'] else 'NO':2}  {one['check']}: {one['detail']}" for one in done.verdict["reasons"]
    ]
    if done.details.get("report"):
        lines.append(f"report: {done.details['report']}")
    return "\n".join([heads[done.outcome], *lines])
