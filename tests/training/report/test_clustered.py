"""Means and differences of clustered calls: their intervals hold the truth as often as they say."""

import math

import numpy as np
import pytest

from training.report.clustered import bonferroni, difference, mean, ratio, saving


def calls(rng, subjects, level):
    """Calls of subjects that differ from each other, in costs that are skewed: (values, subject)."""
    sizes = rng.integers(1, 8, subjects)
    subject = np.repeat(np.arange(subjects), sizes)
    own = rng.gamma(2.0, level / 2.0, subjects)
    return own[subject] * rng.lognormal(-0.125, 0.5, len(subject)), subject


def test_differences_and_savings_cover_the_truth_as_often_as_they_claim():
    rng = np.random.default_rng(7)
    hits = np.zeros(3)
    runs = 500
    for _ in range(runs):
        (a, a_of), (b, b_of) = calls(rng, 300, 1.0), calls(rng, 80, 3.0)
        first, second = mean(a, a_of), mean(b, b_of)
        hits += [first.covers(1.0), difference(first, second).covers(-2.0), saving(first, second).covers(1 - 1 / 3)]
    assert ((hits / runs > 0.92) & (hits / runs < 0.985)).all(), hits / runs


def test_an_interval_over_calls_alone_would_be_too_narrow():
    rng = np.random.default_rng(1)
    own = rng.normal(size=200)
    values, subject = np.repeat(own, 20), np.repeat(np.arange(200), 20)
    assert mean(values, subject).se > 4 * mean(values, np.arange(len(values))).se


def test_unknown_values_count_for_nothing_and_nothing_is_nan():
    found = mean(np.array([1.0, np.nan, 0.0]), np.array([1, 2, 3]))
    assert (found.value, found.n, found.subjects) == (0.5, 2, 2)
    empty = mean(np.full(3, np.nan), np.arange(3))
    assert math.isnan(empty.value)
    assert empty.json() == {"value": None, "low": None, "high": None, "n": 0, "subjects": 0}
    one = ratio(np.array([2.0, 4.0]), np.array([1.0, 1.0]), np.array([5, 5]))
    assert (one.value, one.json()["low"]) == (3.0, None)


def test_bonferroni_shares_the_error_among_the_tests():
    assert bonferroni(5) == pytest.approx(0.99)
    assert bonferroni(0) == pytest.approx(0.95)
