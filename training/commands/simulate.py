"""``simulate``: a full-information table as a bandit log, with the truth beside it."""

from __future__ import annotations

import argparse
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args

from router_runtime.keeping import LogPrompts
from training.commands.numbers import at_least
from training.dataset import load_table
from training.progress import Progress
from training.simulated_log import simulate
from training.simulated_world import POLICIES, SimulationSettings

HELP = "Turns a full-information table into the log of a router that saw one answer per prompt; the truth is kept."
EXAMPLES = """examples:
  python -m training simulate --table ../shared/data/mmlu_pro --policy epsilon --n 50000 --seed 1 --out logs/
  python -m training simulate --table ../shared/data/bfcl --policy uniform --n 5000 --seed 1 --out logs/ \\
      --judge-rate 0.5 --thumbs-rate 0.1 --delay-hours 24
  python -m training simulate --table data/sample --days 14 --n 20000 --out logs/ \\
      --holdout-model gpt-5.5 --holdout-share 0.1      # with a randomised baseline arm
"""
NAMED = ("policy", "log_prompts")
_METAVARS = {str: "NAME", int: "N", float: "X"}
_ARGUMENT = re.compile(r"^ {8}(\w+(?:, \w+)*): (.+(?:\n {12}.+)*)", re.MULTILINE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments; every number of :class:`SimulationSettings` has one."""
    parser.add_argument("--table", type=Path, required=True, metavar="DIR", help="full-information table")
    words = words_of(SimulationSettings)
    parser.add_argument("--policy", choices=list(POLICIES), default="epsilon", help=words["policy"])
    parser.add_argument("--n", type=at_least(1), required=True, help="decisions")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of all draws (default 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="LOG_DIR", help="folder of the log")
    parser.add_argument("--log-prompts", choices=get_args(LogPrompts), default="full", help="what it keeps of requests")
    for entry in fields(SimulationSettings):
        if entry.name in NAMED or entry.default is MISSING:
            continue
        option = f"--{entry.name.replace('_', '-')}"
        usual = "" if entry.default == "" else f" (default {entry.default:.10g})"
        kind = type(entry.default)
        parser.add_argument(
            option, type=kind, default=entry.default, metavar=_METAVARS[kind], help=words[entry.name] + usual
        )


def words_of(settings: type) -> dict[str, str]:
    """What the docstring of a class of settings says of each, for ``--help``."""
    found: dict[str, str] = {}
    for names, text in _ARGUMENT.findall(settings.__doc__ or ""):
        plain = " ".join(text.replace("``", "").split()).rstrip(".").replace("%", "%%")
        found |= dict.fromkeys(names.split(", "), plain[0].lower() + plain[1:])
    return found


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Simulates; gives the truth and its text."""
    progress = Progress(enabled=not args.quiet)
    settings = SimulationSettings(**{entry.name: getattr(args, entry.name) for entry in fields(SimulationSettings)})
    truth = simulate(
        load_table(args.table),
        args.out,
        settings,
        args.n,
        args.seed,
        lambda done, whole: progress.say(f"{done} of {whole} decisions"),
    )
    value = ", ".join(f"{name} {number:.5g}" for name, number in truth["policy_value"].items())
    counts = f"{truth['decisions']} decisions over {truth['prompts']} prompts in {args.out}"
    return {"out": str(args.out), **truth}, f"{counts}; true value of the policy: {value}"
