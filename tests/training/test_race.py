"""Sweeps, bootstrap and comparisons on small races whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from training.bootstrap import draw_weights, group_codes, group_sums, interval
from training.race import Race, as_json, differences, estimates, plain_runners, runner, single_runners
from training.sweep import Field, Predicted, Truth, choose, sweep_choices


def race_truth(n: int = 400, seed: int = 0) -> Truth:
    """A cheap model that is good at even prompts, a dear one good at odd ones, and a dear one that is bad."""
    rng = np.random.default_rng(seed)
    even = np.arange(n) % 2 == 0
    chance = np.column_stack((np.where(even, 0.9, 0.2), np.where(even, 0.6, 0.95), np.full(n, 0.3)))
    quality = (rng.random((n, 3)) < chance).astype(float)
    cost = np.tile([1.0, 10.0, 20.0], (n, 1))
    groups = np.array([f"g{i // 2}" for i in range(n)])
    return Truth(quality, cost, groups, np.where(even, "even", "odd"), ("cheap", "dear", "bad"))


def knowing(truth: Truth) -> Predicted:
    even = truth.tasks == "even"
    quality = np.column_stack((np.where(even, 0.9, 0.2), np.where(even, 0.6, 0.95), np.full(len(even), 0.3)))
    return Predicted(quality, truth.cost)


def test_choose_weighs_quality_against_cost():
    predicted = Predicted(np.array([[0.5, 0.9], [0.7, 0.8]]), np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert choose(predicted, 0.0).tolist() == [1, 1]
    assert choose(predicted, 0.5).tolist() == [0, 1]
    assert choose(predicted, np.inf).tolist() == [0, 1]


def test_sweep_runs_from_best_to_cheapest_without_repeats():
    truth = race_truth()
    choices = sweep_choices(knowing(truth))
    assert choices[-1].tolist() == [0] * 400
    assert choices[0].tolist() == [0, 1] * 200
    assert len({row.tobytes() for row in choices}) == len(choices)


def test_group_sums_and_weights_give_the_same_means_as_rows():
    truth = race_truth(60)
    codes, n_groups = group_codes(truth.groups)
    weights = draw_weights(n_groups, 5, seed=3)
    assert weights.sum(axis=1).tolist() == [n_groups] * 5
    sums = group_sums(truth.quality, codes, n_groups)
    by_row = (weights[:, codes][:, :, None] * truth.quality).sum(axis=1)
    assert weights @ sums == pytest.approx(by_row)


def test_a_router_that_knows_beats_the_zero_router_and_the_oracle_beats_it():
    truth = race_truth()
    field = Field(truth)
    race = Race(field, replicates=200)
    ours = race.run(runner(field, knowing(truth)))
    plain = {name: race.run(one) for name, one in plain_runners(field).items()}
    assert differences(ours, plain["zero"])["aiq"].low > 0
    assert differences(plain["oracle"], ours)["aiq"].low > 0
    assert estimates(ours)["cost_at_quality.95"].value < 1
    assert plain["zero"]["apgr"][0] == pytest.approx(0.5)
    assert plain["oracle"]["gap_oracle"][0] == pytest.approx(0)


def test_single_models_reach_what_they_are():
    field = Field(race_truth())
    race = Race(field, replicates=10)
    dear = race.run(single_runners(field)["single:dear"])
    assert dear["perf_gain"][0] == pytest.approx(0)
    assert dear["cost_save"][0] == pytest.approx(0)
    assert np.isnan(race.run(single_runners(field)["single:bad"])["cost_save"]).all()


def test_the_same_router_differs_from_itself_by_nothing():
    field = Field(race_truth())
    race = Race(field, replicates=50)
    values = race.run(runner(field, knowing(field.truth)))
    same = differences(values, values)["aiq"]
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    truths = []
    for seed in range(120):
        truth = race_truth(200, seed)
        field = Field(truth)
        found = estimates(Race(field, replicates=200, seed=seed).run(single_runners(field)["single:dear"]))
        truths.append(found["gap_oracle"])
    expected = 1 - (0.5 * 0.6 + 0.5 * 0.95) / (0.5 * (1 - 0.1 * 0.4 * 0.7) + 0.5 * (1 - 0.8 * 0.05 * 0.7))
    covered = np.mean([e.low <= expected <= e.high for e in truths])
    assert 0.89 <= covered <= 0.99


def test_undefined_replicates_leave_no_interval():
    reached = np.linspace(0.5, 0.8, 1000)
    reached[:300] = np.nan  # the quality is missed in every third draw: .8 is no upper end of what it costs
    assert np.isnan(interval(0.82, reached).high)
    few = np.where(np.arange(1000) < 20, np.nan, 0.5)
    assert interval(0.5, few).high == 0.5
    assert np.isnan(interval(1.0, np.array([np.nan, np.nan, 1.0])).low)


def test_json_holds_plain_numbers_nested_by_target():
    field = Field(race_truth())
    document = as_json(estimates(Race(field, replicates=20).run(single_runners(field)["single:bad"])))
    assert document["cost_save"] is None
    assert set(document["cost_at_quality"]) == {"95", "99", "100"}
    assert len(document["intervals"]["cost_at_quality"]["95"]) == 2
