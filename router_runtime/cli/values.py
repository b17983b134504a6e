"""Values of arguments that several commands take."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from router_runtime.state import is_shared

_LONGEST_S = 100 * 365.25 * 86400.0
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str) -> float:
    """Seconds of ``30s``, ``5m``, ``2h``, ``1d`` or a bare number of seconds."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smhd]?)", text.strip())
    if match is None or float(match[1]) == 0.0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30s, 5m, 2h or 1d")
    seconds = float(match[1]) * _UNITS[match[2] or "s"]
    if seconds > _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is more than a hundred years")
    return seconds


def state_place(text: str) -> str:
    """A folder, or the URL of what replicas share; a mistyped URL must not become a folder of that name."""
    if not text or ("://" in text and not is_shared(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a folder nor redis://…, rediss://… or unix://…")
    return text


def above_zero(kind: type[float] | type[int]) -> Callable[[str], float]:
    """Reads a number greater than 0."""

    def read(text: str) -> float:
        value = kind(text)
        if not 0 < value < 1e12:
            raise argparse.ArgumentTypeError(f"{text} is not greater than 0")
        return value

    return read
