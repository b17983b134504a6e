"""Fair turns: over any time, two that share the turns differ by at most one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_MOST_CIRCLES = 1024


class Turns:
    """Counts turns for each circle of takers; any number of threads and tasks may ask at once."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._next: dict[tuple[object, ...], int] = {}

    def copy(self) -> Turns:
        """As they stand now, to look whose turn it would be."""
        made = Turns()
        with self._guard:
            made._next = dict(self._next)
        return made

    def take(self, circle: Sequence[T]) -> T:
        """Whose turn it is in ``circle`` (not empty); the next call gives the one after."""
        key = tuple(circle)
        with self._guard:
            if len(self._next) >= _MOST_CIRCLES and key not in self._next:
                self._next.clear()  # circles that vary so much have no turns to keep
            turn = self._next.get(key, 0)
            self._next[key] = (turn + 1) % len(key)
        return circle[turn]
