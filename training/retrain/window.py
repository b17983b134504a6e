"""Which events a week's job reads: whole days in UTC, so that a job that runs twice reads the same ones twice."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from router_runtime.errors import ConfigError

DAY_S = 86_400.0
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)([hdw])")
_UNITS = {"h": 3600.0, "d": DAY_S, "w": 7 * DAY_S}


@dataclass(frozen=True)
class Window:
    """Decisions with since ≤ time < until, and what was known of them at ``known_by``; UTC seconds since the epoch."""

    since: float
    until: float
    known_by: float

    def as_json(self) -> dict[str, str]:
        """The three moments in ISO 8601."""
        return {name: iso(getattr(self, name)) for name in ("since", "until", "known_by")}


def iso(time: float) -> str:
    """``time`` (UTC seconds since the epoch) in ISO 8601."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _start(since: str, end: float) -> float:
    span = _SPAN.fullmatch(since)
    if span is None:
        return moment(since, "--since")
    start = end - float(span[1]) * _UNITS[span[2]]
    if start < 0:
        raise ConfigError(f"--since {since} reaches back before 1970; use a span such as 7d")
    return start


def make_window(since: str, until: str | None, now: float) -> Window:
    """The window that ``--since`` and ``--until`` name.

    Without an end it ends at the last midnight: a second run on one day then sees the same decisions, and of late
    feedback what had come by that midnight. ``--until now`` takes all there is.

    Args:
        since: A span such as ``7d``, ``12h``, ``2w`` before the end, or a moment in ISO 8601.
        until: A moment in ISO 8601, ``now``, or None for the last midnight.
        now: UTC seconds since the epoch.

    Raises:
        ConfigError: Where one of the two cannot be read, reaches back before 1970, or the window is empty.
    """
    midnight = now // DAY_S * DAY_S
    end = midnight if until is None else now if until == "now" else moment(until, "--until")
    start = _start(since, end)
    if not start < end:
        raise ConfigError(f"the window from {iso(start)} to {iso(end)} is empty: {_remedy(start, end, until, now)}")
    return Window(start, end, max(midnight, end))


def _remedy(start: float, end: float, until: str | None, now: float) -> str:
    """What to write in place of the two."""
    if start >= now:
        return "--since must lie in the past"
    if until is None:
        return "without --until it ends at the last midnight (UTC); add --until now, or name an earlier --since"
    if start == end and start % DAY_S == 0:
        return f"a day begins at its midnight (UTC); for all of this one use --until {iso(start + DAY_S)[:10]}"
    return "--until must be later than --since"


def moment(text: str, option: str) -> float:
    """A moment in ISO 8601 as UTC seconds since the epoch; without a zone it is UTC.

    Raises:
        ConfigError: Naming the option.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{option} is {text!r}; use a span such as 7d or a moment such as 2026-04-01") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
