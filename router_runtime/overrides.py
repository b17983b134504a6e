"""Models that a person disabled for a time: one small file that every router of this machine reads."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from router_runtime.errors import StoreError
from router_runtime.shared_file import read_file, rewrite

FILE = "disabled.json"
MAX_BYTES = 1 << 20


def default_state_dir() -> Path:
    """``$POINTSMAN_STATE``, else ``pointsman`` in the user's state folder."""
    named = os.environ.get("POINTSMAN_STATE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "pointsman"


def read_disabled(folder: Path) -> dict[str, float]:
    """Until when each model is disabled, in UTC seconds since the epoch; infinity without an end.

    Raises:
        StoreError: Where the file is there but cannot be read.
    """
    path = folder / FILE
    data = read_file(path, MAX_BYTES)
    if data is None:
        return {}
    try:
        document = json.loads(data)
        return {str(name): math.inf if end is None else float(end) for name, end in document["disabled"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path} is not a list of disabled models; delete it to enable all") from error


def disable(folder: Path, model: str, until: float, now: float) -> None:
    """Disables ``model`` until a time (infinity: until it is enabled); ends that are past are forgotten.

    Raises:
        StoreError: Where the file cannot be written.
    """
    _edit(folder, lambda ends: {**{name: end for name, end in ends.items() if end > now}, model: until})


def enable(folder: Path, model: str) -> bool:
    """Enables ``model`` again; False where it was not disabled.

    Raises:
        StoreError: Where the file cannot be written.
    """
    before = _edit(folder, lambda ends: {name: end for name, end in ends.items() if name != model})
    return model in before


def _edit(folder: Path, change: Callable[[Mapping[str, float]], dict[str, float]]) -> dict[str, float]:
    """Changes the file in one step, one writer at a time; returns what stood there."""
    before: dict[str, float] = {}

    def document() -> dict[str, dict[str, float | None]]:
        before.update(read_disabled(folder))
        return {"disabled": {name: None if end == math.inf else end for name, end in sorted(change(before).items())}}

    rewrite(folder / FILE, ".lock", document)
    return before
