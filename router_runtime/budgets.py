"""Spending limits per tier, user and key: reserved before the call, settled after it, exact, and kept over a restart.

A reservation counts as spent from the moment it is made, so that two concurrent calls cannot overspend; settling
replaces it by what the call really took. A process that dies between the two leaves its reservation counted: a budget
may then show more than was spent, never less. State is one SQLite file (WAL, synchronous=FULL) in which every change
is one immediate transaction, so that several processes of one machine may share it.

Money is ``Decimal`` outside and whole pico-dollars (1e-12 USD) inside: a price of $0.0375 per million tokens is
37,500 of them for each token, so that sums are exact integers.
"""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Protocol

from router_runtime.errors import BudgetExceeded, ConfigError, StoreError
from router_runtime.forking import Process
from router_runtime.registry import MAX_BUDGET_USD, WINDOWS, BudgetEntry, TierEntry, Window
from router_runtime.sqlite import Connected, immediate, write_ahead

_PICO = Decimal(10) ** 12
_MAX_USD = Decimal(MAX_BUDGET_USD)
_MAX_TOKENS = 10**15
_SCARCE = 0.2
_CALLS_WHEN_SCARCE = 20
_TIDY_S = 3600.0
_KEPT_S: dict[Window, float] = {"minute": 3600.0, "day": 40 * 86_400.0, "month": 400 * 86_400.0}
"""How long after its end a window's count is kept: a clock that is ahead for a while must not free a budget."""
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS spend (account TEXT NOT NULL, start INTEGER NOT NULL, pico_usd INTEGER NOT NULL,"
    " tokens INTEGER NOT NULL, PRIMARY KEY (account, start)) WITHOUT ROWID"
)


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of one account.

    Args:
        account: Whose it is, e.g. ``"tier:free"``, ``"user:<hash>"``, ``"key:<name>"``. Never a key itself.
        window: Calendar window in UTC.
        usd: Most that may be spent in a window; None for no limit on money.
        tokens: Most input + output tokens in a window; None for no limit on tokens.

    Raises:
        ConfigError: Where neither is given, or one is negative or too large to be counted.
    """

    account: str
    window: Window
    usd: Decimal | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        if self.usd is None and self.tokens is None:
            raise ConfigError(f"budget of {self.account}: give usd or tokens")
        if self.window not in WINDOWS:
            raise ConfigError(f"budget of {self.account}: window {self.window!r} is not one of {', '.join(WINDOWS)}")
        if self.usd is not None and not 0 <= self.usd <= _MAX_USD:
            raise ConfigError(f"budget of {self.account}: usd must lie in 0..{_MAX_USD}")
        if self.tokens is not None and self.tokens < 0:
            raise ConfigError(f"budget of {self.account}: tokens must not be negative")

    @property
    def key(self) -> str:
        """Name of the row that counts it; limits of one account and window share the count."""
        return f"{self.account}/{self.window}"


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was set aside for one call; hand it to ``settle`` once.

    Args:
        rows: (key, start of the window) of each count that it was added to.
        pico_usd: Money set aside.
        tokens: Tokens set aside.
    """

    rows: tuple[tuple[str, int], ...]
    pico_usd: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Headroom:
    """What the tightest limits leave.

    Args:
        usd: Dollars left; None without a limit on money.
        tokens: Tokens left; None without a limit on tokens.
        fraction: Share left of the tightest limit, 0..1; 1 without limits.
        resets_at: UTC seconds at which the tightest limit's window ends; None without limits.
    """

    usd: Decimal | None = None
    tokens: int | None = None
    fraction: float = 1.0
    resets_at: float | None = None


def call_allowance(left: Headroom) -> Decimal | None:
    """The most that one call should cost now, so that a nearly spent budget moves choices to cheaper models.

    All of what is left while more than a fifth of the budget is; then a twentieth of it, so that twenty cheap calls
    still fit where one dear one would have ended the budget.
    """
    if left.usd is None or left.fraction > _SCARCE:
        return left.usd
    return left.usd / _CALLS_WHEN_SCARCE


def limits_for(tier: TierEntry | None, user_hash: str | None = None) -> list[Limit]:
    """The limits that a call of ``user_hash`` in ``tier`` must fit in; none without a tier."""
    if tier is None:
        return []
    limits = [_limit(f"tier:{tier.name}", entry) for entry in tier.budgets]
    if user_hash is not None:
        limits += [_limit(f"user:{user_hash}", entry) for entry in tier.user_budgets]
    return limits


