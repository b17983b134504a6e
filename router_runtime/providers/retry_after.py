"""How long a provider asks to be left alone, out of its headers.

No clock is read: points in time are taken relative to the answer's own ``Date``, so that a skewed clock here does no
harm; without a ``Date`` they say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 31 * 86400.0  # a month: no honest quota resets later

#: (remaining, reset) headers: OpenAI's durations, Anthropic's RFC 3339 times, OpenRouter's epoch milliseconds.
_LIMITS = (
    *((f"x-ratelimit-remaining-{what}", f"x-ratelimit-reset-{what}") for what in ("requests", "tokens")),
    *(
        (f"anthropic-ratelimit-{what}-remaining", f"anthropic-ratelimit-{what}-reset")
        for what in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until another try is welcome, or None where the headers do not say.

    ``retry-after-ms``, then ``Retry-After`` (seconds or a date, RFC 9110 §10.2.3), then the reset of each limit that
    has nothing remaining.

    Args:
        headers: With lower-case names.
    """
    millis = _number(headers.get("retry-after-ms", ""))
    if millis is not None:
        return _bounded(millis / 1000)
    asked = headers.get("retry-after", "").strip()
    if asked:
        seconds = _number(asked)
        return _bounded(seconds if seconds is not None else _until(_http_date(asked), headers))
    waits = [
        wait
        for remaining, reset in _LIMITS
        if headers.get(remaining, "").strip() == "0" and (wait := _reset(headers.get(reset, ""), headers)) is not None
    ]
    return max(waits) if waits else None


def until_utc_hour(headers: Mapping[str, str], hour: int) -> float | None:
    """Seconds from the answer's ``Date`` to the next ``hour`` o'clock UTC; None without a ``Date``."""
    now = _http_date(headers.get("date", ""))
    if now is None:
        return None
    then = now.replace(hour=hour, minute=0, second=0)
    return _bounded((then - now).total_seconds() % 86400)


def duration(text: str) -> float | None:
    """Seconds in ``"1m30.5s"``, ``"120ms"`` or ``"34s"``; None where it is none."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return _bounded(sum(float(number) * _UNITS[unit] for number, unit in parts))


def _reset(text: str, headers: Mapping[str, str]) -> float | None:
    span = duration(text)
    if span is not None:
        return span
    number = _number(text)
    if number is None:
        return _bounded(_until(_rfc3339(text), headers))
    if number < 1e9:  # seconds to go, not a point in time
        return _bounded(number)
    seconds = number / 1000 if number > 1e11 else number
    return _bounded(_until(datetime.fromtimestamp(0, UTC) + timedelta(seconds=min(seconds, 1e11)), headers))


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,18}(\.\d{1,9})?", text.strip()) else None


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(seconds, 0.0), _LONGEST)


def _until(then: datetime | None, headers: Mapping[str, str]) -> float | None:
    now = _http_date(headers.get("date", ""))
    return None if then is None or now is None else (then - now).total_seconds()


def _http_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _rfc3339(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
