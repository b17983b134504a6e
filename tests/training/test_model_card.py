"""The card says what was measured, and does not hide where the router loses."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.table_examples import small_table
from tests.training.test_evaluate import knowing
from training.evaluate import evaluate_predictions
from training.held_out import held_out
from training.model_card import figure, losing_rows, metrics_table, model_card, value_at
from training.sweep import Predicted


@pytest.fixture(scope="module")
def held():
    return held_out(small_table(800))


def blind(held):
    return Predicted(np.full_like(held.truth.quality, 0.5), held.truth.cost)


def test_a_router_that_loses_says_so(held):
    report = evaluate_predictions(held, blind(held), {"knn": knowing(held)}, replicates=100)
    assert any(line.startswith("knn is better in AIQ") for line in losing_rows(report))
    won = evaluate_predictions(held, knowing(held), {"knn": blind(held)}, replicates=100)
    assert losing_rows(won) == []


def test_figures_carry_their_intervals():
    report = {"aiq": 0.7, "cost_save": None, "intervals": {"aiq": [0.6, 0.8]}, "cost_at_quality": {"95": 0.25}}
    assert figure(report, "aiq") == "0.700 (0.600–0.800)"
    assert figure(report, "cost_save") == "–"
    assert figure({"cost_save": -1e-9}, "cost_save") == "0.000"
    assert figure(report, "cost_at_quality.95") == "0.250"
    assert value_at(report, "no.such.thing") is None


def test_card_holds_data_figures_limits_and_fingerprints(held):
    report = evaluate_predictions(held, knowing(held), {"knn": blind(held)}, replicates=50)
    card = model_card(
        title="Router",
        data=[{"name": "example", "prompts": 800, "models": 3, "licence": "MIT"}],
        counts={"rows_seen": 2400},
        report=report,
        how="Five folds by group.",
        fingerprints={"data": "abc"},
        limits=["English only."],
    )
    assert "example: 800 prompts × 3 models; MIT" in card
    assert metrics_table(report) in card
    assert "- rows seen: 2400" in card
    assert "English only." in card
    assert "data: `abc`" in card
    unmeasured = model_card(title="R", data=[], counts={}, report=None, how="Elsewhere: +.1.", fingerprints={})
    assert "Nothing was held out" in unmeasured
    assert "Elsewhere: +.1." in unmeasured
