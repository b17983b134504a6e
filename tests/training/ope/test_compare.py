import numpy as np
import pytest

from tests.training.ope.bandits import Bandit
from training.ope.compare import compare, compare_segments
from training.ope.reward_model import assign_folds, crossfit_ridge

BANDIT = Bandit.make()


def drawn(seed, n=2000):
    log, rows = BANDIT.draw(BANDIT.epsilon(0.4), n, seed)
    return log, rows, crossfit_ridge(BANDIT.features[rows], log, assign_folds(rows, 5, seed), 4)


def test_a_policy_does_not_differ_from_itself():
    log, rows, q_hat = drawn(0)
    found = compare(BANDIT.greedy()[rows], BANDIT.greedy()[rows], log, q_hat)
    assert (found.difference.policy_value, found.difference.se) == (0.0, 0.0)


def test_swapping_the_policies_turns_the_sign():
    log, rows, q_hat = drawn(1)
    first, second = BANDIT.greedy()[rows], BANDIT.epsilon(0.4)[rows]
    there, back = compare(first, second, log, q_hat).difference, compare(second, first, log, q_hat).difference
    assert (there.policy_value, there.ci_low) == pytest.approx((-back.policy_value, -back.ci_high))


def test_paired_intervals_are_narrower_and_cover():
    greedy = BANDIT.greedy()
    near = greedy.copy()
    near[::5] = np.roll(greedy[::5], 1, axis=1)
    truth, hits = BANDIT.value(greedy) - BANDIT.value(near), 0
    for seed in range(60):
        log, rows, q_hat = drawn(seed)
        found = compare(greedy[rows], near[rows], log, q_hat)
        hits += found.difference.covers(truth)
        assert found.difference.se < np.hypot(found.first.se, found.second.se)
    assert hits / 60 >= 0.88


def test_a_useless_reward_model_does_not_widen_a_difference():
    log, rows, _ = drawn(2)
    noise = np.random.default_rng(0).random((len(rows), 4))
    first, second = BANDIT.greedy()[rows], BANDIT.epsilon(0.4)[rows]
    plain = compare(first, second, log, noise, name="snips").difference
    assert compare(first, second, log, noise).difference.se < 1.02 * plain.se
    assert compare(first, second, log, noise, name="sndr").difference.se > 1.02 * plain.se


def test_segments_share_one_level():
    log, rows, q_hat = drawn(3)
    half = BANDIT.features[rows, 0] > 0
    policy, other = BANDIT.greedy()[rows], BANDIT.epsilon(0.4)[rows]
    one = compare_segments(policy, other, log, q_hat, {"a": half})["a"]
    two = compare_segments(policy, other, log, q_hat, {"a": half, "b": ~half, "none": np.zeros(len(half), bool)})
    assert set(two) == {"a", "b"}
    assert two["a"].ci_high - two["a"].ci_low > one.ci_high - one.ci_low
    assert two["a"].policy_value == pytest.approx(one.policy_value)


def test_the_sample_of_a_difference_is_where_the_policies_differ():
    log, rows, q_hat = drawn(4)
    greedy = BANDIT.greedy()[rows]
    near = greedy.copy()
    near[:20] = np.roll(greedy[:20], 1, axis=1)
    far = np.roll(greedy, 1, axis=1)
    assert compare(greedy, greedy, log, q_hat).difference.ess == 0
    assert compare(greedy, near, log, q_hat).difference.ess < 20
    assert compare(greedy, far, log, q_hat).difference.ess > 200
