"""Reads hostile JSON: each function gives the value in the type that is meant, or refuses with its place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from router_runtime.errors import GatewayRefusal
from router_runtime.registry_yaml import did_you_mean


def refuse(place: str, expected: str) -> GatewayRefusal:
    """The 400 of a field that is not what is meant."""
    return GatewayRefusal(f"{place} must be {expected}", status=400, code="invalid_request", param=place)


def refuse_others(body: Mapping[str, Any], fields: Collection[str]) -> None:
    """Raises GatewayRefusal for a field beside ``fields``: one that is misspelt must not count as left out."""
    if unknown := set(body) - set(fields):
        name = sorted(unknown)[0][:100]
        raise GatewayRefusal(
            f"no field {name!r}{did_you_mean(name, fields)}", status=400, code="unknown_field", param=name
        )


def text(value: Any, place: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise refuse(place, "a text")
    return value


def obj(value: Any, place: str) -> Mapping[str, Any]:
    """An object."""
    if not isinstance(value, Mapping):
        raise refuse(place, "an object")
    return value


def maybe_obj(value: Any, place: str) -> Mapping[str, Any]:
    """An object; left out or null is an empty one."""
    return {} if value is None else obj(value, place)


def maybe_items(value: Any, place: str) -> list[Mapping[str, Any]]:
    """A list of objects; left out or null is an empty one."""
    return [] if value is None else items(value, place)


def items(value: Any, place: str) -> list[Mapping[str, Any]]:
    """A list of objects."""
    if not isinstance(value, list):
        raise refuse(place, "a list")
    return [obj(item, f"{place}[{index}]") for index, item in enumerate(value)]


def truth(value: Any, place: str) -> bool:
    """True or false; left out or null is false."""
    if value is not None and not isinstance(value, bool):
        raise refuse(place, "true or false")
    return bool(value)
