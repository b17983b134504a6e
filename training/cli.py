"""``python -m training``: finds the command, runs it, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage; ``retrain`` has more, see its help.
With ``--json`` stdout holds one JSON document and nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Protocol, cast

from router_runtime.errors import ConfigError, NotSupported, PointsmanError

# A command's module is imported when it is called: scikit-learn and MLflow together take seconds, `--help` must not.
COMMANDS = {
    "demo": ("demo", "the whole loop on the shipped sample: train, register, route, count the savings"),
    "import": ("import_table", "turn a file of LiteLLM, RouterBench, SPROUT or your own into a table"),
    "simulate": ("simulate", "turn a full-information table into a bandit log with a known truth"),
    "train": ("train", "learn a router from a table or log, write its bundle, register it in MLflow"),
    "evaluate": ("evaluate", "measure a bundle on a table"),
    "retrain": ("retrain", "the weekly job: learn from the log, judge against the champion, promote or keep"),
    "promote": ("promote", "make a version the champion"),
    "rollback": ("rollback", "return the former champion"),
    "watch": ("watch", "compare the canary with the rest, and withdraw it where its guard is broken"),
    "report": ("report", "what routing saved, where it loses and what has drifted: a page, Markdown and JSON"),
    "compare": ("compare", "two router versions side by side, with paired intervals"),
    "default-bundle": ("default_bundle", "fit the small bundle that ships, on several tables together"),
}
"""By name of the command: its module in :mod:`training.commands`, and a line for the overview."""


class Command(Protocol):
    """What a command's module holds."""

    HELP: str
    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the command's arguments."""

    def run(self, args: argparse.Namespace) -> tuple[dict[str, Any], str]:
        """Does it; gives the JSON document and the text for people.

        A module may also hold ``exit_code(document)``, for outcomes that are neither done nor failed.
        """


def load_command(name: str) -> Command:
    """The module of a command."""
    return cast(Command, importlib.import_module(f"training.commands.{COMMANDS[name][0]}"))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        print("interrupted; run the same command again", file=sys.stderr)
        return 1


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0 if arguments else 2
    name = arguments[0]
    if name not in COMMANDS:
        print(f"unknown command {name!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    command = load_command(name)
    parser = build_parser(name, command)
    try:
        args = parser.parse_args(arguments[1:])
    except SystemExit as leaving:  # argparse has printed help or the reason
        return leaving.code if isinstance(leaving.code, int) else 2
    return _run(command, args)


def _run(command: Command, args: argparse.Namespace) -> int:
    try:
        document, text = command.run(args)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except NotSupported as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        if args.json:
            document = {"refused": True, "reason": str(refusal), "segment": refusal.segment, **refusal.details}
            _print(json.dumps(document, allow_nan=False, ensure_ascii=False))
        return 1
    except (PointsmanError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    code = _print(json.dumps(document, allow_nan=False, ensure_ascii=False) if args.json else text)
    return code or command.exit_code(document) if hasattr(command, "exit_code") else code


def _print(text: str) -> int:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader has left (| head): stop Python from complaining again on exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def overview() -> str:
    """The list of commands."""
    lines = [f"  {name:16} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        ["usage: python -m training COMMAND …", "", *lines, "", "python -m training COMMAND --help shows examples."]
    )


def build_parser(name: str, command: Command) -> argparse.ArgumentParser:
    """The parser of one command, with ``--json`` and ``--quiet`` on each."""
    parser = argparse.ArgumentParser(
        prog=f"python -m training {name}",
        description=command.HELP,
        epilog=command.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser
