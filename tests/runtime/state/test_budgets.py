"""One contract for budgets in a file and in Redis; and what only Redis can do."""

import multiprocessing
from decimal import Decimal

import pytest

from router_runtime.budgets import Budgets, Limit
from router_runtime.errors import BudgetExceeded
from router_runtime.state import SharedState

DAY = Limit("tier:free", "day", usd=Decimal("1.00"))


@pytest.fixture(params=["file", "redis"])
def budgets(request, clock, shared, tmp_path):
    if request.param == "redis":
        state = shared(clock=clock)
        yield state.budgets
        assert state.up  # or the process's own limits would have passed in its place
    else:
        counts = Budgets(tmp_path / "budgets.sqlite", clock)
        yield counts
        counts.close()


def test_reserves_settles_and_refuses_at_the_limit(budgets):
    first = budgets.reserve([DAY], Decimal("0.70"))
    with pytest.raises(BudgetExceeded, match=r"\$0\.3\d* of \$1\.00 left, \$0\.4\d* asked for"):
        budgets.reserve([DAY], Decimal("0.40"))
    budgets.settle(first, Decimal("0.10"))
    budgets.reserve([DAY], Decimal("0.90"))
    assert budgets.spent("tier:free", "day") == (Decimal("1.00"), 0)
    assert budgets.headroom([DAY]).usd == 0


def test_all_limits_or_none(budgets):
    narrow = Limit("user:u", "minute", tokens=10)
    with pytest.raises(BudgetExceeded, match="user:u"):
        budgets.reserve([DAY, narrow], Decimal("0.5"), tokens=11)
    assert budgets.spent("tier:free", "day") == (Decimal(0), 0)
    budgets.reserve([DAY, narrow], Decimal("0.5"), tokens=10)
    assert budgets.spent("user:u", "minute") == (Decimal("0.5"), 10)


def test_a_new_window_begins_at_nothing(budgets, clock):
    minute = Limit("key:k", "minute", usd=Decimal("0.01"))
    budgets.reserve([minute], Decimal("0.01"))
    with pytest.raises(BudgetExceeded):
        budgets.reserve([minute], Decimal("0.000001"))
    clock.advance(60)
    budgets.reserve([minute], Decimal("0.01"))


def test_exact_where_doubles_are_not(budgets):
    """Above $9,007 a double no longer holds every pico-dollar."""
    dear = Limit("tier:dear", "day", usd=Decimal("9000000"))
    budgets.reserve([dear], Decimal("8999999.999999999999"))
    budgets.reserve([dear], Decimal("0.000000000001"))
    with pytest.raises(BudgetExceeded):
        budgets.reserve([dear], Decimal("0.000000000001"))
    assert budgets.spent("tier:dear", "day")[0] == Decimal("9000000")


def test_two_limits_of_one_account_are_charged_once(budgets):
    both = [Limit("key:k", "day", usd=Decimal("1")), Limit("key:k", "day", tokens=5)]
    budgets.reserve(both, Decimal("0.25"), tokens=5)
    assert budgets.spent("key:k", "day") == (Decimal("0.25"), 5)


def _spend(url, now, results):
    state = SharedState(url, clock=lambda: now)
    done = 0
    for _ in range(150):
        try:
            state.budgets.reserve([DAY], Decimal("0.01"))
            done += 1
        except BudgetExceeded:
            pass
    results.put(done if state.up else -1)
    state.close()


def test_processes_together_cannot_overspend(redis_url, clock, shared):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_spend, args=(redis_url, clock.now, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    counts = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(timeout=60)
    assert sum(counts) == 100
    assert shared(clock=clock).budgets.spent("tier:free", "day") == (Decimal("1.00"), 0)


def test_headroom_sees_what_others_spent_without_asking(redis_url, shared, clock):
    one, other = shared(clock=clock), shared(clock=clock)
    assert one.budgets.headroom([DAY]).usd == Decimal("1.00")
    other.budgets.reserve([DAY], Decimal("0.75"))
    one.exchange()
    assert one.budgets.headroom([DAY]).usd == Decimal("0.25")
