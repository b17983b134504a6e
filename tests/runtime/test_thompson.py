"""Thompson sampling: the shares are those of sampling, for every strategy, and what they rest on."""

from __future__ import annotations

import numpy as np
import pytest

from router_runtime.errors import ConfigError
from router_runtime.policy import action_dist, doubt, scores
from router_runtime.policy_settings import PolicySettings
from router_runtime.thompson import Doubt, best_shares, normal_cdf, posterior_sd

QUALITY = np.array([0.62, 0.7, 0.66, 0.55])
COST = np.array([0.0005, 0.02, 0.004, 0.0001])
EVIDENCE = np.array([4000.0, 300.0, 0.0, 900.0])


def config(strategy, **changes):
    return PolicySettings(strategy=strategy, exploration="thompson", quality_floor=0.0, quality_target=0.6, **changes)


def shares(quality, cost, settings, evidence, mask=None, health=None, weights=None):
    score = scores(quality, cost, None, mask, health, settings, weights)
    belief = doubt(score, quality, cost, health, settings, weights, evidence)
    return action_dist(score, mask, settings, quality, belief)


@pytest.mark.parametrize("strategy", ["balanced", "cost-first", "capability-first", "static"])
def test_shares_are_how_often_a_sample_is_best(strategy):
    settings, weights = config(strategy), np.array([0.2, 0.0, 0.2, 0.5])
    health = np.array([1.0, 0.9, 1.0, 0.8])
    dist = shares(QUALITY, COST, settings, EVIDENCE, health=health, weights=weights)
    rng, n = np.random.default_rng(0), 60_000
    sampled = QUALITY + posterior_sd(QUALITY, EVIDENCE) * rng.normal(size=(n, 4))
    drawn = scores(sampled, COST, None, None, health, settings, weights).argmax(axis=1)
    found = np.bincount(drawn, minlength=4) / n
    np.testing.assert_allclose(dist, found, atol=0.012)


def test_more_labels_mean_less_exploration_and_none_is_the_most():
    settings = config("balanced", trade_off=1.0)
    few, many = (shares(QUALITY, COST, settings, np.full(4, labels)) for labels in (100.0, 1e7))
    assert many[1] > 0.999
    assert few[1] < 0.6
    unknown = shares(QUALITY, COST, settings, np.array([1e6, 1e6, 0.0, 1e6]))
    assert unknown[2] > 0.3


def test_only_eligible_candidates_above_the_floor_are_tried():
    settings = PolicySettings(exploration="thompson", quality_floor=0.6, trade_off=1.0)
    dist = shares(QUALITY, COST, settings, np.zeros(4), mask=np.array([True, True, False, True]))
    assert dist[2] == dist[3] == 0
    assert dist.sum() == pytest.approx(1)
    assert shares(QUALITY, COST, settings, np.zeros(4), mask=np.zeros(4, bool)).sum() == 0


def test_a_certain_candidate_is_chosen_for_certain():
    quality = np.array([1.0, 0.0])
    np.testing.assert_allclose(shares(quality, COST[:2], config("balanced"), np.zeros(2)), [1.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("strategy", ["balanced", "cost-first", "capability-first", "static"])
def test_rows_do_not_depend_on_their_batch(strategy):
    rng = np.random.default_rng(1)
    quality, cost, mask = rng.random((6, 5)), rng.random((6, 5)) * 0.02, rng.random((6, 5)) < 0.7
    settings, evidence = config(strategy), rng.integers(0, 2000, 5).astype(float)
    dist = shares(quality, cost, settings, evidence, mask)
    np.testing.assert_allclose(dist.sum(axis=1), mask.any(axis=1), atol=1e-12)
    assert (dist[~mask] == 0).all()
    for row in range(6):
        one = shares(quality[row], cost[row], settings, evidence, mask[row])
        np.testing.assert_allclose(one, dist[row], atol=1e-12)


def test_equal_candidates_share_evenly():
    belief = Doubt(np.full(3, 0.5), np.full(3, 0.1))
    np.testing.assert_allclose(best_shares(belief, np.ones(3, bool)), 1 / 3)
    same_price = Doubt(np.full(3, 0.9), np.full(3, 0.01), np.full(3, 1.5), 0.6)
    np.testing.assert_allclose(best_shares(same_price, np.ones(3, bool)).sum(), 1)


def test_without_a_belief_it_cannot_explore():
    with pytest.raises(ConfigError, match="belief"):
        action_dist(np.zeros(2), None, config("balanced"), np.ones(2))


def test_the_normal_distribution_function():
    z = np.array([-8.0, -1.96, -0.5, 0.0, 0.5, 1.96, 8.0])
    known = [0.0, 0.0249979, 0.3085375, 0.5, 0.6914625, 0.9750021, 1.0]
    np.testing.assert_allclose(normal_cdf(z), known, atol=2e-7)
