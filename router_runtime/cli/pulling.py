"""``pointsman pull``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from router_runtime.cli import render
from router_runtime.errors import ConfigError
from router_runtime.mlflow_pull import ALIAS, MODEL, Place, credentials, pull


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "pull",
        help="fetch the bundle of a version from MLflow",
        description="Fetches the bundle that an alias of MLflow points to, and puts it where a router serves from.",
        epilog="example:\n  pointsman pull http://127.0.0.1:5000 --alias champion --out models/router\n\n"
        "MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD, are sent where they are set.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="MLflow's server (default: $MLFLOW_TRACKING_URI)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder that the router serves")
    parser.add_argument("--model", default=MODEL, metavar="NAME", help=f"registered model (default {MODEL})")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--alias", default=ALIAS, metavar="NAME", help=f"default {ALIAS}")
    which.add_argument("--version", metavar="N", help="a version's number")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fetches, unless it is there already."""
    url = arguments.url or os.environ.get("MLFLOW_TRACKING_URI")
    if not url:
        raise ConfigError("which MLflow? give its URL, or set MLFLOW_TRACKING_URI")
    done = pull(Place(url, arguments.model, arguments.version or arguments.alias, credentials()), arguments.out)
    document = {
        "version": done.version,
        "bundle_version": done.bundle_version,
        "changed": done.changed,
        "out": str(arguments.out),
    }
    what = "now serves from" if done.changed else "was there already:"
    render.show(
        arguments.json, document, f"version {done.version} (bundle {done.bundle_version}) {what} {arguments.out}"
    )
    return 0
