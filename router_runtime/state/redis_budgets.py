"""Budgets that replicas share: one Lua script reserves on every limit or on none, so that nobody can overspend.

Money is whole pico-dollars, as in :mod:`router_runtime.budgets`. Lua's numbers are doubles, exact to 2^53 only, so
sums are made by ``HINCRBY`` (64-bit integers) and compared as decimal texts.

Each process keeps a copy of the counts that it uses: :meth:`RedisBudgets.headroom` reads it without waiting, and while
Redis is away the limits hold against it. What is spent meanwhile is added to Redis when it is back; counts that Redis
lost (a restart without persistence) are put back from the copy first.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any, cast

from router_runtime.budgets import (
    Headroom,
    Limit,
    Reservation,
    check_limit,
    rows_of,
    tighter,
    to_pico,
    window_bounds,
)
from router_runtime.errors import StateAway
from router_runtime.registry import Window
from router_runtime.state.link import PREFIX, RedisLink

Row = tuple[str, int]
"""(account/window, start of the window)."""

_KEEP_S = 86_400  # a settlement may come after the window's end
_REFRESH_S = 60.0  # rows that nobody asked for meanwhile are not fetched
_MAX_ROWS = 2_000
_PICO = Decimal(10) ** 12

_RESERVE = """
local function over(sum, most)
  if string.sub(sum, 1, 1) == '-' then return false end
  if #sum ~= #most then return #sum > #most end
  return sum > most
end
local pico, tokens, refused = ARGV[1], ARGV[2], 0
for i, key in ipairs(KEYS) do
  redis.call('HINCRBY', key, 'pico', pico)
  redis.call('HINCRBY', key, 'tokens', tokens)
  redis.call('EXPIRE', key, ARGV[2 + i])
end
local at, number = 3 + #KEYS, 1
while at <= #ARGV and refused == 0 do
  local key = KEYS[tonumber(ARGV[at])]
  local usd, most = ARGV[at + 1], ARGV[at + 2]
  if usd ~= '' and over(redis.call('HGET', key, 'pico'), usd) then refused = number end
  if most ~= '' and over(redis.call('HGET', key, 'tokens'), most) then refused = number end
  at, number = at + 3, number + 1
end
local reply = {tostring(refused)}
for _, key in ipairs(KEYS) do
  if refused > 0 then
    if pico ~= '0' then redis.call('HINCRBY', key, 'pico', '-' .. pico) end
    if tokens ~= '0' then redis.call('HINCRBY', key, 'tokens', '-' .. tokens) end
  end
  table.insert(reply, redis.call('HGET', key, 'pico'))
  table.insert(reply, redis.call('HGET', key, 'tokens'))
