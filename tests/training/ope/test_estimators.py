import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_runtime.errors import DataError
from tests.training.ope.bandits import Bandit
from training.ope.estimators import (
    ESTIMATORS,
    BanditLog,
    dm,
    dr,
    dr_os,
    effective_sample_size,
    estimate,
    importance_weights,
    ips,
    sndr,
    snips,
    switch_dr,
)
from training.ope.reward_model import assign_folds, crossfit_ridge

LOG = BanditLog(action=np.array([0, 1, 1]), reward=np.array([1.0, 0.0, 1.0]), pscore=np.array([0.5, 0.25, 1.0]))
POLICY = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])  # weights 2, 2, 1
Q_HAT = np.array([[0.6, 0.2], [0.4, 0.8], [0.1, 0.5]])


def test_formulas_by_hand():
    assert importance_weights(POLICY, LOG).tolist() == [2.0, 2.0, 1.0]
    assert dm(POLICY, LOG, Q_HAT) == pytest.approx([0.6, 0.6, 0.5])
    assert ips(POLICY, LOG, Q_HAT) == pytest.approx([2.0, 0.0, 1.0])
    assert snips(POLICY, LOG, Q_HAT).mean() == pytest.approx(3 / 5)
    assert dr(POLICY, LOG, Q_HAT) == pytest.approx([0.6 + 2 * 0.4, 0.6 - 2 * 0.8, 0.5 + 0.5])
    assert sndr(POLICY, LOG, Q_HAT).mean() == pytest.approx(1.7 / 3 + (0.8 - 1.6 + 0.5) / 5)
    assert switch_dr(POLICY, LOG, Q_HAT, tau=1.5) == pytest.approx([0.6, 0.6, 1.0])
    shrunk = [4 * 2 / (4 + 4), 4 * 2 / (4 + 4), 4 / 5]
    assert dr_os(POLICY, LOG, Q_HAT, lam=4.0) == pytest.approx(
        [0.6 + shrunk[0] * 0.4, 0.6 - shrunk[1] * 0.8, 0.5 + shrunk[2] * 0.5]
    )
    assert effective_sample_size(np.array([2.0, 2.0, 1.0])) == pytest.approx(25 / 9)


def test_a_useless_reward_model_counts_for_nothing():
    rng = np.random.default_rng(0)
    bandit = Bandit.make()
    log, rows = bandit.draw(bandit.epsilon(0.6), 4000, 0)
    policy, truth = bandit.greedy()[rows], bandit.means[rows]
    dull, noise = np.full((4000, 4), 0.3), rng.random((4000, 4))
    plain = estimate("snips", policy, log, dull)
    assert estimate("cdr", policy, log, dull).policy_value == pytest.approx(plain.policy_value)
    assert estimate("cdr", policy, log, noise).se < 1.02 * plain.se < estimate("sndr", policy, log, noise).se
    good, twice = (estimate("cdr", policy, log, q_hat) for q_hat in (truth, 0.5 + 2 * (truth - 0.5)))
    assert good.se < 0.97 * plain.se
    assert twice.policy_value == pytest.approx(good.policy_value, abs=1e-9)  # β takes the scale out
    assert twice.se == pytest.approx(good.se)


def test_snips_variance_holds_the_denominators():
    weights, value = np.array([2.0, 2.0, 1.0]), 0.6
    by_formula = (weights**2 * (LOG.reward - value) ** 2).sum() / weights.sum() ** 2
    assert estimate("snips", POLICY, LOG, Q_HAT).se ** 2 == pytest.approx(by_formula * 3 / 2)


def test_missing_rewards_need_a_label_weight_of_zero():
    log = BanditLog(LOG.action, np.array([1.0, np.nan, 1.0]), LOG.pscore, label_weight=np.array([1.5, 0.0, 1.5]))
    assert dr(POLICY, log, Q_HAT) == pytest.approx([0.6 + 3 * 0.4, 0.6, 0.5 + 1.5 * 0.5])
    with pytest.raises(DataError, match="row 1: the reward is not finite"):
        BanditLog(LOG.action, np.array([1.0, np.nan, 1.0]), LOG.pscore)


@pytest.mark.parametrize("pscore", [0.0, -0.1, 1.5, np.nan])
def test_impossible_propensities_are_refused(pscore):
    with pytest.raises(DataError, match="row 2: propensity"):
        BanditLog(LOG.action, LOG.reward, np.array([0.5, 0.5, pscore]))


