"""The centred objective: its gradients, and that trees under it learn differences and still export exactly."""

import lightgbm as lgb
import numpy as np
import pytest

from training.centred_loss import centred_cross_entropy, centred_error
from training.quality_head import TreeConfig
from training.trees import convertible, tree_attributes

QUIET = {"num_leaves": 7, "min_data_in_leaf": 20, "learning_rate": 0.1, "num_threads": 1, "verbose": -1, "seed": 1}


class Labels:
    def __init__(self, label, weight=None):
        self.label, self.weight = np.array(label, dtype=float), weight

    def get_label(self):
        return self.label

    def get_weight(self):
        return self.weight


def world(n=3000, seed=0):
    """Two candidates per prompt: column 0 moves both alike and strongly, column 1 tells them apart a little."""
    rng = np.random.default_rng(seed)
    hard, taste = rng.normal(size=(2, n))
    side = np.array([1.0, -1.0])
    own = (taste[:, None] * side).ravel()
    rows = np.stack([np.repeat(hard, 2), own], axis=1).astype(np.float32)
    truth = 1 / (1 + np.exp(-(2.5 * hard[:, None] + 0.5 * taste[:, None] * side)))
    labels = (rng.random((n, 2)) < truth).astype(float).ravel()
    return rows, labels, np.repeat(np.arange(n), 2), truth


def test_no_centring_is_plain_cross_entropy():
    raw = np.array([0.0, 2.0, -1.0])
    gradient, curvature = centred_cross_entropy(np.array([0, 0, 1]), 0.0)(raw, Labels([1, 0, 0.25]))
    p = 1 / (1 + np.exp(-raw))
    np.testing.assert_allclose(gradient, p - [1, 0, 0.25])
    np.testing.assert_allclose(curvature, p * (1 - p))


def test_full_centring_leaves_nothing_that_is_shared():
    gradient, _ = centred_cross_entropy(np.array([0, 0, 0, 1, 1]), 1.0)(np.zeros(5), Labels([1, 0, 1, 0, 0]))
    assert gradient[:3].sum() == pytest.approx(0)
    np.testing.assert_allclose(gradient[3:], 0, atol=1e-12)


def test_a_prompt_with_one_row_keeps_its_gradient():
    gradient, _ = centred_cross_entropy(np.array([0, 1, 2]), 1.0)(np.zeros(3), Labels([1, 0, 0.5]))
    np.testing.assert_allclose(gradient, [-0.5, 0.5, 0.0])


def test_weights_scale_gradients_and_rows_of_weight_zero_do_not_count():
    prompts = np.array([0, 0, 0])
    weighted, curvature = centred_cross_entropy(prompts, 1.0)(np.zeros(3), Labels([1, 0, 1], [2.0, 2.0, 0.0]))
    alone, _ = centred_cross_entropy(prompts[:2], 1.0)(np.zeros(2), Labels([1, 0]))
    np.testing.assert_allclose(weighted, [*(2 * alone), 0.0])
    assert curvature[2] == 0


def test_extreme_scores_stay_finite():
    gradient, curvature = centred_cross_entropy(np.array([0, 0]))(np.array([1e9, -1e9]), Labels([0, 1]))
    assert np.isfinite(gradient).all()
    assert (curvature > 0).all()


def difference_learnt(centring, rows, labels, prompts, rounds=10):
    """Correlation of the raw scores' difference between the candidates with what truly tells them apart."""
    settings = QUIET | {"objective": centred_cross_entropy(prompts, centring)}
    booster = lgb.train(settings, lgb.Dataset(rows, labels, params={"verbose": -1}), rounds)
    raw = booster.predict(rows, raw_score=True).reshape(-1, 2)
    return float(np.corrcoef(raw[:, 0] - raw[:, 1], rows[::2, 1])[0, 1])


def test_few_trees_learn_more_of_the_differences():
    rows, labels, prompts, _ = world()
    assert difference_learnt(1.0, rows, labels, prompts) > difference_learnt(0.0, rows, labels, prompts) + 0.1


def test_a_booster_under_it_can_be_converted_and_keeps_its_scores():
    rows, labels, prompts, _ = world(400)
    settings = QUIET | {"objective": centred_cross_entropy(prompts)}
    booster = lgb.train(settings, lgb.Dataset(rows, labels, params={"verbose": -1}), 10)
    kept = convertible(booster)
    np.testing.assert_allclose(
        kept.predict(rows, raw_score=True), booster.predict(rows, raw_score=True), rtol=0, atol=1e-12
    )
    assert len(set(tree_attributes(booster)["nodes_treeids"])) == 10


def test_the_error_forgives_what_a_prompts_rows_share_and_nothing_else():
    prompts, label = np.array([0, 0, 1, 1, 2]), np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    shared = np.zeros(5)  # every probability is ½
    assert centred_error(shared, label, prompts, 0.0) == pytest.approx(0.25)
    # Prompt 0's errors differ and stay; prompt 1's are the same and go; prompt 2 has one row and keeps its error.
    assert centred_error(shared, label, prompts, 1.0) == pytest.approx(3 * 0.25 / 5)


def test_half_and_a_quarter_of_the_trees_are_offered():
    assert TreeConfig(rounds=100).offered == (25, 50, 100)
    assert TreeConfig(rounds=1).offered == (1,)
    assert TreeConfig(rounds=0).offered == (0,)
