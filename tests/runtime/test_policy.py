import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_runtime import policy
from router_runtime.errors import ConfigError
from router_runtime.policy import action_dist, doubt, draw, scores
from router_runtime.policy_settings import PolicySettings

Q = np.array([0.95, 0.85, 0.6])
COST = np.array([0.05, 0.01, 0.001])


def ranked(**changes):
    weights = changes.pop("weights", None)
    health = changes.pop("health", None)
    score = scores(Q, COST, None, None, health, PolicySettings(**changes), weights)
    return np.argsort(-score).tolist()


def test_cost_first_takes_the_cheapest_that_is_good_enough():
    assert ranked(strategy="cost-first", quality_target=0.8) == [1, 0, 2]
    assert ranked(strategy="cost-first", quality_target=0.5) == [2, 1, 0]


def test_cost_first_takes_the_best_where_none_is_good_enough():
    assert ranked(strategy="cost-first", quality_target=0.99)[0] == 0


def test_balanced_goes_from_the_cheapest_to_the_best_as_the_trade_off_rises():
    choices = [ranked(strategy="balanced", trade_off=t)[0] for t in (0.0, 0.2, 0.9, 1.0)]
    assert choices == sorted(choices, reverse=True)
    assert (choices[0], choices[-1]) == (2, 0)


def test_balanced_counts_latency_where_it_is_known():
    latency = np.array([np.nan, 20_000.0, 0.0])
    score = scores(np.full(3, 0.5), np.zeros(3), latency, None, None, PolicySettings(latency_weight=0.5))
    assert score.tolist() == [0.25, -0.75, 0.25]


def test_capability_first_prefers_the_labels_models():
    assert ranked(strategy="capability-first", weights=np.array([0.0, 0.0, 1.0]))[0] == 2
    assert ranked(strategy="capability-first")[0] == 0


def test_static_follows_the_table_alone():
    assert ranked(strategy="static", weights=np.array([0.1, 0.2, 0.3])) == [2, 1, 0]


def test_an_unhealthy_model_falls_back_in_every_strategy():
    health = np.array([0.01, 1.0, 1.0])
    for strategy in ("cost-first", "capability-first", "balanced", "static"):
        settings_ = {"strategy": strategy, "quality_target": 0.9, "trade_off": 1.0}
        assert ranked(**settings_, health=health, weights=np.ones(3))[0] != 0


@pytest.mark.parametrize(
    "bad",
    [{"trade_off": 1.1}, {"epsilon": -0.1}, {"temperature": 0.0}, {"strategy": "cheap"}, {"trade_off": float("nan")}],
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ConfigError):
        PolicySettings(**bad)


def test_fingerprints_tell_settings_apart():
    assert PolicySettings().fingerprint == PolicySettings().fingerprint
    assert PolicySettings().fingerprint != PolicySettings(trade_off=0.6).fingerprint


cases = st.tuples(
    st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32 - 1), st.sampled_from(["none", "epsilon", "softmax"]),
    st.sampled_from(["cost-first", "capability-first", "balanced", "static"]), st.sampled_from([1e-6, 0.01, 1.0]),
)  # fmt: skip


@settings(max_examples=200)
@given(cases)
def test_distributions_sum_to_one_respect_the_mask_and_do_not_depend_on_the_batch(case):
    n, c, seed, exploration, strategy, temperature = case
    rng = np.random.default_rng(seed)
    config = PolicySettings(strategy=strategy, exploration=exploration, temperature=temperature, epsilon=0.2)
    quality, cost = rng.random((n, c)), rng.random((n, c)) * 10.0 ** rng.integers(-6, 3)
    mask = rng.random((n, c)) < 0.7
    latency, health, weights = rng.random((n, c)) * 1e4, rng.random((n, c)), rng.random((n, c))
    score = scores(quality, cost, latency, mask, health, config, weights)
    dist = action_dist(score, mask, config, quality)
    np.testing.assert_allclose(dist.sum(axis=-1), mask.any(axis=-1), atol=1e-9)
    assert (dist[~mask] == 0).all()
    assert (dist >= 0).all()
    for row in range(n):
        one = scores(quality[row], cost[row], latency[row], mask[row], health[row], config, weights[row])
        np.testing.assert_array_equal(action_dist(one, mask[row], config, quality[row]), dist[row])
    best = score.argmax(axis=-1)
    floor = quality >= config.quality_floor
    floor[np.arange(n), best] = True
    assert (dist[~floor] == 0).all()


@pytest.mark.parametrize("exploration", ["epsilon", "softmax", "thompson"])
def test_propensities_are_the_frequencies_of_the_draw(exploration):
    config = PolicySettings(exploration=exploration, epsilon=0.3, temperature=0.2, trade_off=1.0)
    score = scores(Q, COST, None, None, None, config)
    belief = doubt(score, Q, COST, None, config, None, np.array([100.0, 0.0, 1000.0]))
    dist = action_dist(score, None, config, Q, belief)
    assert (dist > 0).sum() > 1
    n = 40_000
    counts = np.bincount([draw(dist, seed) for seed in range(n)], minlength=3)
    standard_error = np.sqrt(dist * (1 - dist) / n)
    assert (np.abs(counts / n - dist) <= 4 * standard_error + 1e-12).all()


def test_a_draw_never_takes_what_has_no_probability():
    dist = np.array([0.0, 1.0, 0.0])
    assert {draw(dist, seed) for seed in range(1000)} == {1}
    assert draw(np.array([0.5, 0.5, 0.0]), 7) == draw(np.array([0.5, 0.5, 0.0]), 7)


def test_uniform_is_uniform():
    values = np.array([policy.uniform(seed) for seed in range(20_000)])
    assert 0 <= values.min() < 0.001
    assert 0.999 < values.max() < 1
    assert abs(values.mean() - 0.5) < 4 * np.sqrt(1 / 12 / len(values))