def test_shapes_are_checked():
    with pytest.raises(DataError, match="one length"):
        BanditLog(LOG.action, LOG.reward[:2], LOG.pscore)
    with pytest.raises(DataError, match="action_dist"):
        importance_weights(POLICY[:2], LOG)


def _simulate(seeds, n, epsilon, session=1):
    """Errors and hits of each estimator: {name: [seeds, 2]}."""
    bandit = Bandit.make()
    policy, logging = bandit.greedy(), bandit.epsilon(epsilon)
    truth = bandit.value(policy)
    found = {name: [] for name in ESTIMATORS}
    for seed in range(seeds):
        log, rows = bandit.draw(logging, n, seed, session)
        q_hat = crossfit_ridge(bandit.features[rows], log, assign_folds(rows, 5, seed), 4)
        for name in ESTIMATORS:
            one = estimate(name, policy[rows], log, q_hat)
            found[name].append((one.policy_value - truth, one.covers(truth)))
    return {name: np.array(values, dtype=float) for name, values in found.items()}


def test_bias_within_three_standard_errors_and_coverage():
    seeds = 150
    found = _simulate(seeds, n=1500, epsilon=0.4)
    for name in ("ips", "snips", "dr", "sndr", "cdr"):
        errors, hits = found[name].T
        assert abs(errors.mean()) < 3 * errors.std() / np.sqrt(seeds), name
        assert 0.90 <= hits.mean() <= 0.99, name
    rmse = {name: float(np.sqrt((values[:, 0] ** 2).mean())) for name, values in found.items()}
    assert rmse["sndr"] < rmse["snips"] < rmse["ips"]
    assert rmse["cdr"] <= 1.01 * rmse["sndr"]
    assert rmse["dr"] < rmse["ips"]
    assert found["dm"][:, 1].mean() < 0.8  # its interval does not know the error of q̂


def test_sessions_of_copies_are_not_evidence():
    clustered = _simulate(60, n=1600, epsilon=0.5, session=4)["dr"]
    assert clustered[:, 1].mean() >= 0.88
    bandit = Bandit.make()
    log, rows = bandit.draw(bandit.epsilon(0.5), 1600, seed=0, session=4)
    alone = BanditLog(log.action, log.reward, log.pscore)
    q_hat = np.full((1600, 4), 0.5)
    policy = bandit.greedy()[rows]
    ratio = estimate("dr", policy, log, q_hat).se / estimate("dr", policy, alone, q_hat).se
    assert ratio == pytest.approx(2.0, rel=0.02)  # √4 copies


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-3, 3), scale=st.floats(0.1, 5))
def test_estimators_follow_the_unit_of_the_reward(seed, shift, scale):
    rng = np.random.default_rng(seed)
    n, actions = 40, 3
    policy, logging = rng.dirichlet(np.ones(actions), n), rng.dirichlet(np.ones(actions), n)
    action = rng.integers(0, actions, n)
    reward, q_hat = rng.random(n), rng.random((n, actions))
    log = BanditLog(action, reward, logging[np.arange(n), action])
    moved = BanditLog(action, shift + scale * reward, log.pscore)
    order = rng.permutation(n)
    shuffled = BanditLog(action[order], reward[order], log.pscore[order])
    for name in ("dm", "snips", "dr", "sndr", "cdr"):
        base = estimate(name, policy, log, q_hat)
        again = estimate(name, policy, moved, shift + scale * q_hat)
        assert again.policy_value == pytest.approx(shift + scale * base.policy_value, abs=1e-6)
        assert again.se == pytest.approx(scale * base.se, rel=1e-6, abs=1e-9)
        mixed = estimate(name, policy[order], shuffled, q_hat[order])
        assert (mixed.policy_value, mixed.se) == pytest.approx((base.policy_value, base.se), abs=1e-9)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_on_its_own_log_a_policy_earns_the_mean_reward(seed):
    rng = np.random.default_rng(seed)
    logging = rng.dirichlet(np.ones(3), 30)
    action = rng.integers(0, 3, 30)
    log = BanditLog(action, rng.random(30), logging[np.arange(30), action])
    assert ips(logging, log, np.zeros((30, 3))).mean() == pytest.approx(log.reward.mean())
    assert snips(logging, log, np.zeros((30, 3))).mean() == pytest.approx(log.reward.mean())
