"""Ranking in this process, of a store that has no ranking of its own."""

from __future__ import annotations

import threading
from itertools import islice

from router_runtime.encoder import Vector
from router_runtime.memory.entries import Bounds, MemoryStore, Ranked, State
from router_runtime.memory.postings import WordTable
from router_runtime.memory.rows import RowTable
from router_runtime.memory.vectors import VectorTable

_BATCH = 5000
_GONE_SHARE = 0.25
"""Read anew when more than this share of what was read is gone, so that what is forgotten takes no room for long."""


class LocalRanking:
    """Ranks in this process, in step with what this or other processes write or delete.

    Args:
        store: Where entries live.
        encoder: Its fingerprint; entries of others are ranked by their words alone.
        dims: Of a vector.
    """

    def __init__(self, store: MemoryStore, encoder: str, dims: int) -> None:
        self._store, self._encoder, self._dims = store, encoder, dims
        self._guard = threading.Lock()
        self._forget(0)

    @property
    def rows(self) -> int:
        """How many entries it holds, those that are gone included."""
        return self._rows.size

    def first(self, query: str, vector: Vector, within: Bounds, k: int) -> Ranked:
        """See :class:`~router_runtime.memory.entries.Ranking`."""
        with self._guard:
            self._refresh()
            allowed = self._rows.allowed(within)
            words, meaning = self._words.best(query, allowed, k), self._vectors.nearest(vector, allowed, k)
            return Ranked(self._rows.seqs(words), self._rows.seqs(meaning))

    def _forget(self, encoded: int) -> None:
        """Starts from nothing."""
        self._rows, self._words = RowTable(), WordTable()
        self._vectors = VectorTable(self._encoder, self._dims)
        self._seen = State(0, 0, encoded)

    def _refresh(self) -> None:
        now = self._store.state()
        if now.encoded != self._seen.encoded or self._rows.gone > _GONE_SHARE * self._rows.size:
            self._forget(now.encoded)
        if now.last > self._seen.last:
            self._read(self._seen.last)
        if now.gone > self._seen.gone:
            self._vectors.drop(self._rows.drop(self._store.gone(self._seen.gone)))
        self._seen = now._replace(last=max(now.last, self._rows.last))

    def _read(self, after: int) -> None:
        entries = self._store.placed(after)
        while batch := list(islice(entries, _BATCH)):
            self._rows.add(batch)
            self._words.add([one.words for one in batch])
            self._vectors.add(batch)
