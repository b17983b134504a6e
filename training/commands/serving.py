"""The registry beside which bundles are trained and judged: what it names, they may need."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from router_runtime.bundle import Bundle
from router_runtime.registry import Registry
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


def serving_json(bundle: Bundle, registry: Registry, served: Path) -> dict[str, Any]:
    """What serves now: the bundle, where, and the models of it that the registry does not name."""
    strangers = [model.name for model in bundle.manifest.models if model.name not in registry.names]
    return {"bundle_version": bundle.version, "served": str(served), "not_in_registry": strangers}


def strangers_note(document: Mapping[str, Any], registry: Path) -> str:
    """A line where the registry does not name what the bundle knows: such models are never chosen."""
    names = document["not_in_registry"]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"\nnote: {registry} does not name {', '.join(names[:5])}{more}, which are thus not called" if names else ""
