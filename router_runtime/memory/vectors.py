"""Ranking by vectors: all of them in one matrix; of many, those are compared whose signs agree best with the query's.

Reading 100,000 vectors of 192 numbers (77 MB) takes about 8 ms, their signs (2.4 MB) 1 ms; the angle between two
vectors shows in the signs that differ (Charikar 2002). A graph index would save little more, and would have to forget.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from router_runtime.memory.encoders import unpacked
from router_runtime.memory.entries import Placed, Vector

_GROWTH = 1.5
_ROOM = 1024
_FEW = 20_000
"""So many vectors, and fewer, are compared one and all."""
_SHORTLIST = 5_000
"""Of more, so many: a hundred times what is asked for."""
_NEVER = np.uint16(np.iinfo(np.uint16).max)


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
        self._signs = np.zeros((rows, -(-self.dims // 64)), dtype=np.uint64)
        for name in ("_matrix", "_seq", "_scope", "_agent", "_expires", "_ranked", "_signs"):
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
            vectors = unpacked(good, self.dims)
            self._matrix[here][ranked] = vectors
            self._signs[here][ranked] = self._signs_of(vectors)
        self.size = end

    def drop(self, seqs: Sequence[int]) -> None:
        """Ranks these no more, and overwrites their vectors."""
        rows = np.isin(self._seq[: self.size], seqs).nonzero()[0]
        self._ranked[rows] = False
        self._matrix[rows], self._signs[rows] = 0.0, 0

    def nearest(
        self, query: Vector, scopes: Collection[str], agents: Collection[str] | None, now: float, k: int
    ) -> list[int]:
        """``seq`` of the k most alike that may be read, best first; of two alike the newer first."""
        allowed = self._allowed(scopes, agents, now)
        places = self._shortlist(query, allowed) if np.count_nonzero(allowed) > _FEW else allowed.nonzero()[0]
        far = -(self._matrix[places] @ query)
        best = np.argpartition(far, k - 1)[:k] if k < len(far) else np.arange(len(far))
        seqs = self._seq[places[best]]
        order = np.lexsort((-seqs, far[best]))
        return [int(seqs[i]) for i in order if far[best[i]] < 0]

    def _shortlist(self, query: Vector, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Places of those whose signs differ least from the query's."""
        asked = self._signs_of(query[None])[0]
        differ = np.zeros(self.size, dtype=np.uint16)
        for column, bits in enumerate(asked):
            differ += np.bitwise_count(self._signs[: self.size, column] ^ bits)
        differ[~allowed] = _NEVER
        return np.argpartition(differ, _SHORTLIST)[:_SHORTLIST]

    def _signs_of(self, vectors: Vector) -> npt.NDArray[np.uint64]:
        """One bit for each number, uint64 [n, dims / 64]."""
        bits = np.packbits(vectors > 0, axis=1)
        wide = np.zeros((len(vectors), self._signs.shape[1] * 8), dtype=np.uint8)
        wide[:, : bits.shape[1]] = bits
        return wide.view(np.uint64)

    def _allowed(self, scopes: Collection[str], agents: Collection[str] | None, now: float) -> npt.NDArray[np.bool_]:
        n = self.size
        allowed = self._named(scopes)[self._scope[:n]] & self._ranked[:n] & (self._expires[:n] > now)
        if agents is not None:
            allowed &= self._named(f"\0{agent}" for agent in agents)[self._agent[:n]]
        return allowed

    def _named(self, names: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Which codes are among ``names``, bool by code: looking 100,000 up takes a tenth of ``np.isin``'s time."""
        chosen = np.zeros(len(self._names) + 1, dtype=np.bool_)
        chosen[[self._names[name] for name in names if name in self._names]] = True
        return chosen

    def _code(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))
