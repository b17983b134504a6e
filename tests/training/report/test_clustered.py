"""Means and differences of clustered calls: their intervals hold the truth as often as they say."""

import math

import numpy as np
import pytest

from training.report.clustered import bonferroni, difference, mean, ratio, saving, share


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


def test_nobody_saves_more_than_all_of_it():
    few = np.arange(4)
    found = saving(mean(np.array([1.0, 9.0, 1.0, 1.0]), few), mean(np.array([30.0, 5.0, 60.0, 5.0]), few))
    assert found.value + found.half > 1
    assert found.high == 1.0
    assert found.times(-1.0).low == -1.0


def test_bonferroni_shares_the_error_among_the_tests():
    assert bonferroni(5) == pytest.approx(0.99)
    assert bonferroni(0) == pytest.approx(0.95)


def rated(rng, subjects, good, together):
    """Answers that are good with that probability: (values, subject), some subjects with several alike ones."""
    sizes = rng.geometric(0.3, subjects) if together else np.ones(subjects, dtype=int)
    own = rng.beta(5 * good, 5 * (1 - good), subjects) if together else np.full(subjects, good)
    subject = np.repeat(np.arange(subjects), sizes)
    return (rng.random(len(subject)) < own[subject]).astype(float), subject


def coverage(measure, good, subjects, together=False):
    """How often the difference of two equal arms, one of them small, is not told from 0."""
    rng = np.random.default_rng(3)
    arms = [[measure(*rated(rng, n, good, together)) for n in (1000, subjects)] for _ in range(300)]
    return np.mean([difference(*pair).covers(0.0) for pair in arms])


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(("good", "subjects"), [(0.5, 30), (0.9, 60), (0.98, 30), (0.98, 150)])
def test_a_few_equal_answers_prove_little(good, subjects, together):
    assert coverage(share, good, subjects, together) > 0.92


def test_without_that_rare_faults_are_claimed_to_be_none():
    assert coverage(mean, 0.98, 30) < 0.6


def test_a_share_stays_a_share_and_graded_ones_keep_their_precision():
    all_good = share(np.ones(2), np.arange(2))
    assert (all_good.value, all_good.high) == (1.0, 1.0)
    assert 0.0 <= all_good.low < 0.5
    graded = np.random.default_rng(0).normal(0.8, 0.1, 2000)
    assert share(graded, np.arange(2000)).se < 1.5 * mean(graded, np.arange(2000)).se
    assert math.isnan(share(np.ones(3), np.zeros(3, dtype=int)).se)
