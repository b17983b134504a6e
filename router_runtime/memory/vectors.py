"""Ranking by vectors: all of them in one matrix; of many, those are compared whose signs agree best with the query's.

Reading 100,000 vectors of 192 numbers (77 MB) takes about 8 ms, their signs (2.4 MB) 1 ms; the angle between two
vectors shows in the signs that differ (Charikar 2002). A graph index would save little more, and would have to forget.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from router_runtime.encoder import Vector
from router_runtime.memory.encoders import unpacked
from router_runtime.memory.entries import Placed
from router_runtime.memory.growing import grown

_FEW = 20_000
"""So many vectors, and fewer, are compared one and all."""
_SHORTLIST = 5_000
"""Of more, so many: a hundred times what is asked for."""
_NEVER = np.uint16(np.iinfo(np.uint16).max)


class VectorTable:
    """Rows by their vectors. Not thread-safe.

    Args:
        encoder: Fingerprint; rows of others stand there, but are not ranked.
        dims: Of a vector.
    """

    def __init__(self, encoder: str, dims: int) -> None:
        self._encoder, self._dims, self._rows = encoder, dims, 0
        self._matrix: Vector = np.zeros((0, dims), dtype=np.float32)
        self._signs = np.zeros((0, -(-dims // 64)), dtype=np.uint64)
        self._ranked = np.zeros(0, dtype=np.bool_)

    def add(self, entries: Sequence[Placed]) -> None:
        """Appends rows."""
        here = slice(self._rows, self._rows + len(entries))
        self._matrix, self._signs, self._ranked = (
            grown(column, here.stop) for column in (self._matrix, self._signs, self._ranked)
        )
        ranked = np.array([one.encoder == self._encoder for one in entries], dtype=np.bool_)
        self._ranked[here] = ranked
        if ranked.any():
            vectors = unpacked([one.vector for one in entries if one.encoder == self._encoder], self._dims)
            self._matrix[here][ranked] = vectors
            self._signs[here][ranked] = self._signs_of(vectors)
        self._rows = here.stop

    def drop(self, rows: npt.NDArray[np.intp]) -> None:
        """Overwrites their vectors."""
        self._ranked[rows] = False
        self._matrix[rows], self._signs[rows] = 0.0, 0

    def nearest(self, query: Vector, allowed: npt.NDArray[np.bool_], k: int) -> npt.NDArray[np.intp]:
        """The k rows most alike of those allowed, best first; of two alike the newer first.

        Args:
            query: float32 [dims].
            allowed: bool [rows].
            k: At least 1.
        """
        allowed = allowed & self._ranked[: self._rows]
        places = self._shortlist(query, allowed) if np.count_nonzero(allowed) > _FEW else allowed.nonzero()[0]
        far = -(self._matrix[places] @ query)
        best = np.argpartition(far, k - 1)[:k] if k < len(far) else np.arange(len(far))
        order = best[np.lexsort((-places[best], far[best]))]
        return places[order[far[order] < 0]]

    def _shortlist(self, query: Vector, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """Places of those whose signs differ least from the query's."""
        asked = self._signs_of(query[None])[0]
        differ = np.zeros(self._rows, dtype=np.uint16)
        for column, bits in enumerate(asked):
            differ += np.bitwise_count(self._signs[: self._rows, column] ^ bits)
        differ[~allowed] = _NEVER
        return np.argpartition(differ, _SHORTLIST)[:_SHORTLIST]

    def _signs_of(self, vectors: Vector) -> npt.NDArray[np.uint64]:
        """One bit for each number, uint64 [n, dims / 64]."""
        bits = np.packbits(vectors > 0, axis=1)
        wide = np.zeros((len(vectors), self._signs.shape[1] * 8), dtype=np.uint8)
        wide[:, : bits.shape[1]] = bits
        return wide.view(np.uint64)
