"""Budgets: exact, never overspent by concurrent calls, kept over restarts and kill -9."""

import datetime as dt
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_runtime.budgets import Budgets, Headroom, Limit, limits_for, to_pico, window_bounds
from router_runtime.errors import BudgetExceeded, ConfigError, StoreError
from router_runtime.registry import BudgetEntry, TierEntry

NOON = dt.datetime(2026, 2, 28, 12, 0, 30, tzinfo=dt.UTC).timestamp()
FREE = Limit("tier:free", "day", usd=Decimal("1.00"))

SPENDER = """
import sys
from router_runtime.budgets import Budgets, Limit
limit = Limit("tier:x", "month", usd=1000)
budgets = Budgets(sys.argv[1], clock=lambda: 1e9)
while True:
    held = budgets.reserve([limit], 0.02)
    budgets.settle(held, 0.03)
    sys.stdout.write("+")
    sys.stdout.flush()
"""


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def test_windows_are_calendar_windows_in_utc() -> None:
    minute, day, month = (window_bounds(w, NOON) for w in ("minute", "day", "month"))
    assert minute == (NOON - 30, NOON + 30)
    assert day[1] - day[0] == 86_400
    assert dt.datetime.fromtimestamp(month[0], dt.UTC).isoformat() == "2026-02-01T00:00:00+00:00"
    assert dt.datetime.fromtimestamp(month[1], dt.UTC).isoformat() == "2026-03-01T00:00:00+00:00"


def test_an_amount_beyond_all_measure_counts_as_the_most_and_stops_nobody_else() -> None:
    budgets = Budgets(clock=Clock())
    for _ in range(2):
        held = budgets.reserve([Limit("key:odd", "day", tokens=10**18)], 0.5, 100)
        budgets.settle(held, Decimal(10) ** 30, 10**30)
    assert budgets.spent("key:odd", "day") > (Decimal(9_000_000), 10**15)
    held = budgets.reserve([FREE], 0.5)
    budgets.settle(held, 0.25)
    assert budgets.spent("tier:free", "day") == (Decimal("0.25"), 0)


def test_settling_replaces_the_reservation_exactly() -> None:
    budgets = Budgets(clock=Clock())
    held = budgets.reserve([FREE], Decimal("0.50"), 100)
    assert budgets.spent("tier:free", "day") == (Decimal("0.5"), 100)
    budgets.settle(held, Decimal("0.1000000375"), 80)
    assert budgets.spent("tier:free", "day") == (Decimal("0.1000000375"), 80)


def test_refuses_with_the_time_of_reset_and_reserves_on_all_limits_or_none() -> None:
    clock = Clock()
    budgets = Budgets(clock=clock)
    user = Limit("user:1", "minute", tokens=100)
    budgets.reserve([user], 0, 90)
    with pytest.raises(BudgetExceeded, match=r"user:1 for this minute .*10 of 100 tokens left.*12:01 UTC") as caught:
        budgets.reserve([FREE, user], Decimal("0.5"), 20)
    assert caught.value.resets_at == NOON + 30
    assert budgets.spent("tier:free", "day") == (0, 0)
    clock.now += 31
    budgets.reserve([FREE, user], Decimal("0.5"), 20)
    with pytest.raises(BudgetExceeded, match=r"\$0.50 of \$1.00 left, \$0.51 asked for"):
        budgets.reserve([FREE], 0.51)


def test_two_limits_of_one_window_share_one_count() -> None:
    budgets = Budgets(clock=Clock())
    budgets.reserve([FREE, Limit("tier:free", "day", tokens=50)], 0.25, 10)
    assert budgets.spent("tier:free", "day") == (Decimal("0.25"), 10)


def test_headroom_is_that_of_the_tightest_limit() -> None:
    budgets = Budgets(clock=Clock())
    minute = Limit("user:1", "minute", usd=Decimal(100), tokens=1000)
    assert budgets.headroom([]) == Headroom()
    budgets.reserve([FREE, minute], 0.25, 900)
    left = budgets.headroom([FREE, minute])
    assert left.usd == Decimal("0.75")
    assert left.tokens == 100
    assert left.fraction == pytest.approx(0.1)
    assert left.resets_at == NOON + 30
    assert budgets.headroom([minute, FREE]) == left


def test_concurrent_calls_cannot_overspend(tmp_path: Path) -> None:
    budgets = Budgets(tmp_path / "b.sqlite", clock=Clock())
    limit = Limit("tier:free", "day", usd=Decimal("0.10"))
    granted = []

    def spend() -> None:
        for _ in range(10):
            try:
                granted.append(budgets.reserve([limit], Decimal("0.01")))
            except BudgetExceeded:
                return

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 10
    assert budgets.spent("tier:free", "day")[0] == Decimal("0.1")
    budgets.close()


def test_survives_a_restart_and_is_shared_by_two_openings(tmp_path: Path) -> None:
    first = Budgets(tmp_path / "b.sqlite", clock=Clock())
    held = first.reserve([FREE], 0.9)
    second = Budgets(tmp_path / "b.sqlite", clock=Clock())
    with pytest.raises(BudgetExceeded):
        second.reserve([FREE], 0.2)
    first.settle(held, 0.1)
    second.reserve([FREE], 0.2)
    first.close()
    second.close()
    third = Budgets(tmp_path / "b.sqlite", clock=Clock())
    assert third.spent("tier:free", "day")[0] == Decimal("0.3")
    third.close()


