"""Ranking by vectors: all of them in one matrix, compared exactly.

100,000 vectors of 192 numbers are 77 MB and take a few milliseconds; an approximate index would save less than it
costs in recall, dependencies and deletion. What outgrows one machine's memory belongs into several stores.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from router_runtime.memory.encoders import unpacked
from router_runtime.memory.entries import Placed, Vector

_GROWTH = 1.5
_ROOM = 1024


class VectorTable:
    """Vectors with what bounds their reading, in order of ``seq``. Not thread-safe.

    Args:
        encoder: Fingerprint; entries of others are known, but not ranked.
        dims: Of a vector.
    """

    def __init__(self, encoder: str, dims: int) -> None:
        self.encoder, self.dims = encoder, dims
        self.size = 0
        self._names: dict[str, int] = {}
        self._room(_ROOM)

    @property
    def last(self) -> int:
        """The last ``seq``; 0 where there is none."""
        return int(self._seq[self.size - 1]) if self.size else 0

    def _room(self, rows: int) -> None:
        """Makes room for ``rows``, keeping what there is."""
        old, n = vars(self).copy(), self.size
        self._matrix: Vector = np.zeros((rows, self.dims), dtype=np.float32)
        self._seq = np.zeros(rows, dtype=np.int64)
        self._scope, self._agent = np.zeros(rows, dtype=np.int32), np.zeros(rows, dtype=np.int32)
        self._expires = np.full(rows, np.inf)
        self._ranked = np.zeros(rows, dtype=np.bool_)
        for name in ("_matrix", "_seq", "_scope", "_agent", "_expires", "_ranked"):
            if n:
                getattr(self, name)[:n] = old[name][:n]

    def add(self, entries: Iterable[Placed]) -> None:
        """Appends ``entries``."""
        rows = list(entries)
        if self.size + len(rows) > len(self._seq):
            self._room(max(self.size + len(rows), int(len(self._seq) * _GROWTH)))
        end = self.size + len(rows)
        here = slice(self.size, end)
        self._seq[here] = [one.seq for one in rows]
        self._scope[here] = [self._code(one.scope) for one in rows]
        self._agent[here] = [self._code(f"\0{one.agent}") for one in rows]
        self._expires[here] = [np.inf if one.expires is None else one.expires for one in rows]
        ranked = np.array([one.encoder == self.encoder for one in rows], dtype=np.bool_)
        self._ranked[here] = ranked
        good = [one.vector for one in rows if one.encoder == self.encoder]
        if good:
            self._matrix[self.size : end][ranked] = unpacked(good, self.dims)
        self.size = end

    def drop(self, seqs: Sequence[int]) -> None:
        """Ranks these no more, and overwrites their vectors."""
        rows = np.isin(self._seq[: self.size], seqs).nonzero()[0]
        self._ranked[rows] = False
        self._matrix[rows] = 0.0

    def nearest(
        self, query: Vector, scopes: Collection[str], agents: Collection[str] | None, now: float, k: int
    ) -> list[int]:
        """``seq`` of the k most alike that may be read, best first; of two alike the newer first."""
        allowed = self._allowed(scopes, agents, now)
        places = allowed.nonzero()[0]
        if not len(places):
            return []
        if len(places) < self.size // 4:
            alike = self._matrix[places] @ query
        else:
            alike = (self._matrix[: self.size] @ query)[places]
        k = min(k, len(places))
        best = np.argpartition(-alike, k - 1)[:k] if k < len(places) else np.arange(len(places))
        order = best[np.lexsort((-places[best], -alike[best]))]
        return [int(self._seq[places[i]]) for i in order if alike[i] > 0]

    def _allowed(self, scopes: Collection[str], agents: Collection[str] | None, now: float) -> npt.NDArray[np.bool_]:
        n = self.size
        codes = [self._names[scope] for scope in scopes if scope in self._names]
        allowed = np.isin(self._scope[:n], codes) & self._ranked[:n] & (self._expires[:n] > now)
        if agents is not None:
            authors = [self._names[f"\0{agent}"] for agent in agents if f"\0{agent}" in self._names]
            allowed &= np.isin(self._agent[:n], authors)
        return allowed

    def _code(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))
