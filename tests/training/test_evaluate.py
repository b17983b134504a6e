"""The report holds what outside checks read, and its numbers are those of the formulas."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.training.table_examples import SKILL, small_table
from training.commands.evaluate import report_text
from training.evaluate import evaluate_predictions, pair_by_family, task_matrix
from training.held_out import held_out
from training.model_card import model_card
from training.reliability import bins, calibration_report, expected_calibration_error, noise_of_worst_head
from training.sweep import Predicted


def knowing(held):
    math = np.char.startswith(held.truth.tasks, "math")
    quality = np.column_stack([np.where(math, *SKILL[name]) for name in held.truth.models])
    return Predicted(quality, held.truth.cost)


@pytest.fixture(scope="module")
def held():
    return held_out(small_table(800))


@pytest.fixture(scope="module")
def report(held):
    return evaluate_predictions(held, knowing(held), {"same": knowing(held)}, replicates=100)


def test_report_is_json_with_plain_numbers(report):
    document = json.loads(json.dumps(report, allow_nan=False))
    for name in ("aiq", "perf_gain", "cost_save", "gap_oracle", "apgr", "regret"):
        assert isinstance(document[name], float), name
        low, high = document["intervals"][name]
        assert low <= document[name] <= high
    assert set(document["cost_at_quality"]) == {"95", "99", "100"}
    assert document["counts"]["groups"] == 400


def test_baselines_stand_beside_it(report):
    names = set(report["baselines"])
    assert {"zero", "random_mix", "oracle", "same", "single:cheap", "single:dear"} <= names
    assert report["baselines"]["oracle"]["aiq"] > report["aiq"] > report["baselines"]["zero"]["aiq"]
    assert report["differences"]["same"]["aiq"] == 0
    assert report["differences"]["zero"]["intervals"]["aiq"][0] > 0
    assert "oracle" not in report["differences"]


def test_a_free_best_model_is_nothing_to_measure_costs_by(held):
    truth = held.truth
    free = replace(truth, cost=np.where(np.arange(len(truth.models)) == truth.best, 0.0, truth.cost))
    given = replace(held, truth=free)
    found = evaluate_predictions(given, Predicted(knowing(held).quality, free.cost), replicates=20)
    assert found["best_single_cost_usd"] == 0
    assert "regret" not in found, "a price in calls of a free model"
    assert found["regret_trade_off"] is None
    assert set(found["cost_at_quality"].values()) == {None}
    assert "is free: no cost is a share" in report_text(found)
    card = model_card(title="R", data=[], counts={}, report=found, how="", fingerprints={})
    assert "is free: no cost is a share" in card


def test_same_seed_same_report(held, report):
    assert evaluate_predictions(held, knowing(held), {"same": knowing(held)}, replicates=100) == report


def test_calibration_of_true_chances_is_small_and_of_wrong_ones_their_distance(held, report):
    assert report["calibration"]["ece_max"] < 0.06
    wrong = calibration_report(held.truth, Predicted(np.ones_like(held.truth.quality), held.truth.cost))
    assert wrong["ece"]["cheap"] == pytest.approx(1 - held.truth.quality[:, 0].mean(), abs=1e-6)


def test_expected_calibration_error_by_hand():
    # Two bins of two: predicted .1 and .3 against outcomes of mean .5; predicted .9 twice against 1.
    predicted, observed = np.array([0.1, 0.3, 0.9, 0.9]), np.array([0.0, 1.0, 1.0, 1.0])
    assert expected_calibration_error(predicted, observed, 2) == pytest.approx(0.5 * 0.3 + 0.5 * 0.1)
    assert bins(predicted, observed, 2)[2].tolist() == [2, 2]


def test_families_are_measured_apart(held):
    found = pair_by_family(held.truth, {"ours": knowing(held)}, replicates=20)
    assert set(found) == {"math", "writing"}
    assert found["math"]["ours"]["apgr"] == pytest.approx(0.5, abs=1e-9)  # within a family it knows nothing more


def test_task_matrix_is_the_mean_by_task(held):
    names, values = task_matrix(held.truth, held.truth.quality)
    assert names == ["math/sums", "writing/verse"]
    assert values[0] == pytest.approx(held.truth.quality[held.truth.tasks == "math/sums"].mean(axis=0))


def test_the_noise_of_ece_is_what_exact_predictions_show_and_shrinks_with_prompts():
    rng = np.random.default_rng(5)
    chance = rng.uniform(0.05, 0.95, (4000, 6))
    exact = (rng.random(chance.shape) < chance).astype(float)
    shown = max(expected_calibration_error(chance[:, m], exact[:, m]) for m in range(6))
    assert noise_of_worst_head(chance, exact) == pytest.approx(shown, rel=0.35)
    assert noise_of_worst_head(chance[:400], exact[:400]) > 2 * noise_of_worst_head(chance, exact)
    assert noise_of_worst_head(chance, chance) == pytest.approx(0.0, abs=1e-9)
