"""Ranking by vectors in this process, of a store that has no ranking of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from router_runtime.memory.entries import MemoryStore, State, Vector
from router_runtime.memory.vectors import VectorTable


class LocalRanking:
    """Ranks in this process, in step with what this or other processes write or delete.

    Args:
        store: Where entries live.
        encoder: Its fingerprint; entries of others are not ranked.
        dims: Of a vector.
    """

    def __init__(self, store: MemoryStore, encoder: str, dims: int) -> None:
        self._store, self._encoder, self._dims = store, encoder, dims
        self._guard = threading.Lock()
        self._table, self._seen = self._empty(), State(0, 0, 0)

    @property
    def size(self) -> int:
        """See :class:`~router_runtime.memory.entries.Ranking`."""
        return self._table.size

    def nearest(
        self, query: Vector, scopes: Sequence[str], agents: Sequence[str] | None, now: float, k: int
    ) -> list[int]:
        """See :class:`~router_runtime.memory.entries.Ranking`."""
        with self._guard:
            self._refresh()
            return self._table.nearest(query, scopes, agents, now, k)

    def _refresh(self) -> None:
        now = self._store.state()
        if now.encoded != self._seen.encoded:
            self._table, self._seen = self._empty(), State(0, 0, now.encoded)
        if now.last > self._seen.last:
            self._table.add(self._store.placed(self._seen.last))
        if now.gone > self._seen.gone:
            self._table.drop(self._store.gone(self._seen.gone))
        self._seen = now._replace(last=max(now.last, self._table.last))

    def _empty(self) -> VectorTable:
        return VectorTable(self._encoder, self._dims)
