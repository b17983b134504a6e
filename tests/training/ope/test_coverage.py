"""What the headline estimator promises, over hundreds of logs: its interval covers, and it errs no more than SNIPS."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.ope.bandits import Bandit
from training.ope.compare import HEADLINE, compare
from training.ope.estimators import estimate
from training.ope.reward_model import assign_folds, crossfit_ridge

SEEDS = 400
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("n", "epsilon"), [(1000, 1.0), (2000, 0.4)])
def test_the_headline_covers_and_errs_no_more_than_snips(n, epsilon):
    bandit = Bandit.make()
    policy, logging = bandit.greedy(), bandit.epsilon(epsilon)
    truth, errors, hits = bandit.value(policy), {HEADLINE: [], "snips": [], "ips": []}, 0
    for seed in range(SEEDS):
        log, rows = bandit.draw(logging, n, seed)
        noisy = np.clip(bandit.means[rows] + np.random.default_rng(seed).normal(scale=0.2, size=(n, 4)), 0, 1)
        q_hat = crossfit_ridge(bandit.features[rows], log, assign_folds(rows, 5, seed), 4, prior=noisy)
        for name, found in errors.items():
            one = estimate(name, policy[rows], log, q_hat)
            found.append(one.policy_value - truth)
            hits += one.covers(truth) if name == HEADLINE else 0
    rmse = {name: float(np.sqrt(np.square(found).mean())) for name, found in errors.items()}
    assert rmse[HEADLINE] <= rmse["snips"]
    assert rmse[HEADLINE] <= rmse["ips"]
    assert 0.925 <= hits / SEEDS <= 0.98


def test_the_interval_of_a_difference_covers():
    bandit = Bandit.make()
    greedy = bandit.greedy()
    near = greedy.copy()
    near[::5] = np.roll(greedy[::5], 1, axis=1)
    truth, hits = bandit.value(greedy) - bandit.value(near), 0
    for seed in range(SEEDS):
        log, rows = bandit.draw(bandit.epsilon(0.6), 2000, seed)
        q_hat = crossfit_ridge(bandit.features[rows], log, assign_folds(rows, 5, seed), 4)
        hits += compare(greedy[rows], near[rows], log, q_hat).difference.covers(truth)
    assert 0.925 <= hits / SEEDS <= 0.98
