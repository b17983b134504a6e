"""``pointsman import-config``: another tool's configuration as a ``registry.yaml``."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml

from router_runtime.errors import ConfigError
from router_runtime.importing import FORMATS, detect
from router_runtime.importing.relaxed_json import plain
from router_runtime.registry_reader import parse_registry

MAX_BYTES = 4 << 20


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    names = ", ".join(one.name for one in FORMATS)
    parser = subparsers.add_parser(
        "import-config",
        help="make a registry from another tool's configuration",
        description=f"Makes a registry.yaml from another tool's configuration ({names}). What has no meaning here is"
        " named on stderr; secrets are not copied.",
        epilog="example:\n  pointsman import-config litellm.yaml --out registry.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="FILE", help="the other tool's configuration, YAML or JSON")
    parser.add_argument("--format", choices=[one.name for one in FORMATS], help="whose it is (default: as it looks)")
    parser.add_argument("--out", metavar="FILE", help="where the registry goes (default: stdout); never overwritten")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")
    parser.set_defaults(run=import_config)


def import_config(arguments: argparse.Namespace) -> int:
    """``pointsman import-config``."""
    document = _read(Path(arguments.config))
    form = detect(document, FORMATS, arguments.format)
    found = form.convert(document, datetime.now(UTC).date())
    text = found.to_yaml()
    parse_registry(text.encode(), file=arguments.out or "registry.yaml")  # what is written must be read again
    if arguments.out is not None:
        _write(Path(arguments.out), text)
    if arguments.json:
        print(json.dumps({"format": form.name, "registry": found.registry, "warnings": found.warnings}, default=_plain))
        return 0
    for warning in found.warnings:
        print(f"pointsman: {warning}", file=sys.stderr)
    if arguments.out is None:
        print(text, end="")
    else:
        count = len(found.registry.get("models", {}))
        print(f"{arguments.out}: {count} models from {form.name}, {len(found.warnings)} warnings")
    return 0


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES} bytes")
    try:
        if path.suffix in (".json", ".json5"):
            return yaml.safe_load(plain(data.decode("utf-8-sig")))
        return yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f":{mark.line + 1}"
        raise ConfigError(f"{path}{line} is neither YAML nor JSON") from error


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already; choose another name") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(type(value).__name__)
