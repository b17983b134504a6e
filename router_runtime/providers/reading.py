"""Reading JSON that a provider wrote: every surprise in its shape becomes a MalformedAnswer that names the place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from router_runtime.provider_errors import MalformedAnswer

_LARGEST = 2**53  # whole numbers up to here survive every JSON reader


def load_json(text: str | bytes, what: str) -> Any:
    """The JSON in ``text``.

    Raises:
        MalformedAnswer: It is no JSON (numbers of too many digits and bottomless nesting included).
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # ValueError: JSONDecodeError, UnicodeDecodeError, too many digits
        pass
    # Raised out here: the caught error holds the whole text, which a traceback would show.
    raise MalformedAnswer(f"{what} is not JSON")


def load_object(text: str | bytes, what: str) -> dict[str, Any]:
    """The JSON object in ``text``; MalformedAnswer where it is anything else."""
    value = load_json(text, what)
    if not isinstance(value, dict):
        raise MalformedAnswer(f"{what} is {type(value).__name__}, expected an object")
    return value


def obj(value: Any, what: str) -> Mapping[str, Any]:
    """An object; absent or null counts as empty."""
    if isinstance(value, dict):
        return value
    if value is None:
        return {}
    raise MalformedAnswer(f"{what} is {type(value).__name__}, expected an object")


def objs(value: Any, what: str) -> list[dict[str, Any]]:
    """A list of objects; absent or null counts as empty."""
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    raise MalformedAnswer(f"{what} is not a list of objects")


def text(value: Any, what: str) -> str | None:
    """Text, or None where it is absent or null."""
    if value is None or isinstance(value, str):
        return value
    raise MalformedAnswer(f"{what} is {type(value).__name__}, expected text")


def word(value: Any) -> str:
    """Text that nothing depends on (an id, a model's name): empty where it is anything else."""
    return value if isinstance(value, str) else ""


def count(value: Any) -> int:
    """A count of tokens or a time: 0 where it is no whole number of 0..2^53."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 0 <= value <= _LARGEST else 0


def rest(value: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The fields beyond those that are ``known``, without nulls: what goes through in ``extra``."""
    return {name: field for name, field in value.items() if name not in known and field is not None}
