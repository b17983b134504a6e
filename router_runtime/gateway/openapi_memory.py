"""The schemas of matching a task to an agent, and of the memory that agents share."""

from __future__ import annotations

from typing import Any

JSON = dict[str, Any]

_TEXT: JSON = {"type": "string"}
_NAME: JSON = {"type": "string", "minLength": 1, "maxLength": 256}
_SHARE: JSON = {"type": "number", "minimum": 0, "maximum": 1}
_NULL: JSON = {"type": "null"}


def _exact(required: str = "", /, **properties: JSON) -> JSON:
    """An object without other fields."""
    optional = {name: {"anyOf": [schema, _NULL]} for name, schema in properties.items() if name not in required.split()}
    return {
        "type": "object",
        "required": required.split(),
        "properties": {**properties, **optional},
        "additionalProperties": False,
    }


def _names(most: int) -> JSON:
    return {"type": "array", "items": _NAME, "maxItems": most}


def _answer(kind: str, /, **properties: JSON) -> JSON:
    fields = {"object": {"const": kind}, **properties}
    return {"type": "object", "required": list(fields), "properties": fields}


_ENTRY: JSON = {
    "type": "object",
    "required": ["id", "agent", "scope", "text", "tags", "time", "score"],
    "properties": {
        **dict.fromkeys(("id", "agent", "scope", "text"), _TEXT),
        "tags": {"type": "array", "items": _TEXT},
        "time": {"type": "number"},
        "expires": {"type": ["number", "null"]},
        "score": {"type": "number"},
    },
}

MEMORY_SCHEMAS: dict[str, JSON] = {
    "MatchRequest": _exact(
        "messages",
        messages={"anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}, "minItems": 1}]},
        tier=_NAME,
        intent=_NAME,
    ),
    "Match": {
        "type": "object",
        "required": ["name", "propensity", "dist", "scores", "refused", "domain"],
        "properties": {
            "name": _TEXT,
            "propensity": _SHARE,
            "dist": {"type": "object", "additionalProperties": _SHARE},
            "scores": {"type": "object", "additionalProperties": {"type": "number"}},
            "refused": {"type": "object", "additionalProperties": _TEXT},
            "domain": _TEXT,
        },
    },
    "MemoryWrite": _exact(
        "agent text",
        agent=_NAME,
        text={"type": "string", "minLength": 1, "maxLength": 100_000},
        tags=_names(64),
        scope={**_NAME, "description": "who may read it; left out = the agent's usual scope"},
        ttl_s={"type": "number", "exclusiveMinimum": 0, "maximum": 316_224_000},
    ),
    "MemorySearch": _exact(
        "agent query",
        agent={**_NAME, "description": "on whose behalf: its scopes bound what is found"},
        query=_TEXT,
        agents={**_names(64), "description": "only what these wrote"},
        k={"type": "integer", "minimum": 1, "maximum": 50},
    ),
    "MemoryForget": _exact(
        "agent",
        agent={**_NAME, "description": "whose entries"},
        ids=_names(1000),
        scope=_NAME,
        everything={"type": "boolean", "description": "all that the agent wrote; alone, without ids or scope"},
    ),
    "Remembered": _answer("memory", id=_TEXT),
    "MemoryList": _answer("list", data={"type": "array", "items": _ENTRY}),
    "Forgotten": _answer("memory.forgotten", forgotten={"type": "integer", "minimum": 0}),
}
