"""``pointsman prices``: newer prices into a registry."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from router_runtime.cli import render
from router_runtime.price_source import known_price
from router_runtime.price_update import PriceUpdate, find_updates, write_update


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("prices", help="prices of a registry", description="Prices of a registry.")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = actions.add_parser(
        "update",
        help="add newer prices as dated entries",
        description="Adds the prices that the installed genai-prices knows as entries valid from today; asks no server."
        " Nothing that stands in the file is changed.",
        epilog="example:\n  pointsman prices update --registry registry.yaml --dry-run",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add.add_argument("--registry", required=True, type=Path, metavar="FILE", help="registry.yaml")
    add.add_argument("--dry-run", action="store_true", help="show the change and write nothing")
    add.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")
    add.set_defaults(run=update)


def update(arguments: argparse.Namespace) -> int:
    """``pointsman prices update``."""
    found = find_updates(arguments.registry, known_price, time.time())
    if found.added and not arguments.dry_run:
        write_update(arguments.registry, found)
    document = {
        "registry": str(arguments.registry),
        "written": bool(found.added) and not arguments.dry_run,
        "added": {
            name: {
                "valid_from": str(p.valid_from),
                "input": p.input,
                "output": p.output,
                "cached_input": p.cached_input,
            }
            for name, p in found.added.items()
        },
        "unknown": list(found.unknown),
        "unchanged": list(found.unchanged),
        "refused": dict(found.refused),
    }
    render.show(arguments.json, document, _words(found, arguments))
    return 0


def _words(found: PriceUpdate, arguments: argparse.Namespace) -> str:
    lines = [found.diff(str(arguments.registry)).rstrip()] if arguments.dry_run and found.added else []
    lines += [f"{name}: no price known" for name in found.unknown]
    lines += [f"{name}: {reason}" for name, reason in found.refused.items()]
    verb = "would be added" if arguments.dry_run else "added"
    return "\n".join([*lines, f"{len(found.added)} prices {verb}, {len(found.unchanged)} are the same"])
