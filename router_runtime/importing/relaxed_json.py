"""JSON5, as people write configurations in it, as text that a YAML reader takes: comments go, bare keys are quoted."""

from __future__ import annotations

import re

_TOKENS = re.compile(
    r"""
    (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    |(?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<key>[A-Za-z_$][\w$]*)(?=\s*:)
    |(?P<colon>:)
    |(?P<tabs>\t+)
    """,
    re.VERBOSE | re.DOTALL,
)


def plain(text: str) -> str:
    """``text`` without comments, its keys and single-quoted texts in double quotes; lines stay where they are."""
    return _TOKENS.sub(_one, text)


def _one(found: re.Match[str]) -> str:
    kind, token = found.lastgroup, found.group()
    if kind == "comment":
        return "\n" * token.count("\n") or " "
    if kind == "key":
        return f'"{token}"'
    if kind == "colon":
        return ": "
    if kind == "tabs":
        return " "
    if token.startswith("'"):
        inner = token[1:-1].replace("\\'", "'").replace('"', '\\"')
        return f'"{inner}"'
    return token
