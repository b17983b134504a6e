"""The sentence on top, where there is little to divide by."""

from __future__ import annotations

import pytest

from training.report.verdict import verdict


def numbers(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def estimated(routed, baseline, difference):
    cost = {"routed": numbers(routed), "baseline": numbers(baseline), "difference": numbers(difference)}
    return {
        "window": {"days": 7, "decisions": 1500},
        "comparison": None,
        "baseline": {
            "refused": {"reason": "no arm", "labelled_needed": 10, "share": 0.1, "days_at_10_percent": 3},
            "estimate": {"model": "own", "cost_per_1000": cost, "satisfaction": {"difference": numbers(0.0)}},
        },
    }


@pytest.mark.parametrize(
    ("days", "words"), [(0.01, "less than an hour"), (0.05, "1 hour"), (0.5, "12 hours"), (1.2, "1 day"), (7, "7 days")]
)
def test_the_time_is_never_none(days, words):
    facts = estimated(2.0, 4.0, -2.0)
    facts["window"]["days"] = days
    assert verdict(facts)["sentence"].startswith(f"Over {words} and 1,500 decisions")


def test_beside_a_free_model_costs_are_told_in_money():
    assert (
        "to have cost $0.00 per 1,000 requests, where own alone costs nothing"
        in verdict(estimated(0.0, 0.0, 0.0))["sentence"]
    )
    assert "to have cost $2.00 per 1,000 requests, where own" in verdict(estimated(2.0, 0.0, 2.0))["sentence"]
    assert "to have cost 50\u00a0% less than own alone" in verdict(estimated(2.0, 4.0, -2.0))["sentence"]