def test_windows_that_ended_long_ago_are_dropped_and_the_others_kept(tmp_path: Path) -> None:
    clock = Clock()
    budgets = Budgets(tmp_path / "b.sqlite", clock=clock)
    limits = [Limit("user:ann", window, usd=Decimal(10)) for window in ("minute", "day", "month")]
    for days in (0, 41, 41, 450):
        clock.now += days * 86_400
        budgets.reserve(limits, Decimal("0.5"))
        clock.now += 60
    budgets.close()
    with closing(sqlite3.connect(tmp_path / "b.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM spend").fetchone() == (3,)


def test_a_clock_that_is_ahead_for_a_while_frees_no_budget(tmp_path: Path) -> None:
    clock = Clock()
    budgets = Budgets(tmp_path / "b.sqlite", clock=clock)
    limits = [Limit("tier:free", window, usd=Decimal(1)) for window in ("day", "month")]
    budgets.reserve(limits, Decimal("0.75"))
    clock.now += 39 * 86_400
    budgets.reserve(limits, Decimal("0.75"))
    clock.now -= 39 * 86_400
    for limit in limits:
        assert budgets.spent("tier:free", limit.window)[0] == Decimal("0.75")
        with pytest.raises(BudgetExceeded):
            budgets.reserve([limit], Decimal("0.5"))
    budgets.close()


def test_processes_that_open_a_new_file_at_once_wait_for_one_another(tmp_path: Path) -> None:
    """SQLite fails at once where one writes while another asks for the write-ahead log."""
    with closing(sqlite3.connect(tmp_path / "b.sqlite", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        opened = threading.Thread(target=lambda: Budgets(tmp_path / "b.sqlite").close())
        opened.start()
        opened.join(0.05)
        assert opened.is_alive()
        other.execute("ROLLBACK")
        opened.join()
    with closing(sqlite3.connect(tmp_path / "b.sqlite")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_what_cannot_be_settled_now_is_settled_with_the_next_write(tmp_path: Path) -> None:
    budgets = Budgets(tmp_path / "b.sqlite", clock=Clock())
    with budgets._writer.use() as db:
        db.execute("PRAGMA busy_timeout = 50")
    held = budgets.reserve([FREE], Decimal("0.5"), 10)
    with closing(sqlite3.connect(tmp_path / "b.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        budgets.settle(held, Decimal("0.6"), 12)
        with pytest.raises(StoreError, match="locked"):
            budgets.reserve([FREE], Decimal("0.1"))
        other.execute("ROLLBACK")
    assert budgets.spent("tier:free", "day") == (Decimal("0.5"), 10)
    with pytest.raises(BudgetExceeded):
        budgets.reserve([FREE], Decimal("0.5"))
    budgets.settle(budgets.reserve([FREE], Decimal("0.1")), Decimal("0.1"))
    assert budgets.spent("tier:free", "day") == (Decimal("0.7"), 12)
    with closing(sqlite3.connect(tmp_path / "b.sqlite")) as other:
        other.execute("DROP TABLE spend")
    with pytest.raises(StoreError, match="cannot read"):
        budgets.spent("tier:free", "day")
    budgets.close()


def _kill_loop(path: Path, rounds: int) -> None:
    rng, settled = random.Random(3), 0
    for _ in range(rounds):
        spender = subprocess.Popen([sys.executable, "-c", SPENDER, str(path)], stdout=subprocess.PIPE)
        assert spender.stdout is not None
        settled += len(spender.stdout.read(1))
        time.sleep(rng.random() * 0.1)
        spender.send_signal(signal.SIGKILL)
        settled += len(spender.stdout.read())
        spender.wait()
        spender.stdout.close()
    budgets = Budgets(path, clock=lambda: 1e9)
    spent, _ = budgets.spent("tier:x", "month")
    budgets.close()
    assert Decimal("0.03") * settled <= spent <= Decimal("0.03") * (settled + rounds)


def test_kill_9_never_shows_less_than_was_spent(tmp_path: Path) -> None:
    _kill_loop(tmp_path / "b.sqlite", 3)


@pytest.mark.slow
def test_kill_9_fifty_times_never_shows_less_than_was_spent(tmp_path: Path) -> None:
    _kill_loop(tmp_path / "b.sqlite", 50)


@given(st.lists(st.decimals("0", "10", places=9), max_size=12))
@settings(max_examples=30)
def test_sums_are_exact_decimals(amounts: list[Decimal]) -> None:
    budgets = Budgets(clock=Clock())
    limit = Limit("k", "month", usd=Decimal(1000))
    for amount in amounts:
        budgets.settle(budgets.reserve([limit], Decimal(1)), amount)
    assert budgets.spent("k", "month")[0] == sum(amounts, Decimal(0))
    budgets.close()


def test_floats_are_read_as_written_and_rounded_up() -> None:
    assert to_pico(0.1) == 10**11
    assert to_pico(Decimal("1e-13")) == 1


def test_limits_come_from_the_tier_and_its_user() -> None:
    tier = TierEntry("free", budgets=(BudgetEntry("day", 0.1),), user_budgets=(BudgetEntry("minute", tokens=5),))
    tier_limit = Limit("tier:free", "day", Decimal("0.1"))
    assert limits_for(tier, "h") == [tier_limit, Limit("user:h", "minute", tokens=5)]
    assert limits_for(tier) == [tier_limit]
    assert limits_for(None, "h") == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "usd or tokens"),
        ({"usd": Decimal(-1)}, "usd must lie"),
        ({"usd": Decimal("1e12")}, "usd must lie"),
        ({"tokens": -1}, "negative"),
        ({"window": "week", "tokens": 1}, "'week' is not"),
    ],
)
def test_limits_that_make_no_sense_are_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Limit(**{"account": "a", "window": "day", **fields})  # type: ignore[arg-type]


def test_a_file_that_is_no_budget_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "b.sqlite"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(StoreError, match="budget file"):
        Budgets(path)
