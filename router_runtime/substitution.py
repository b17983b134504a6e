"""Substitution in a long text by short steps, so that no other thread waits while a pattern passes over all of it.

A pattern holds the interpreter's lock until its next hit: over 19 MB that is most of a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Replacement = str | Callable[[re.Match[str]], str]

REACH = 1024
"""Characters of the longest shortest hit that a pattern may have, with what it looks at behind it."""
_STEP = 16 << 10


def substitute(pattern: re.Pattern[str], replacement: Replacement, text: str, step: int = _STEP) -> str:
    """``pattern.sub(replacement, text)``.

    Args:
        pattern: Matches no empty text, and sees within :data:`REACH` characters that a hit begins.
        replacement: As ``re`` takes it.
        text: Of any length.
        step: Characters that are looked at without a pause; more than ``REACH``.
    """
    parts: list[str] = []
    copied = place = 0
    while place < len(text):
        end = place + step
        found = pattern.search(text, place, end)
        if end < len(text) and (found is None or found.start() > end - REACH):
            place = end - REACH  # what begins behind it may need more than was looked at
        elif found is None:
            break
        elif whole := pattern.match(text, found.start()):  # what was looked at may end before the hit does
            put = whole.expand(replacement) if isinstance(replacement, str) else replacement(whole)
            parts += (text[copied : whole.start()], put)
            copied = place = whole.end()
        else:
            place = found.start() + 1
    return "".join((*parts, text[copied:]))
