import numpy as np
import pytest

from training.ope.intervals import degrees_of_freedom, mean_interval, of_a_share


def test_without_clusters_it_is_the_interval_of_a_mean():
    phi = np.random.default_rng(0).normal(size=500)
    found = mean_interval(phi)
    assert found.se == pytest.approx(phi.std(ddof=1) / np.sqrt(500))
    assert found.ci_high - found.policy_value == pytest.approx(1.965 * found.se, rel=0.01)
    assert (found.n, found.ess) == (500, 500)


def test_clusters_add_their_rows():
    phi, cluster = np.array([1.0, 1.0, 0.0, 0.0]), np.array([7, 7, 3, 3])
    assert mean_interval(phi, cluster).se == pytest.approx(np.sqrt(2 / 1 * (1.0 + 1.0)) / 4)


def test_one_cluster_says_nothing_of_the_error():
    found = mean_interval(np.array([0.1, 0.9]), np.array([1, 1]))
    assert (found.ci_low, found.ci_high) == (-np.inf, np.inf)
    assert np.isnan(found.se)


def test_few_heavy_rows_widen_the_interval():
    heavy = np.zeros(1000)
    heavy[:4] = 100.0
    assert degrees_of_freedom(heavy - heavy.mean()) < 10
    assert degrees_of_freedom(np.random.default_rng(0).normal(size=1000)) > 500


def test_constant_values_have_no_error():
    found = mean_interval(np.full(10, 0.25))
    assert (found.se, found.ci_low, found.ci_high) == (0.0, 0.25, 0.25)


def test_equal_answers_of_a_share_are_not_certain_and_spread_ones_stay_as_they_are():
    alike = mean_interval(np.ones(46))
    held = of_a_share(alike, 0.95)
    assert held.policy_value == 1.0
    assert held.se == pytest.approx(np.sqrt(2 * 0.96**2 + 2 * 0.04**2) / 50)
    assert held.ci_low == pytest.approx(1 - 1.96 * held.se, abs=1e-4)
    spread = mean_interval(np.repeat([1.0, 0.0], [40, 6]))
    assert of_a_share(spread, 0.95) == spread
