"""Progress on stderr for people; nothing at all where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import track
from rich.text import Text

T = TypeVar("T")


class Progress:
    """Says what is being done, and shows a bar for long loops.

    Args:
        stream: Where to; stdout stays for results.
        enabled: False says nothing.
    """

    def __init__(self, stream: TextIO | None = None, *, enabled: bool = True) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False, quiet=not enabled)
        self._start = time.monotonic()

    def say(self, message: str) -> None:
        """One line, with the seconds since the start; whole, however narrow the terminal, and in a file."""
        since = (f"{time.monotonic() - self._start:6.1f} s", "dim")
        self._console.print(Text.assemble(since, "  ", message), soft_wrap=True)

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """The items, with a bar where the stream is a terminal."""
        if not self._console.is_terminal:
            self.say(what)
        shown: Iterable[T] = track(items, what, console=self._console, transient=True) if self._bars else items
        yield from shown

    @property
    def _bars(self) -> bool:
        return self._console.is_terminal and not self._console.quiet


QUIET = Progress(enabled=False)