end
return reply
"""

_ADD = """
redis.call('HINCRBY', KEYS[1], 'pico', ARGV[1])
redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return redis.call('HMGET', KEYS[1], 'pico', 'tokens')
"""

_RESTORE = """
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'pico', ARGV[1], 'tokens', ARGV[2])
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
"""


class RedisBudgets:
    """The counts behind the limits, in Redis. Safe to use from several threads, processes and machines.

    Args:
        link: The Redis.
        clock: UTC seconds since the epoch; replicas should agree on it to a second.
    """

    def __init__(self, link: RedisLink, clock: Callable[[], float] = time.time) -> None:
        self._link, self._clock = link, clock
        self._guard = threading.Lock()
        self._known: OrderedDict[Row, tuple[int, int]] = OrderedDict()
        self._asked: dict[Row, float] = {}
        self._owed_pico: Counter[Row] = Counter()
        self._owed_tokens: Counter[Row] = Counter()
        self._reserve, self._add, self._restore = (link.script(source) for source in (_RESERVE, _ADD, _RESTORE))

    def reserve(self, limits: Sequence[Limit], usd: Decimal | float, tokens: int = 0) -> Reservation:
        """See :class:`router_runtime.budgets.BudgetCounts`; while Redis is away, by what this process knows."""
        pico, now = to_pico(usd), self._clock()
        rows = rows_of(limits, now)
        if not rows:
            return Reservation((), pico, tokens)
        try:
            spent, refused = self._reserve_shared(limits, rows, pico, tokens, now)
        except StateAway:
            self._reserve_here(limits, rows, pico, tokens, now)
            return Reservation(rows, pico, tokens)
        self._learn(spent)
        if refused is not None:
            row = refused.key, window_bounds(refused.window, now)[0]
            check_limit(refused, spent[row], pico, tokens, window_bounds(refused.window, now)[1])
        return Reservation(rows, pico, tokens)

    def settle(self, reservation: Reservation, usd: Decimal | float, tokens: int = 0) -> None:
        """See :class:`router_runtime.budgets.BudgetCounts`; while Redis is away, it is told later."""
        pico, tokens = to_pico(usd) - reservation.pico_usd, tokens - reservation.tokens
        if not (pico or tokens):
            return
        for row in reservation.rows:
            was_up = self._link.up
            try:
                self._learn({row: self._link.call(self._sending(row, pico, tokens))})
            except StateAway:
                with self._guard:
                    self._owe(row, *_not_less(was_up, pico, tokens))

    def spent(self, account: str, window: Window) -> tuple[Decimal, int]:
        """(USD, tokens) of the current window, asked for now where Redis is there."""
        row = f"{account}/{window}", window_bounds(window, self._clock())[0]
        with suppress(StateAway):  # the copy is then the best that there is
            self._learn(self._link.call(lambda client: self._fetch(client, [row])))
        pico, tokens = self._copy(row)
        return Decimal(pico) / _PICO, tokens

    def headroom(self, limits: Iterable[Limit]) -> Headroom:
        """What is left by the copy, which is at most a refresh old; no I/O."""
        now, tightest = self._clock(), Headroom()
        for limit in limits:
            start, end = window_bounds(limit.window, now)
            tightest = tighter(tightest, limit, *self._copy((limit.key, start)), float(end))
        return tightest

    def refresh(self) -> None:
        """Fetches the counts that were asked for lately; the background thread's.

        Raises:
            StateAway: Redis does not answer.
        """
        since = self._clock() - _REFRESH_S
        with self._guard:
            rows = [row for row in self._known if self._asked.get(row, 0.0) >= since]
        if rows:
            self._learn(self._link.call(lambda client: self._fetch(client, rows)))

    def catch_up(self) -> None:
        """Tells a Redis that is back what it missed; before :meth:`RedisLink.back`.

        Raises:
            StateAway: It is away again; what it was not told is kept.
        """
        now = self._clock()
        with self._guard:
            current = [(row, self._before(row)) for row in self._known if _end(row) > now]
        for row, (pico, tokens) in current:
            arguments = [_name(row)], [pico, tokens, self._gone(row)]
            self._link.catch_up(partial(_run, self._restore, *arguments))
        self.pay()

    def pay(self) -> None:
        """Tells Redis what it was not told; when it is back again too: a call may have met it away just before.

        Raises:
            StateAway: It is away again; what it was not told is kept.
        """
        while (owed := self._next_owed()) is not None:
            row, pico, tokens = owed
            try:
                self._link.catch_up(self._sending(*owed))
            except StateAway:
                pico, tokens = _not_less(True, pico, tokens)
                with self._guard:
                    self._owed_pico[row] += pico
                    self._owed_tokens[row] += tokens
                raise

    def begin_anew(self) -> None:
        """In a forked child, whose parent pays what it owes."""
        self._guard = threading.Lock()
        self._owed_pico.clear()
        self._owed_tokens.clear()

    def close(self) -> None:
        """Nothing: the link is closed by who opened it."""

    def _reserve_shared(
        self, limits: Sequence[Limit], rows: tuple[Row, ...], pico: int, tokens: int, now: float
    ) -> tuple[dict[Row, tuple[int, int]], Limit | None]:
        arguments: list[Any] = [pico, tokens, *(self._gone(row) for row in rows)]
        for limit in limits:
            arguments.append(rows.index((limit.key, window_bounds(limit.window, now)[0])) + 1)
            arguments.append("" if limit.usd is None else to_pico(limit.usd))
            arguments.append("" if limit.tokens is None else limit.tokens)
        keys = [_name(row) for row in rows]
        reply = self._link.call(lambda _client: self._reserve(keys, arguments))
        spent = {row: (int(reply[1 + 2 * i]), int(reply[2 + 2 * i])) for i, row in enumerate(rows)}
        refused = int(reply[0])
        return spent, limits[refused - 1] if refused else None

    def _reserve_here(self, limits: Sequence[Limit], rows: tuple[Row, ...], pico: int, tokens: int, now: float) -> None:
        with self._guard:
            for limit in limits:
                start, end = window_bounds(limit.window, now)
                check_limit(limit, self._known.get((limit.key, start), (0, 0)), pico, tokens, end)
            for row in rows:
                self._owe(row, pico, tokens)

    def _owe(self, row: Row, pico: int, tokens: int) -> None:
        """Counts here, and notes that Redis does not know; the guard is held."""
        known = self._known.get(row, (0, 0))
        self._known[row] = known[0] + pico, known[1] + tokens
        self._owed_pico[row] += pico
        self._owed_tokens[row] += tokens

    def _before(self, row: Row) -> tuple[int, int]:
        """What Redis knew when it went; the guard is held."""
        pico, tokens = self._known[row]
        return pico - self._owed_pico[row], tokens - self._owed_tokens[row]

    def _next_owed(self) -> tuple[Row, int, int] | None:
        with self._guard:
            for row in list(self._owed_pico):
                pico, tokens = self._owed_pico.pop(row), self._owed_tokens.pop(row, 0)
                if pico or tokens:
                    return row, pico, tokens
        return None

    def _sending(self, row: Row, pico: int, tokens: int) -> Callable[[Any], tuple[int, int]]:
        """Work for the link: adds to one count; gives what it is then."""

        def send(_client: Any) -> tuple[int, int]:
            reply = self._add([_name(row)], [pico, tokens, self._gone(row)])
            return int(reply[0]), int(reply[1])

        return send

    def _fetch(self, client: Any, rows: Sequence[Row]) -> dict[Row, tuple[int, int]]:
        pipe = client.pipeline(transaction=False)
        for row in rows:
            pipe.hmget(_name(row), "pico", "tokens")
        return {row: (int(found[0] or 0), int(found[1] or 0)) for row, found in zip(rows, pipe.execute(), strict=True)}

    def _learn(self, spent: dict[Row, tuple[int, int]]) -> None:
        now = self._clock()
        with self._guard:
            for row, counts in spent.items():
                self._known[row] = counts
                self._known.move_to_end(row)
                self._asked.setdefault(row, now)
            self._forget()

    def _copy(self, row: Row) -> tuple[int, int]:
        with self._guard:
            self._asked[row] = self._clock()
            return self._known.setdefault(row, (0, 0))

    def _gone(self, row: Row) -> int:
        """In how many seconds Redis may drop the row."""
        return max(1, _end(row) + _KEEP_S - int(self._clock()))

    def _forget(self) -> None:
        """Keeps the copy small; the guard is held."""
        while len(self._known) > _MAX_ROWS:
            row, _ = self._known.popitem(last=False)
            self._asked.pop(row, None)


def _not_less(sent: bool, pico: int, tokens: int) -> tuple[int, int]:
    """What to send again where Redis may have done it: a budget may show more than was spent, never less."""
    return (max(0, pico), max(0, tokens)) if sent else (pico, tokens)


def _run(script: Any, keys: list[str], arguments: list[int], _client: Any) -> None:
    script(keys, arguments)


def _name(row: Row) -> str:
    return f"{PREFIX}spend:{row[0]}:{row[1]}"


def _end(row: Row) -> int:
    return window_bounds(cast(Window, row[0].rpartition("/")[2]), float(row[1]))[1]
