"""What the memory holds and what a store of it can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from router_runtime.encoder import Vector


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was written.

    Args:
        id: UUIDv7.
        agent: Who wrote it.
        scope: Who may read it: ``agent:<name>`` for its author alone, else the name of a shared scope.
        text: What was written.
        tags: Words to find it by, beside its own.
        time: UTC seconds since the epoch.
        expires: When it is forgotten, in UTC seconds since the epoch; None = never.
    """

    id: str
    agent: str
    scope: str
    text: str
    tags: tuple[str, ...] = ()
    time: float = 0.0
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A hit, best first.

    Args:
        entry: What was found.
        score: Of the fusion; higher is better, comparable within one search only.
        by_words, by_meaning: Place in the ranking by keywords and by vectors, from 1; None = not among its first.
    """

    entry: Entry
    score: float
    by_words: int | None
    by_meaning: int | None


class Placed(NamedTuple):
    """What ranking needs of an entry.

    Args:
        seq: Grows with each write and is never used again.
        agent, scope, expires: See :class:`Entry`.
        encoder: Fingerprint of what made ``vector``.
        vector: As :func:`~router_runtime.memory.encoders.packed` gives it.
        words: As :func:`~router_runtime.memory.keywords.counted` gives them.
    """

    seq: int
    agent: str
    scope: str
    expires: float | None
    encoder: str
    vector: bytes
    words: bytes


class State(NamedTuple):
    """Last ``seq``, number of the last deletion, and how often entries were encoded again."""

    last: int
    gone: int
    encoded: int


class Bounds(NamedTuple):
    """What a search may read.

    Args:
        scopes: Of these scopes.
        agents: Written by these; None = by anyone.
        now: UTC seconds since the epoch; what has expired by then is left out.
    """

    scopes: Sequence[str]
    agents: Sequence[str] | None
    now: float


class Ranked(NamedTuple):
    """``seq`` of the best, best first: by words those that hold any, by meaning those that have anything in common."""

    by_words: list[int]
    by_meaning: list[int]


class Ranking(Protocol):
    """Ranks entries by their words, and those of one encoder by their vectors. Any number of threads may use one."""

    def first(self, query: str, vector: Vector, within: Bounds, k: int) -> Ranked:
        """The k best of each ranking of those that may be read.

        Args:
            query: What was asked.
            vector: The same, encoded: float32 [dims].
            within: What may be read.
            k: At least 1.

        Raises:
            StoreError: The store cannot be read.
        """
        ...


class MemoryStore(Protocol):
    """A durable home of entries. All methods may be called from several threads, and raise StoreError."""

    def append(self, entries: Sequence[tuple[Entry, str, bytes]]) -> list[int]:
        """Stores (entry, encoder's fingerprint, vector) in one unit; they are durable when it returns their ``seq``."""
        ...

    def ranking(self, encoder: str, dims: int) -> Ranking | None:
        """The store's own ranking, with an encoder's vectors (its fingerprint, their length); None = it has none."""
        ...

    def placed(self, after: int) -> Iterator[Placed]:
        """Entries with ``seq`` > ``after``, in order."""
        ...

    def fetch(self, seqs: Sequence[int]) -> dict[int, Entry]:
        """Entries by ``seq``; those that are gone are left out."""
        ...

    def forget(self, *, ids: Sequence[str] | None = None, agent: str | None = None, scope: str | None = None) -> int:
        """Deletes what matches all that is given, so that no byte of it is left; gives the number."""
        ...

    def expire(self, now: float) -> int:
        """Deletes what has expired, in the same way."""
        ...

    def keep_newest(self, scope: str, n: int) -> int:
        """Deletes all but the newest ``n`` of a scope, in the same way."""
        ...

    def other_encodings(self, encoder: str, after: int, n: int) -> list[tuple[int, str]]:
        """Up to ``n`` (seq, text with tags) with ``seq`` > ``after`` whose vector is of another encoder, in order."""
        ...

    def encode_again(self, rows: Sequence[tuple[int, str, bytes]]) -> None:
        """Puts (seq, encoder, vector) in the place of older vectors, in one unit."""
        ...

    def gone(self, after: int) -> list[int]:
        """``seq`` of the deletions after the ``after``th."""
        ...

    def state(self) -> State:
        """What a cache compares."""
        ...

    def close(self) -> None:
        """Lets go of files and connections; may be called twice."""
        ...
