"""Redis goes away, hangs, and comes back: limits hold in the process meanwhile, and nothing spent is forgotten."""

import logging
import time
from decimal import Decimal

import pytest

from router_runtime.budgets import Limit
from router_runtime.errors import BudgetExceeded, StateAway
from router_runtime.hooks import StateChanged
from router_runtime.state import SharedState

DAY = Limit("tier:free", "day", usd=Decimal("1.00"))


def test_degrades_to_local_limits_with_one_warning_and_recovers(mortal, clock, shared, caplog):
    events = []
    state = shared(mortal.url, clock=clock, observer=events.append)
    before = state.budgets.reserve([DAY], Decimal("0.50"))
    mortal.stop()
    with caplog.at_level(logging.WARNING, logger="router_runtime.state"):
        state.budgets.reserve([DAY], Decimal("0.30"))
        with pytest.raises(BudgetExceeded):
            state.budgets.reserve([DAY], Decimal("0.30"))
        assert not state.exchange()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert not state.up
    state.budgets.settle(before, Decimal("0.40"))
    with pytest.raises(StateAway):
        state.disable("gpt-5.5", clock.now + 60)

    mortal.start()  # empty: what this process knew and spent is put back
    assert state.exchange()
    assert state.up
    assert shared(mortal.url, clock=clock).budgets.spent("tier:free", "day") == (Decimal("0.70"), 0)
    assert [type(event) for event in events] == [StateChanged, StateChanged]
    assert [event.shared for event in events] == [False, True]


def test_a_reservation_just_before_it_is_back_is_told_too(mortal, clock, shared, monkeypatch):
    state = shared(mortal.url, clock=clock)
    state.budgets.reserve([DAY], Decimal("0.10"))
    mortal.stop()
    assert not state.exchange()
    back, late = state._link.back, []

    def reserve_first():
        late.append(state.budgets.reserve([DAY], Decimal("0.20")))
        back()

    monkeypatch.setattr(state._link, "back", reserve_first)
    mortal.start()
    assert state.exchange()
    other = shared(mortal.url, clock=clock).budgets
    assert other.spent("tier:free", "day")[0] == Decimal("0.30")
    state.budgets.settle(late[0], Decimal("0.05"))
    assert other.spent("tier:free", "day")[0] == Decimal("0.15")


def test_a_redis_that_hangs_holds_calls_up_once(mortal, clock, shared):
    state = shared(mortal.url, clock=clock)
    state.budgets.reserve([DAY], Decimal("0.10"))
    mortal.freeze()
    try:
        state.budgets.reserve([DAY], Decimal("0.10"))
        started = time.monotonic()
        for _ in range(50):
            state.budgets.reserve([DAY], Decimal("0.001"))
        assert time.monotonic() - started < 10.0  # fifty waits would take 12.5 s
    finally:
        mortal.thaw()
    assert state.exchange()
    spent = shared(mortal.url, clock=clock).budgets.spent("tier:free", "day")[0]
    assert Decimal("0.25") <= spent <= Decimal("0.35")  # the hung one may be counted twice, never less than once


def test_rates_go_on_locally(mortal, shared):
    state = shared(mortal.url)
    assert state.rates.take("key:k", 2, 1) == 0.0
    mortal.stop()
    assert [state.rates.take("key:k", 2, 1) > 0 for _ in range(3)] == [False, False, True]


def test_a_start_without_redis_works(mortal, clock):
    mortal.stop()
    state = SharedState(mortal.url, clock=clock)
    try:
        state.budgets.reserve([DAY], Decimal("1.00"))
        with pytest.raises(BudgetExceeded):
            state.budgets.reserve([DAY], Decimal("0.01"))
    finally:
        state.close()
