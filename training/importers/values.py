"""Values of other systems → numbers, texts and times, or the reason why not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from router_runtime.errors import RequestError
from router_runtime.messages import read_request


class BadValue(Exception):
    """Why the value of a field cannot be used; :class:`training.importers.collecting.Collector` adds the place."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


def find(row: Mapping[str, Any], path: str) -> Any:
    """The value under a column's name, else under a dotted path into objects (also objects kept as JSON text)."""
    if path in row:
        return row[path]
    found: Any = row
    for part in path.split("."):
        if isinstance(found, str):
            found = decoded(found)
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def decoded(value: Any) -> Any:
    """JSON text as what it holds; anything else, and text that only looks like it, as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def number(value: Any, field: str, low: float = 0.0, high: float = math.inf) -> float | None:
    """A finite number in low..high; None where nothing stands there.

    Raises:
        BadValue: For anything else, NaN included.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, (bool, Mapping, list)):
        raise BadValue(field, "is not a number")
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadValue(field, "is not a number") from None
    if not math.isfinite(found):
        raise BadValue(field, "is not finite")
    if not low <= found <= high:
        raise BadValue(field, f"is not in {low:g}..{high:g}" if math.isfinite(high) else f"is below {low:g}")
    return found


def text(value: Any, field: str) -> str | None:
    """Text; None where nothing stands there.

    Raises:
        BadValue: For lists and objects.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (Mapping, list, bytes)):
        raise BadValue(field, "is not text")
    found = str(value).encode("utf-8", "replace").decode()  # a lone surrogate cannot be stored
    return found or None


def prompt_text(value: Any, field: str) -> str | None:
    """The text of a prompt: text, or messages in OpenAI's or Anthropic's shape (also kept as JSON text).

    Raises:
        BadValue: Where it is neither.
    """
    found = decoded(value)
    if isinstance(found, Mapping):
        found = found.get("messages", found.get("input"))
    if isinstance(found, list):
        if found and all(isinstance(turn, str) for turn in found):
            return text("\n".join(found), field)
        try:
            return text(read_request(found).text, field) if found else None
        except RequestError:
            raise BadValue(field, "holds no messages with role and content") from None
    return text(found, field)


def seconds(value: Any, field: str) -> float | None:
    """UTC seconds since the epoch: a number (seconds, or ms where above 1e11), ISO 8601 or a time; naive means UTC.

    Raises:
        BadValue: For anything else.
    """
    if isinstance(value, str) and not value.strip():
        return None
    if isinstance(value, str) and not value.replace(".", "", 1).isdigit():
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise BadValue(field, "is not a time in ISO 8601") from None
    if isinstance(value, datetime):
        try:
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        except (OverflowError, ValueError, OSError):
            raise BadValue(field, "is outside the calendar") from None
    found = number(value, field)
    return found / 1000 if found is not None and found > 1e11 else found
