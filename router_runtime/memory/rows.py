"""What bounds the reading of entries, a row each in order of ``seq``; vectors and words stand in the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from router_runtime.memory.entries import Bounds, Placed
from router_runtime.memory.growing import grown


class RowTable:
    """Scope, author and end of each row. Not thread-safe."""

    def __init__(self) -> None:
        self.size, self.gone = 0, 0
        self._names: dict[str, int] = {}
        self._seq, self._scope, self._agent = (np.zeros(0, dtype=kind) for kind in (np.int64, np.int32, np.int32))
        self._expires, self._alive = np.zeros(0), np.zeros(0, dtype=np.bool_)

    @property
    def last(self) -> int:
        """The last ``seq``; 0 where there is none."""
        return int(self._seq[self.size - 1]) if self.size else 0

    def add(self, entries: Sequence[Placed]) -> None:
        """Appends rows."""
        here = slice(self.size, self.size + len(entries))
        self._seq, self._scope, self._agent, self._expires, self._alive = (
            grown(column, here.stop) for column in (self._seq, self._scope, self._agent, self._expires, self._alive)
        )
        self._seq[here] = [one.seq for one in entries]
        self._scope[here] = [self._code(one.scope) for one in entries]
        self._agent[here] = [self._code(f"\0{one.agent}") for one in entries]
        self._expires[here] = [np.inf if one.expires is None else one.expires for one in entries]
        self._alive[here] = True
        self.size = here.stop

    def drop(self, seqs: Sequence[int]) -> npt.NDArray[np.intp]:
        """Nobody reads these any more; gives their rows."""
        rows = (np.isin(self._seq[: self.size], seqs) & self._alive[: self.size]).nonzero()[0]
        self._alive[rows] = False
        self.gone += len(rows)
        return rows

    def allowed(self, within: Bounds) -> npt.NDArray[np.bool_]:
        """Which rows may be read, bool [rows]."""
        n = self.size
        allowed: npt.NDArray[np.bool_] = self._named(within.scopes)[self._scope[:n]]
        allowed &= self._alive[:n] & (self._expires[:n] > within.now)
        if within.agents is not None:
            allowed &= self._named(f"\0{agent}" for agent in within.agents)[self._agent[:n]]
        return allowed

    def seqs(self, rows: npt.NDArray[np.intp]) -> list[int]:
        """Their ``seq``."""
        return [int(seq) for seq in self._seq[rows]]

    def _named(self, names: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Which codes are among ``names``, bool by code: looking 100,000 up takes a tenth of ``np.isin``'s time."""
        chosen = np.zeros(len(self._names) + 1, dtype=np.bool_)
        chosen[[self._names[name] for name in names if name in self._names]] = True
        return chosen

    def _code(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))
