from dataclasses import replace

import numpy as np
import pytest

from router_runtime.errors import DataError
from router_runtime.policy_settings import PolicySettings
from tests.training.graph_examples import linear_parts
from tests.training.ope.logged_examples import BANDIT, PRICES, logged
from training.feature_matrix import RepeatedFeatures, featurise
from training.ope.decisions import label_weights
from training.ope.prompt_features import prompt_features
from training.ope.replay import predicted_quality, replay
from training.served import served_parts


def test_a_distribution_that_is_none_is_refused():
    log, _ = logged(BANDIT.epsilon(0.5), 50, seed=0)
    with pytest.raises(DataError, match=r"decision 0: the action distribution sums to 0\.9"):
        replace(log, logging_dist=log.logging_dist * 0.9)
    other = log.pscore.copy()
    other[7] /= 2
    with pytest.raises(DataError, match="decision 7: propensity"):
        replace(log, pscore=other)
    with pytest.raises(DataError, match="no decision"):
        replace(log, action=log.action[:0])


def test_label_weights_undo_what_is_missing_by_model():
    action = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    labelled = np.array([True, False, False, False, True, True, True, True])
    weights = label_weights(labelled, action, 2)
    assert (weights[~labelled] == 0).all()
    assert weights[0] > 2 * weights[4] > 1.9
    with pytest.raises(DataError, match="nothing can be evaluated"):
        label_weights(np.zeros(8, dtype=bool), action, 2)


def test_features_are_few_centred_and_hold_the_structural_numbers():
    log, _ = logged(BANDIT.epsilon(0.5), 300, seed=0)
    found = prompt_features(log.features)
    assert found.shape == (300, 26)  # two structural numbers vary, and the sketch of the words
    assert found.mean(axis=0) == pytest.approx(0, abs=1e-6)
    assert (np.diff(found.std(axis=0)) <= 1e-9).all()
    assert (found == prompt_features(log.features)).all()
    first = np.array([one.structural[0] for one in log.features])
    residual = first - first.mean() - found @ np.linalg.lstsq(found, first - first.mean(), rcond=None)[0]
    assert residual.std() < 1e-6 * first.std()


def test_numbers_of_repeated_requests_are_those_of_requests_on_their_own():
    distinct = featurise([f"question {word} about {word * 3}" for word in ("cats", "trees", "sums", "rhyme")])
    code = np.random.default_rng(0).integers(0, 4, 50)
    repeated = RepeatedFeatures(distinct, code)
    np.testing.assert_array_equal(prompt_features(repeated), prompt_features(repeated.packed()))


def test_replay_is_the_policy_that_serves():
    log, _ = logged(BANDIT.epsilon(0.5), 40, seed=0)
    settings = PolicySettings(strategy="balanced", trade_off=0.5, answer_value_usd=0.01)
    quality = log.predicted_quality
    found = replay(log, quality, settings)
    by_hand = (0.5 * quality - 0.5 / 0.01 * PRICES).argmax(axis=1)
    assert (found.argmax(axis=1) == by_hand).all()
    assert (found.sum(axis=1) == 1).all()


def test_replayed_thompson_is_as_unsure_as_its_labels_are_few():
    log, _ = logged(BANDIT.epsilon(0.5), 40, seed=0)
    settings = PolicySettings(exploration="thompson", trade_off=1.0, quality_floor=0.0)
    sure, unsure = (replay(log, log.predicted_quality, settings, np.full(4, labels)) for labels in (1e15, 0.0))
    best = log.predicted_quality.max(axis=1)
    np.testing.assert_allclose((sure * log.predicted_quality).sum(axis=1), best, atol=1e-6)
    assert unsure.max(axis=1).mean() < 0.8
    assert replay(log, log.predicted_quality, settings).max(axis=1).mean() > unsure.max(axis=1).mean()


def test_replay_never_takes_what_was_not_eligible():
    log, _ = logged(BANDIT.epsilon(0.5), 40, seed=0)
    quality = np.tile([0.1, 0.2, 0.3, 0.9], (40, 1))
    best = replay(log, quality, PolicySettings(trade_off=1.0))
    assert (best[:, 3] == 1).all()
    eligible = log.eligible.copy()
    eligible[:, 3] = False
    logging = np.tile([1.0, 0.0, 0.0, 0.0], (40, 1))
    smaller = replace(log, eligible=eligible, logging_dist=logging, action=np.zeros(40, dtype=int), pscore=np.ones(40))
    assert (replay(smaller, quality, PolicySettings(trade_off=1.0))[:, 2] == 1).all()


def test_unknown_costs_are_not_free():
    log, _ = logged(BANDIT.epsilon(0.5), 40, seed=0)
    cost = log.predicted_cost.copy()
    cost[:, 3] = np.nan
    found = replay(replace(log, predicted_cost=cost), np.full((40, 4), 0.5), PolicySettings(trade_off=0.5))
    assert (found[:, 0] == 1).all()


def test_models_that_the_bundle_does_not_know_take_the_logged_prediction():
    log, _ = logged(BANDIT.epsilon(0.5), 30, seed=0)
    parts = replace(linear_parts(2, 2), models=("tiny", "small"))
    low, high = log.predicted_quality.copy(), log.predicted_quality.copy()
    low[:, 3], high[:, 3] = 0.1, 0.9
    quality_low = predicted_quality(served_parts(parts), replace(log, predicted_quality=low))
    quality_high = predicted_quality(served_parts(parts), replace(log, predicted_quality=high))
    assert quality_low.shape == (30, 4)
    assert (quality_low[:, 3] < quality_high[:, 3]).all()
    assert (quality_low[:, :2] == quality_high[:, :2]).all()
