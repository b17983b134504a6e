"""The registry beside which bundles are trained and judged: what it names, they may need."""

from __future__ import annotations

import argparse
from pathlib import Path

from router_runtime.registry_reader import DEFAULT_REGISTRY


def add_registry(parser: argparse.ArgumentParser) -> None:
    """Declares ``--registry``."""
    parser.add_argument(
        "--registry",
        type=Path,
        default=DEFAULT_REGISTRY,
        metavar="FILE",
        help="the registry that serves the bundle: its encoder, where it names one, reads the texts, too",
    )
