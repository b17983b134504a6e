"""Every formula of ANCHORS on tables whose answers were computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from training.metrics import (
    Reference,
    aiq,
    cost_at_quality,
    cost_save,
    frontier_metrics,
    gap_oracle,
    hull,
    pair_metrics,
    perf_gain,
    regret,
)

REF = Reference(best_cost=10.0, best_quality=0.8, low_cost=0.0, low_quality=0.4, high_cost=10.0, oracle_quality=0.9)


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_hull_drops_what_a_mix_of_others_beats():
    xs, ys = hull(array(0, 1, 2, 4, 5), array(0.2, 0.3, 0.8, 0.9, 0.85))
    assert xs.tolist() == [0, 2, 4]  # (1, .3) lies under the line (0, .2)–(2, .8); (5, .85) is dearer and worse
    assert ys.tolist() == [0.2, 0.8, 0.9]


def test_hull_of_one_point_and_of_equal_points():
    assert hull(array(1.0), array(0.5)) == (array(1.0), array(0.5))
    xs, ys = hull(array(1, 1, 1), array(0.5, 0.7, 0.6))
    assert (xs.tolist(), ys.tolist()) == ([1.0], [0.7])


points = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), min_size=1, max_size=30)


@given(points)
@example([(0.0, 0.0), (2.2250738585e-313, 1.0)])
def test_hull_is_concave_rising_and_above_every_point(pairs):
    cost, quality = np.array(pairs, dtype=np.float64).T
    xs, ys = hull(cost, quality)
    assert (np.diff(xs) > 0).all()
    assert (np.diff(ys) > 0).all()
    assert (np.interp(cost, xs, ys) >= quality - 1e-9).all()
    run, rise = np.diff(xs), np.diff(ys)  # slopes that never rise, without a division by next to nothing
    assert (rise[1:] * run[:-1] <= rise[:-1] * run[1:] * (1 + 1e-6) + 1e-300).all()


def test_aiq_by_hand():
    # From (0, .4) to (5, .8), then flat: (5 · .6 + 5 · .8) / 10 = .7.
    assert aiq(array(5.0), array(0.8), REF) == pytest.approx(0.7)
    # A point outside the range bends the line inside it: at 10 it has reached .4 + .5 · .4 = .6, mean .5.
    assert aiq(array(20.0), array(0.8), REF) == pytest.approx(0.5)


def test_aiq_of_models_that_cost_the_same_is_the_best_quality():
    same = Reference(1.0, 0.8, 1.0, 0.8, 1.0, 0.9)
    assert aiq(array(1.0), array(0.85), same) == pytest.approx(0.85)


def test_cost_at_quality_by_hand():
    cost, quality = array(0.0, 4.0, 10.0), array(0.4, 0.72, 0.84)
    assert cost_at_quality(cost, quality, REF, 0.9) == pytest.approx(0.4)  # .72 is reached at 4 of 10
    assert cost_at_quality(cost, quality, REF, 1.0) == pytest.approx(0.8)  # two thirds from .72 to .84
    assert np.isnan(cost_at_quality(cost, quality, REF, 1.2))


def test_cost_save_perf_gain_and_gap_by_hand():
    cost, quality = array(0.0, 4.0, 6.0), array(0.4, 0.8, 0.84)
    assert cost_save(cost, quality, REF) == pytest.approx(0.6)
    assert perf_gain(quality, REF) == pytest.approx(0.05)
    assert gap_oracle(quality, REF) == pytest.approx(1 - 0.84 / 0.9)
    assert np.isnan(cost_save(array(1.0), array(0.79), REF))


def test_frontier_metrics_are_the_single_formulas():
    cost, quality = array(0.0, 4.0, 6.0), array(0.4, 0.78, 0.84)
    found = frontier_metrics(cost, quality, REF)
    assert found["aiq"] == aiq(cost, quality, REF)
    assert found["cost_at_quality.95"] == cost_at_quality(cost, quality, REF, 0.95)
    assert found["cost_save"] == cost_save(cost, quality, REF)


def one(**found: np.ndarray) -> dict[str, float]:
    return {name: float(values[0]) for name, values in found.items()}


def test_pair_metrics_of_a_perfect_order_by_hand():
    # Two of four prompts gain 1 from the strong model and come first: PGR is 1 from half of the calls on.
    found = one(**pair_metrics(array(1, 1, 0, 0), array(4, 3, 2, 1), np.ones((1, 4))))
    assert found == pytest.approx({"apgr": 0.75, "cpt50": 0.25, "cpt80": 0.4})


def test_pair_metrics_of_no_preference_are_those_of_a_coin():
    found = one(**pair_metrics(array(1, 0, 0, 1), np.zeros(4), np.ones((1, 4))))
    assert found == pytest.approx({"apgr": 0.5, "cpt50": 0.5, "cpt80": 0.8})


def test_pair_metrics_weights_are_repetitions():
    gain, preference = array(1, -1, 0, 1), array(0.9, 0.5, 0.3, 0.1)
    weighted = one(**pair_metrics(gain, preference, array(2, 1, 3, 1)[None]))
    repeats = [0, 0, 1, 2, 2, 2, 3]
    spelled = one(**pair_metrics(gain[repeats], preference[repeats], np.ones((1, 7))))
    assert weighted == pytest.approx(spelled)


def test_pair_metrics_are_undefined_where_the_strong_model_is_not_better():
    assert np.isnan(pair_metrics(array(0, 0), array(1, 2), np.ones((1, 2)))["apgr"][0])


def test_regret_by_hand():
    quality, cost = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 3.0], [1.0, 3.0]])
    # λ = .1: utilities .9/.7 and −.1/.7; taking the second model costs .2 on the first prompt and nothing on the other.
    assert regret(quality, cost, np.array([1, 1]), 0.1) == pytest.approx([0.2, 0.0])


def test_a_share_of_nothing_is_not_defined():
    free = replace(REF, best_cost=0.0)
    found = frontier_metrics(np.array([0.0, 1.0]), np.array([0.8, 0.9]), free)
    assert np.isnan([found["cost_save"], found["cost_at_quality.95"]]).all()
    assert found["perf_gain"] == pytest.approx(0.125)
    none = Reference(1.0, 0.0, 1.0, 0.0, 2.0, 0.0)
    found = frontier_metrics(np.array([1.0]), np.array([0.0]), none)
    assert np.isnan([found["perf_gain"], found["gap_oracle"]]).all()
