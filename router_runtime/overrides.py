"""Models that a person disabled for a time: one small file that every router of this machine reads."""

from __future__ import annotations

import fcntl
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from router_runtime.errors import StoreError

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
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = read_disabled(folder)
            ends = {name: None if end == math.inf else end for name, end in change(before).items()}
            handle, name = tempfile.mkstemp(prefix=".disabled-", dir=folder)
            with os.fdopen(handle, "w") as file:
                json.dump({"disabled": ends}, file, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(folder / FILE)
    except OSError as error:
        raise StoreError(f"{folder / FILE} cannot be written: {error.strerror}") from error
    return before
