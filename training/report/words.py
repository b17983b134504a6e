"""Numbers and times in words, the same on every page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def date_of(time: float) -> str:
    """``2026-04-15 14:03``, UTC, of seconds since the epoch."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M}"


def quality_of(found: Mapping[str, Any]) -> str:
    """``.781`` of a quality 0..1; a dash where it is unknown."""
    return "–" if found["value"] is None else f"{found['value']:.3f}"


def with_interval(found: Mapping[str, Any], digits: int = 3) -> str:
    """``0.781 (0.774–0.789)``."""
    if found["value"] is None:
        return "–"
    if found["low"] is None:
        return f"{found['value']:.{digits}f}"
    return f"{found['value']:.{digits}f} ({found['low']:.{digits}f}–{found['high']:.{digits}f})"


def share(part: float, digits: int = 1) -> str:
    """``12.5 %`` of a share 0..1."""
    return f"{100 * part:.{digits}f} %"


def milliseconds(found: float | None) -> str:
    """``1,240 ms``; a dash where it is unknown."""
    return "–" if found is None else f"{found:,.0f} ms"
