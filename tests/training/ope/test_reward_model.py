import numpy as np
import pytest

from router_runtime.errors import TooFewRows
from tests.training.ope.bandits import Bandit
from training.ope.estimators import BanditLog
from training.ope.reward_model import Ridge, assign_folds, crossfit, crossfit_ridge

BANDIT = Bandit.make()


def test_folds_keep_groups_together_and_are_even():
    group = np.repeat(np.arange(50), 3)
    fold = assign_folds(group, 5, seed=0)
    assert all(len(set(fold[group == g])) == 1 for g in range(50))
    assert np.bincount(fold).tolist() == [30] * 5
    assert (assign_folds(group, 5, seed=0) == fold).all()


def test_too_few_groups_for_the_folds():
    with pytest.raises(TooFewRows, match=r"holds 2 sessions.* takes 5"):
        assign_folds(np.array(["a", "b", "b"]), 5, seed=0)


def test_no_row_predicts_itself():
    log, rows = BANDIT.draw(BANDIT.epsilon(0.8), 400, seed=0)
    fold = assign_folds(rows, 5, seed=0)
    changed = BanditLog(log.action, np.where(fold == 2, 1 - log.reward, log.reward), log.pscore)
    features = BANDIT.features[rows]
    one_scale = Ridge(scales=(1.0,))
    before = crossfit_ridge(features, log, fold, 4, ridge=one_scale)
    after = crossfit_ridge(features, changed, fold, 4, ridge=one_scale)
    assert before[fold == 2] == pytest.approx(after[fold == 2], abs=1e-9)
    assert np.abs(before[fold != 2] - after[fold != 2]).max() > 1e-3


def test_ridge_learns_what_there_is_to_learn():
    log, rows = BANDIT.draw(BANDIT.epsilon(1.0), 8000, seed=1)
    q_hat = crossfit_ridge(BANDIT.features[rows], log, assign_folds(rows, 5, 0), 4)
    means = BANDIT.means[rows]
    assert ((q_hat - means) ** 2).mean() < 0.1 * ((means - means.mean()) ** 2).mean()


def test_noise_is_shrunk_to_the_models_means():
    rng = np.random.default_rng(2)
    log, rows = BANDIT.draw(BANDIT.epsilon(1.0), 300, seed=2)
    q_hat = crossfit_ridge(rng.normal(size=(300, 40)), log, assign_folds(rows, 5, 0), 4)
    assert q_hat.std(axis=0).max() < 0.06


def test_an_earlier_prediction_helps():
    log, rows = BANDIT.draw(BANDIT.epsilon(1.0), 1000, seed=3)
    fold, nothing = assign_folds(rows, 5, 0), np.zeros((1000, 1))
    without = crossfit_ridge(nothing, log, fold, 4)
    told = crossfit_ridge(nothing, log, fold, 4, prior=BANDIT.means[rows])
    means = BANDIT.means[rows]
    assert ((told - means) ** 2).mean() < 0.5 * ((without - means) ** 2).mean()


def test_a_good_prediction_is_kept_where_the_log_is_too_short_to_better_it():
    log, rows = BANDIT.draw(BANDIT.epsilon(1.0), 200, seed=4)
    means = BANDIT.means[rows]
    told = means.copy()
    told[:, 3] = np.nan  # nothing is said of the last model: its mean stands in
    q_hat = crossfit_ridge(np.zeros((200, 1)), log, assign_folds(rows, 5, 0), 4, prior=told)
    assert np.abs(q_hat[:, :3] - means[:, :3]).mean() < 0.05
    assert np.isfinite(q_hat).all()


def test_any_learner_can_be_cross_fitted():
    reward, fold = np.array([0.0, 1.0, 1.0, 1.0]), np.array([0, 0, 1, 1])

    def mean_of_the_others(train):
        return lambda rows: np.full((rows.sum(), 2), reward[train].mean())

    assert crossfit(mean_of_the_others, fold, 2)[:, 0].tolist() == [1.0, 1.0, 0.5, 0.5]
