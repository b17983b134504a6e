import numpy as np
import pytest

from training.ope.intervals import degrees_of_freedom, mean_interval


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
