"""Arguments of ``pointsman``, exit codes, and nothing else.

Exit codes: 0 done, 1 refused or failed (one line on stderr says why), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from router_runtime.cli import agents, commands, import_config, logs, prices, pulling, serving
from router_runtime.cli.values import duration, state_place
from router_runtime.errors import PointsmanError
from router_runtime.policy_settings import STRATEGIES
from router_runtime.registry import LATENCY_NEEDS
from router_runtime.registry_reader import DEFAULT_REGISTRY

_SWITCHED = "a model or an alias of the registry, or flag:NAME for every model that carries the flag"
_EXAMPLES = """\
examples:
  pointsman route "What is the capital of France?" --bundle models/default
  git diff | pointsman explain - --tier pro --intent refactor_function
  pointsman validate registry.yaml
  pointsman disable gpt-5.5 --for 30s
  pointsman status --json
  pointsman experiments --log logs/
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    _open_closed()
    arguments = _parser().parse_args(argv)
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()  # here, where it can still be told that nobody reads, or that the disk is full
        return status
    except PointsmanError as error:
        return _fail(str(error))
    except BrokenPipeError:
        _leave_stdout()
        return 1
    except OSError as error:
        _leave_stdout()
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
    except KeyboardInterrupt:
        return _fail("interrupted")


def _open_closed() -> None:
    """Streams that the shell has closed (``>&-``) are empty ones."""
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115 - for as long as the process
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def _leave_stdout() -> None:
    """What cannot be written is given up, or the interpreter complains while it exits."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(reason: str) -> int:
    line = " ".join(reason.split())
    print(f"pointsman: {line}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = _new(
        argparse.ArgumentParser,
        "pointsman",
        "Chooses the language model that answers well enough for the least money.",
        _EXAMPLES,
    )
    parser.add_argument("--version", action=_Version, help="show the version of the package and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_route(subparsers, "route", "choose a model for a prompt", commands.route)
    explain = _add_route(subparsers, "explain", "choose a model and say why", commands.explain_choice)
    explain.add_argument("--top", type=_count, default=10, metavar="N", help="influences to show (default 10)")
    validate = _add(subparsers, "validate", "check a registry", commands.validate, "pointsman validate registry.yaml")
    validate.add_argument("registry", metavar="REGISTRY", help="path of a registry.yaml")
    disable = _add(
        subparsers, "disable", "take a model out at once, without a restart", commands.disable,
        "pointsman disable gpt-5.5 --for 30s\npointsman disable flag:preview",
    )  # fmt: skip
    disable.add_argument("name", metavar="MODEL", help=_SWITCHED)
    disable.add_argument(
        "--for",
        dest="seconds",
        type=duration,
        metavar="TIME",
        help="such as 30s, 5m, 2h, 1d; until enabled where left out",
    )
    enable = _add(subparsers, "enable", "put a disabled model back", commands.enable, "pointsman enable gpt-5.5")
    enable.add_argument("name", metavar="MODEL", help=_SWITCHED)
    status = _add(
        subparsers, "status", "what would serve now", commands.status, "pointsman status --bundle models/default"
    )
    status.add_argument("--bundle", metavar="DIR", help="folder of a bundle")
    for command in (disable, enable, status):
        _add_places(command)
    agents.register(subparsers)
    serving.register(subparsers)
    import_config.register(subparsers)
    logs.register(subparsers)
    prices.register(subparsers)
    pulling.register(subparsers)
    return parser


class _Version(argparse.Action):
    """Prints the package's version, which is looked up only where it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version  # here: 8 ms that no other command needs

        try:
            number = version("pointsman")
        except PackageNotFoundError:
            number = "(not installed)"
        print(f"pointsman {number}")
        parser.exit()


def _new(kind: type[argparse.ArgumentParser], name: str, description: str, examples: str) -> argparse.ArgumentParser:
    return kind(
        prog=name, description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def _add(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    description: str,
    run: commands.Command,
    example: str,
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        name,
        help=description,
        description=description[0].upper() + description[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")
    parser.set_defaults(run=run)
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--registry", default=str(DEFAULT_REGISTRY), metavar="FILE", help="registry.yaml (default: the shipped one)"
    )
    parser.add_argument(
        "--state",
        type=state_place,
        metavar="DIR|URL",
        help="where disabled models are kept: a folder, or the redis:// URL of what replicas share (default: the"
        " registry's state, else $POINTSMAN_STATE, else the user's state folder)",
    )


def _add_route(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    description: str,
    run: commands.Command,
) -> argparse.ArgumentParser:
    parser = _add(
        subparsers,
        name,
        description,
        run,
        f'pointsman {name} "Why is the sky blue?" --bundle models/default --tier pro',
    )
    parser.add_argument("prompt", metavar="PROMPT", help="the text, or - for stdin")
    parser.add_argument("--bundle", metavar="DIR", help="folder of a bundle (default: none, the static table chooses)")
    _add_places(parser)
    parser.add_argument("--model", default="auto", metavar="NAME", help="take this model without a choice")
    parser.add_argument("--tier", metavar="NAME", help="a tier of the registry")
    parser.add_argument("--intent", metavar="NAME", help="an intent of the registry")
    parser.add_argument("--label", action="append", default=[], metavar="NAME", help="a label of the task (repeatable)")
    parser.add_argument("--strategy", choices=STRATEGIES, help="how to choose")
    parser.add_argument("--trade-off", type=_share, metavar="X", help="balanced: 0 = cost alone .. 1 = quality alone")
    parser.add_argument(
        "--quality-target", type=_share, metavar="X", help="cost-first: predicted quality to reach, 0..1"
    )
    parser.add_argument("--models", type=_names, metavar="A,B", help="the only models allowed")
    parser.add_argument(
        "--max-cost", type=_amount, metavar="USD", help="the most that the call may be predicted to cost"
    )
    parser.add_argument("--latency-need", choices=LATENCY_NEEDS, help="how soon the answer is needed")
    parser.add_argument("--seed", type=int, metavar="N", help="make the draw and the ids repeatable")
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _amount(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no amount in USD")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]