def _limit(account: str, entry: BudgetEntry) -> Limit:
    usd = None if entry.usd is None else Decimal(repr(float(entry.usd)))
    return Limit(account, entry.window, usd, entry.tokens)


def to_pico(usd: Decimal | float) -> int:
    """Whole pico-dollars, rounded up; floats are read as the shortest decimal that gives them.

    No more than any budget: counts are 64-bit integers, and one amount that does not fit would stop all counting.
    """
    exact = min(usd if isinstance(usd, Decimal) else Decimal(repr(float(usd))), _MAX_USD)
    return int((exact * _PICO).to_integral_value(rounding=ROUND_CEILING))


def window_bounds(window: Window, now: float) -> tuple[int, int]:
    """(start, end) in UTC seconds of the calendar window that holds ``now``."""
    if window == "minute":
        start = int(now) // 60 * 60
        return start, start + 60
    day = dt.datetime.fromtimestamp(now, dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if window == "day":
        return int(day.timestamp()), int(day.timestamp()) + 86_400
    first = day.replace(day=1)
    following = (first + dt.timedelta(days=32)).replace(day=1)
    return int(first.timestamp()), int(following.timestamp())


class BudgetCounts(Protocol):
    """The counts behind the limits, wherever they are kept: in a file (:class:`Budgets`) or shared by replicas."""

    def reserve(self, limits: Sequence[Limit], usd: Decimal | float, tokens: int = 0) -> Reservation:
        """Sets ``usd`` and ``tokens`` aside on every limit, or on none; may wait, so call it off the event loop.

        Raises:
            BudgetExceeded: Where a limit has too little left; names the limit and when it resets.
            StoreError: Where it cannot be counted.
        """

    def settle(self, reservation: Reservation, usd: Decimal | float, tokens: int = 0) -> None:
        """Replaces what was set aside by what was spent, in the windows of the reservation; may wait, never raises.

        The call is over and paid for: what cannot be counted now is counted as soon as the counts can be reached.
        """

    def spent(self, account: str, window: Window) -> tuple[Decimal, int]:
        """(USD, tokens) counted in the current window, open reservations included."""

    def headroom(self, limits: Iterable[Limit]) -> Headroom:
        """What is left under ``limits``, without waiting."""

    def close(self) -> None:
        """May be called twice."""


class Budgets:
    """The counts behind the limits. Safe to use from several threads and processes.

    Args:
        path: The SQLite file; ``":memory:"`` for counts that end with the process.
        clock: UTC seconds since the epoch.

    Raises:
        StoreError: Where the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str] = ":memory:", clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = os.fspath(path), clock
        self._owed: list[tuple[tuple[tuple[str, int], ...], int, int]] = []
        self._tidied, self._process = 0.0, Process()
        in_memory = self._path == ":memory:"
        self._writer = Connected(self._connect, in_memory=in_memory)
        # What event loops read must not wait for a writer's fsync.
        self._reader = self._writer if in_memory else Connected(self._connect)
        with self._told("open"), self._writer.use():
            pass

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=5.0)
        write_ahead(db)
        db.execute("PRAGMA synchronous=FULL")
        db.execute(_SCHEMA)
        return db

    def reserve(self, limits: Sequence[Limit], usd: Decimal | float, tokens: int = 0) -> Reservation:
        """Sets ``usd`` and ``tokens`` aside on every limit, or on none.

        Raises:
            BudgetExceeded: Where a limit has too little left; names the limit and when it resets.
            StoreError: Where the file cannot be written.
        """
        pico, now = to_pico(usd), self._clock()
        rows = rows_of(limits, now)
        if not rows:
            return Reservation((), pico, tokens)
        self._tidy(now)
        with self._writing() as db:
            spent = {row: _spent(db, row) for row in rows}
            for limit in limits:
                start, end = window_bounds(limit.window, now)
                check_limit(limit, spent[limit.key, start], pico, tokens, end)
            _add(db, rows, pico, tokens)
        return Reservation(rows, pico, tokens)

    def settle(self, reservation: Reservation, usd: Decimal | float, tokens: int = 0) -> None:
        """See :class:`BudgetCounts`; while the file cannot be written, the reservation stays counted."""
        pico, tokens = to_pico(usd) - reservation.pico_usd, min(tokens, _MAX_TOKENS) - reservation.tokens
        if reservation.rows and (pico or tokens):
            self._owed.append((reservation.rows, pico, tokens))
            with suppress(StoreError), self._writing():
                pass  # every write begins with what is owed

    def spent(self, account: str, window: Window) -> tuple[Decimal, int]:
        """(USD, tokens) counted in the current window, open reservations included."""
        start, _ = window_bounds(window, self._clock())
        pico, tokens = self._counted((f"{account}/{window}", start))
        return Decimal(pico) / _PICO, tokens

    def headroom(self, limits: Iterable[Limit]) -> Headroom:
        """What is left under ``limits``: the policy moves to cheaper models before a budget refuses."""
        now, tightest = self._clock(), Headroom()
        for limit in limits:
            start, end = window_bounds(limit.window, now)
            pico, tokens = self._counted((limit.key, start))
            tightest = tighter(tightest, limit, pico, tokens, float(end))
        return tightest

    def close(self) -> None:
        """Closes the file; may be called twice, and a later use opens it again."""
        self._writer.close()
        self._reader.close()

    def _tidy(self, now: float) -> None:
        """Once an hour drops what windows counted that ended long ago."""
        if 0.0 <= now - self._tidied < _TIDY_S:
            return
        self._tidied = now
        with self._writing() as db:
            for window, kept_s in _KEPT_S.items():
                oldest, _ = window_bounds(window, now - kept_s)
                db.execute("DELETE FROM spend WHERE account LIKE ? AND start < ?", (f"%/{window}", oldest))

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._told("write"), self._writer.use() as db:
            if self._process.forked():
                self._owed.clear()  # the parent writes it
            with immediate(db):
                owed = len(self._owed)  # others may add to it meanwhile
                for rows, pico, tokens in self._owed[:owed]:
                    _add(db, rows, pico, tokens)
                yield db
            del self._owed[:owed]  # only once it is committed

    def _counted(self, row: tuple[str, int]) -> tuple[int, int]:
        with self._told("read"), self._reader.use() as db:
            return _spent(db, row)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: cannot {what} the budget file ({error})") from error


def rows_of(limits: Sequence[Limit], now: float) -> tuple[tuple[str, int], ...]:
    """Each count once: two limits of one account and window must not be charged twice."""
    return tuple(dict.fromkeys((limit.key, window_bounds(limit.window, now)[0]) for limit in limits))


def _spent(db: sqlite3.Connection, row: tuple[str, int]) -> tuple[int, int]:
    found = db.execute("SELECT pico_usd, tokens FROM spend WHERE account = ? AND start = ?", row).fetchone()
    return (int(found[0]), int(found[1])) if found else (0, 0)


def _add(db: sqlite3.Connection, rows: Iterable[tuple[str, int]], pico: int, tokens: int) -> None:
    db.executemany(
        "INSERT INTO spend VALUES (?, ?, ?, ?) ON CONFLICT (account, start)"
        " DO UPDATE SET pico_usd = pico_usd + excluded.pico_usd, tokens = tokens + excluded.tokens",
        [(account, start, pico, tokens) for account, start in rows],
    )


def check_limit(limit: Limit, spent: tuple[int, int], pico: int, tokens: int, resets_at: int) -> None:
    """Raises where ``limit`` cannot take the amount."""
    if limit.usd is not None and spent[0] + pico > to_pico(limit.usd):
        left = max(Decimal(0), limit.usd - Decimal(spent[0]) / _PICO)
        detail = f"${left:f} of ${limit.usd:f} left, ${Decimal(pico) / _PICO:f} asked for"
    elif limit.tokens is not None and spent[1] + tokens > limit.tokens:
        detail = f"{max(0, limit.tokens - spent[1])} of {limit.tokens} tokens left, {tokens} asked for"
    else:
        return
    raise BudgetExceeded(detail, account=limit.account, window=limit.window, resets_at=float(resets_at))


def tighter(seen: Headroom, limit: Limit, pico: int, tokens: int, end: float) -> Headroom:
    """``seen``, narrowed by what ``limit`` leaves once ``pico`` pico-dollars and ``tokens`` are spent."""
    usd_left, tokens_left, fraction = seen.usd, seen.tokens, 1.0
    if limit.usd is not None:
        left = max(Decimal(0), limit.usd - Decimal(pico) / _PICO)
        usd_left = left if usd_left is None else min(usd_left, left)
        fraction = float(left / limit.usd) if limit.usd else 0.0
    if limit.tokens is not None:
        remaining = max(0, limit.tokens - tokens)
        tokens_left = remaining if tokens_left is None else min(tokens_left, remaining)
        fraction = min(fraction, remaining / limit.tokens if limit.tokens else 0.0)
    if seen.resets_at is not None and seen.fraction <= fraction:
        return Headroom(usd_left, tokens_left, seen.fraction, seen.resets_at)
    return Headroom(usd_left, tokens_left, fraction, end)
