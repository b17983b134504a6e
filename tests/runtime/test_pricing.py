from datetime import UTC, date, datetime

import numpy as np

from router_runtime.pricing import cost_usd, price_at, price_table, price_version
from router_runtime.registry import ModelEntry, Price

OLD, NEW = Price(date(2026, 4, 1), 6.0, 30.0), Price(date(2026, 7, 1), 3.0, 15.0, 0.3)
MODEL = ModelEntry("m", "p", "m", (OLD, NEW))


def at(*moment):
    return datetime(*moment, tzinfo=UTC).timestamp()


def test_the_price_in_force_is_the_last_that_has_begun():
    assert price_at(MODEL, at(2026, 6, 30, 23, 59)) == OLD
    assert price_at(MODEL, at(2026, 7, 1)) == NEW
    assert price_at(MODEL, at(2020, 1, 1)) == OLD


def test_cost_counts_cached_tokens_at_their_price():
    assert cost_usd(OLD, 1_000_000, 100_000) == 6.0 + 3.0
    assert np.isclose(cost_usd(NEW, 1_000_000, 0, 500_000), 1.5 + 0.15)
    assert cost_usd(OLD, 1_000_000, 0, 500_000) == 6.0
    np.testing.assert_allclose(cost_usd(OLD, np.array([0.0, 1e6]), np.array([1e6, 0.0])), [30.0, 6.0])


def test_the_table_says_until_when_it_holds():
    table = price_table([MODEL], at(2026, 5, 1))
    assert table.input.tolist() == [6e-6]
    assert table.valid_until == at(2026, 7, 1)
    assert price_table([MODEL], table.valid_until).input.tolist() == [3e-6]
    assert price_table([MODEL], table.valid_until).valid_until == float("inf")


def test_the_version_changes_with_the_price_and_not_with_the_day():
    assert price_version([MODEL], at(2026, 5, 1)) == price_version([MODEL], at(2026, 6, 1))
    assert price_version([MODEL], at(2026, 5, 1)) != price_version([MODEL], at(2026, 8, 1))
