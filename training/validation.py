"""Row checks: what is rejected, why, and how many; no learning in silence.

A malformed row is rejected with file, row, field and reason and the rest goes on; above a stated share of bad rows
:class:`TooManyBadRows` ends it. Rows that are left out by a rule (a duplicate, a call that is no chat) are not bad.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from router_runtime.errors import DataError, RowError, TooManyBadRows

Mask = npt.NDArray[np.bool_]

MAX_BAD_SHARE = 0.05
EXAMPLES = 5


@dataclass(frozen=True)
class RowReport:
    """What became of the rows of a source.

    Args:
        seen: Rows read.
        used: Rows that are left.
        rejected: Malformed rows by ``"field: reason"``.
        skipped: Rows left out by a rule, by that rule's name.
        filled: Values put in by a rule, by that rule's name.
        examples: The first rejected rows.
    """

    seen: int = 0
    used: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    filled: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[RowError, ...] = ()

    @property
    def bad(self) -> int:
        """Rejected rows."""
        return sum(self.rejected.values())

    def __add__(self, other: RowReport) -> RowReport:
        """Both together, e.g. of two files."""
        return RowReport(
            seen=self.seen + other.seen,
            used=self.used + other.used,
            rejected=dict(Counter(self.rejected) + Counter(other.rejected)),
            skipped=dict(Counter(self.skipped) + Counter(other.skipped)),
            filled=dict(Counter(self.filled) + Counter(other.filled)),
            examples=(self.examples + other.examples)[:EXAMPLES],
        )

    def counts(self) -> dict[str, int]:
        """Flat counts for a run's record: ``rows_seen``, ``rows_used``, ``rejected.…``, ``skipped.…``, ``filled.…``."""
        flat = {"rows_seen": self.seen, "rows_used": self.used}
        for name in ("rejected", "skipped", "filled"):
            flat |= {f"{name}.{reason}": count for reason, count in getattr(self, name).items()}
        return flat

    def require(self, source: str, max_bad_share: float = MAX_BAD_SHARE) -> RowReport:
        """This report, where it may be learnt from.

        Raises:
            TooManyBadRows: Where more than ``max_bad_share`` (0..1) of the rows seen were rejected.
            DataError: Where no row was seen, or none is left.
        """
        if self.seen == 0:
            raise DataError(f"{source} holds no rows")
        if self.bad > max_bad_share * self.seen:
            first = f"; the first: {self.examples[0]}" if self.examples else ""
            raise TooManyBadRows(
                f"{source}: {self.bad} of {self.seen} rows are malformed, more than {max_bad_share:.1%}{first}"
            )
        if self.used == 0:
            raise DataError(f"{source}: none of its {self.seen} rows is usable ({_listed(self.skipped)})")
        return self


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in counts.items()) or "all were rejected"


class FrameCheck:
    """Collects what is wrong with the rows of one frame; the first reason for a row counts.

    Args:
        frame: The rows.
        file: Name for messages.
    """

    def __init__(self, frame: pd.DataFrame, file: str) -> None:
        self.frame, self.file = frame, file
        self.good: Mask = np.ones(len(frame), dtype=bool)
        self._rejected: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._filled: Counter[str] = Counter()
        self._examples: list[RowError] = []

    def reject(self, bad: Mask, column: str, reason: str) -> None:
        """Rejects the rows of ``bad`` [rows] that were good so far."""
        new = bad & self.good
        if not new.any():
            return
        self._rejected[f"{column}: {reason}"] += int(new.sum())
        for row in np.flatnonzero(new)[: max(EXAMPLES - len(self._examples), 0)]:
            self._examples.append(RowError(reason, file=self.file, row=int(row) + 1, field=column))
        self.good &= ~new

    def skip(self, rows: Mask, rule: str) -> None:
        """Leaves out rows by a rule; they are not bad."""
        new = rows & self.good
        if new.any():
            self._skipped[rule] += int(new.sum())
            self.good &= ~new

    def fill(self, rule: str, count: int) -> None:
        """Counts values put in by a rule."""
        if count:
            self._filled[rule] += count

    def text(self, column: str) -> None:
        """Rejects rows whose ``column`` is no text."""
        values = self.frame[column]
        self.reject(values.isna().to_numpy(), column, "is missing")
        if not isinstance(values.dtype, pd.StringDtype):
            self.reject(~values.map(lambda v: isinstance(v, str)).to_numpy(dtype=bool), column, "is not text")

    def numbers(self, column: str, low: float = 0.0, high: float = np.inf) -> None:
        """Turns ``column`` into float64 (null = unknown) and rejects what is no finite number in low..high."""
        raw = self.frame[column]
        values = pd.to_numeric(raw, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        self.reject(raw.notna().to_numpy() & np.isnan(values), column, "is not a number")
        self.reject(np.isinf(values), column, "is not finite")
        bounds = f"is not in {low:g}..{high:g}" if np.isfinite(high) else f"is below {low:g}"
        with np.errstate(invalid="ignore"):
            self.reject((values < low) | (values > high), column, bounds)
        self.frame[column] = values

    def finish(self) -> tuple[pd.DataFrame, RowReport]:
        """The good rows and the report."""
        report = RowReport(
            seen=len(self.frame),
            used=int(self.good.sum()),
            rejected=dict(self._rejected),
            skipped=dict(self._skipped),
            filled=dict(self._filled),
            examples=tuple(self._examples),
        )
        return self.frame[self.good].reset_index(drop=True), report
