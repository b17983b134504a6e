"""The day's cap on what exploration costs: never passed, shared by processes, and no part of the draw."""

from __future__ import annotations

import threading
from decimal import Decimal

import numpy as np
import pytest

from router_runtime.budgets import Budgets
from router_runtime.errors import StoreError
from router_runtime.exploring import ACCOUNT, RETRY_S, SHARES, ExplorationCap
from tests.forked import in_child
from tests.runtime.test_router import opened, registry_of


class Clock:
    def __init__(self, now=1_775_001_600.0):
        self.now = now

    def __call__(self):
        return self.now


def warm(cap, limit):
    """The first question finds nothing set aside, and has a share fetched."""
    assert not cap.take(1e-9, limit)
    cap.wait()


def test_spending_never_passes_the_cap(tmp_path):
    clock, spent = Clock(), []
    caps = [ExplorationCap(Budgets(tmp_path / "b.sqlite", clock), clock) for _ in range(3)]

    def spend(cap, seed):
        rng = np.random.default_rng(seed)
        for _ in range(400):
            cost = float(rng.uniform(0, 0.01))
            if cap.take(cost, 1.0):
                spent.append(cost)
            cap.wait()

    threads = [threading.Thread(target=spend, args=(cap, seed)) for seed, cap in enumerate(caps)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.85 < sum(spent) <= 1.0
    assert Budgets(tmp_path / "b.sqlite", clock).spent(ACCOUNT, "day")[0] <= Decimal(1)


def test_a_cap_that_is_raised_lets_explore_again_on_the_same_day():
    clock = Clock()
    cap = ExplorationCap(Budgets(clock=clock), clock)
    warm(cap, 1.0)
    for _ in range(SHARES * 3):
        cap.take(1 / SHARES, 1.0)
        cap.wait()
    assert not cap.take(0.1, 1.0)
    assert not cap.take(0.1, 2.0), "the first question has a share fetched"
    cap.wait()
    assert cap.take(0.1, 2.0)


def test_a_new_day_brings_a_new_cap():
    clock = Clock()
    cap = ExplorationCap(Budgets(clock=clock), clock)
    warm(cap, 1.0)
    for _ in range(SHARES * 3):
        cap.take(1 / SHARES, 1.0)
        cap.wait()
    assert not cap.take(0.001, 1.0)
    clock.now += 86_400
    warm(cap, 1.0)
    assert cap.take(0.001, 1.0)


def test_a_forked_child_does_not_spend_its_parents_share():
    clock = Clock()
    cap = ExplorationCap(Budgets(clock=clock), clock)
    warm(cap, 1.0)

    def explore():
        warm(cap, 1.0)
        assert cap.take(1 / SHARES, 1.0)

    in_child(explore)
    assert cap.take(1 / SHARES, 1.0)


def test_what_was_not_spent_comes_back():
    cap = ExplorationCap(Budgets(clock=Clock()), Clock())
    warm(cap, 1.0)
    assert cap.take(1 / SHARES, 1.0)
    cap.wait()
    cap.give_back(1 / SHARES)
    assert cap.take(1 / SHARES, 1.0)


def test_counts_out_of_reach_mean_no_exploration_and_are_not_asked_all_the_time():
    clock, asked = Clock(), []

    class Away(Budgets):
        def reserve(self, limits, usd, tokens=0):
            asked.append(clock.now)
            raise StoreError("away")

    cap = ExplorationCap(Away(clock=clock), clock)
    for _ in range(5):
        assert not cap.take(0.001, 1.0)
        cap.wait()
    assert len(asked) == 1
    clock.now += RETRY_S
    cap.take(0.001, 1.0)
    cap.wait()
    assert len(asked) == 2


@pytest.mark.parametrize("mode", ["epsilon", "softmax", "thompson"])
def test_a_router_explores_until_the_cap_and_then_takes_the_best(mode):
    # The best is the cheapest here, so that exploring always costs something.
    policy = f"exploration: {mode}, epsilon: 0.9, temperature: 10.0, quality_floor: 0, exploration_budget_usd: %s"
    tight, wide = ("policy: {" + policy % cap + "}" for cap in ("0.000000001", "1000000"))
    router = opened(registry=registry_of(4, extra=wide), seed=1)
    for _ in range(2):
        router.route("hi", strategy="balanced", trade_off=0.05)
        router._explorer.cap.wait()
    decisions = [router.route("hi", strategy="balanced", trade_off=0.05) for _ in range(200)]
    assert len({one.chosen for one in decisions}) > 1
    assert any(one.propensity < 1 for one in decisions)
    capped = opened(registry=registry_of(4, extra=tight), seed=1)
    decisions = [capped.route("hi", strategy="balanced", trade_off=0.05) for _ in range(50)]
    dear = [one for one in decisions if one.chosen != one.candidates[0].model]
    assert not dear
    assert all(one.propensity == 1.0 for one in decisions)
    assert len({one.policy_version for one in decisions}) == 1
