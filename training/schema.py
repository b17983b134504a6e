"""JSON Schemas of events and tables from the types of the code; ``python -m training.schema`` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pyarrow as pa

from router_runtime.records import SCHEMA_VERSION, Attempt, Decision, Feedback, LateText
from training.dataset import OPTIONAL, PARTS
from training.event_log import EVENT_SCHEMA

SCHEMA_FOLDER = Path(__file__).resolve().parents[1] / "data" / "schema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    Any: {},
}
_TEXT_COLUMNS = ("prompt_id", "text", "task", "domain", "group", "model")
_ARROW: Mapping[pa.DataType, str] = {pa.string(): "string", pa.float64(): "number"}


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by file name."""
    events = {f"{kind.__name__.lower()}.json": _event(kind) for kind in (Decision, Attempt, Feedback)}
    return {**events, "event_row.json": _event_row(), "table.json": _table()}


def write_schemas(folder: Path = SCHEMA_FOLDER) -> list[Path]:
    """Writes every schema."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in schemas().items():
        path = folder / name
        path.write_text(encoded(schema), encoding="utf-8")
        written.append(path)
    return written


def encoded(schema: Mapping[str, Any]) -> str:
    """As it stands in its file."""
    return json.dumps(schema, indent=2) + "\n"


def _event(kind: type[Any]) -> dict[str, Any]:
    body = _object(kind)
    name = kind.__name__.lower()
    own = {"kind": {"const": name}, "schema_version": {"const": SCHEMA_VERSION}}
    return {
        "$schema": DIALECT,
        "title": f"{name} event, the body of an event row",
        **body,
        "properties": {**own, **body["properties"]},
        "required": [*own, *body["required"]],
    }


def _object(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    return {
        "type": "object",
        "description": (kind.__doc__ or "").splitlines()[0],
        "properties": {f.name: _type(hints[f.name]) for f in fields(kind)},
        "required": needed,
        "additionalProperties": False,
    }


def _type(hint: Any) -> dict[str, Any]:
    """The schema of a type that the records use; a late text stands beside ``str``, which it is written as.

    Raises:
        TypeError: For a type that nobody has taught it.
    """
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return {"anyOf": [_type(arg) for arg in args if arg is not LateText]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (tuple, Sequence):
        return {"type": "array", "items": _type(args[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(args[1])}
    if is_dataclass(hint) and isinstance(hint, type):
        return _object(hint)
    raise TypeError(f"no schema is known for {hint}")


def _event_row() -> dict[str, Any]:
    return {
        "$schema": DIALECT,
        "title": "a row of day=YYYY-MM-DD/<uuid>.parquet",
        "type": "object",
        "properties": {field.name: {"type": _ARROW[field.type]} for field in EVENT_SCHEMA},
        "required": list(EVENT_SCHEMA.names),
        "additionalProperties": False,
    }


def _table() -> dict[str, Any]:
    parts = {
        part: {
            "type": "object",
            "properties": {column: _column(column) for column in columns},
            "required": [column for column in columns if column not in OPTIONAL],
        }
        for part, columns in PARTS.items()
    }
    return {"$schema": DIALECT, "title": "rows of prompts, outcomes and models (.parquet)", "$defs": parts}


def _column(name: str) -> dict[str, Any]:
    if name in _TEXT_COLUMNS:
        return {"type": "string"}
    if name == "core_pool":
        return {"type": "boolean"}
    return {"type": ["number", "null"], "minimum": 0, **({"maximum": 1} if name == "quality" else {})}


if __name__ == "__main__":
    write_schemas()
