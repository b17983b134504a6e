import json
from dataclasses import replace

import numpy as np
import pytest

from router_runtime.errors import NotSupported
from router_runtime.policy_settings import PolicySettings
from tests.training.ope.logged_examples import BANDIT, TRUE_COST, logged
from training.evaluate_log import evaluate_policy, report_text
from training.ope.estimators import ESTIMATORS

SETTINGS = PolicySettings(trade_off=0.8, answer_value_usd=0.02)
POLICY = BANDIT.greedy()


def truths(policy):
    quality, cost = BANDIT.value(policy), float((policy * TRUE_COST).sum(axis=1).mean())
    return quality, cost, 0.8 * quality - 0.2 / 0.02 * cost


def within(found, value):
    return found["ci_low"] <= value <= found["ci_high"]


def test_the_report_covers_the_truth_of_quality_cost_and_utility():
    logging, hits = BANDIT.epsilon(0.4), np.zeros(5)
    quality, cost, utility = truths(POLICY)
    logged_quality, logged_cost, _ = truths(logging)
    for seed in range(25):
        log, rows = logged(logging, 1500, seed)
        report = evaluate_policy(log, POLICY[rows], SETTINGS)
        hits += [
            within(report["policy_value"]["dr"], quality),
            within(report["cost"]["policy_value"]["sndr"], cost),
            within(report["utility"]["policy_value"]["sndr"], utility),
            within(report["difference"], quality - logged_quality),
            within(report["cost"]["difference"], cost - logged_cost),
        ]
    assert (hits >= 0.84 * 25).all(), hits


def test_the_report_is_json_and_says_what_it_rests_on():
    log, rows = logged(BANDIT.epsilon(0.4), 1500, seed=0)
    report = evaluate_policy(log, POLICY[rows], SETTINGS)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert set(report["policy_value"]) == set(ESTIMATORS)
    assert report["n"] == 1500
    assert report["refused"] is False
    assert report["ess"] == pytest.approx(report["support"]["all"]["ess"], abs=0.1)
    assert {"domain=law", "domain=code"} <= set(report["segments"])
    assert "difference" in report_text(report)


def test_a_policy_like_the_logged_one_does_not_differ():
    logging = BANDIT.epsilon(0.4)
    log, rows = logged(logging, 1000, seed=0)
    report = evaluate_policy(log, logging[rows], SETTINGS)
    assert report["difference"]["value"] == pytest.approx(0, abs=1e-12)
    assert report["policy_value"]["ips"]["value"] == pytest.approx(log.quality.mean())


def test_feedback_that_is_missing_by_model_does_not_bias():
    logging, errors = BANDIT.epsilon(0.6), []
    for seed in range(25):
        log, rows = logged(logging, 2500, seed, label_rate=(0.9, 0.4, 0.6, 0.3))
        report = evaluate_policy(log, POLICY[rows], SETTINGS)
        errors.append(report["policy_value"]["dr"]["value"] - BANDIT.value(POLICY))
    assert abs(np.mean(errors)) < 3 * np.std(errors) / 5
    assert report["label_rate"]["by_model"]["large"] == pytest.approx(0.3, abs=0.06)


def test_a_deterministic_log_is_refused_with_what_was_found():
    log, rows = logged(BANDIT.epsilon(0.0), 800, seed=0)
    with pytest.raises(NotSupported, match="without chance") as caught:
        evaluate_policy(log, POLICY[rows], SETTINGS)
    details = caught.value.details
    assert json.loads(json.dumps(details, allow_nan=False)) == details
    assert details["support"]["all"]["deterministic"] == 1.0
    assert details["n"] == 800


def test_decisions_without_predictions_can_be_evaluated():
    log, rows = logged(BANDIT.epsilon(0.4), 1500, seed=0)
    blind = replace(log, predicted_quality=np.full((1500, 4), np.nan), predicted_cost=np.full((1500, 4), np.nan))
    report = evaluate_policy(blind, POLICY[rows], SETTINGS)
    assert report["policy_value"]["dr"]["value"] == pytest.approx(BANDIT.value(POLICY), abs=0.1)


def test_answers_that_are_all_alike_make_nothing_certain():
    log, rows = logged(BANDIT.epsilon(0.4), 1500, seed=0)
    report = evaluate_policy(replace(log, quality=np.ones(1500)), POLICY[rows], SETTINGS)
    for found in (*report["policy_value"].values(), report["logging_policy_value"], report["difference"]):
        assert found["ci_high"] - found["ci_low"] > 0.003
    assert report["difference"]["value"] == pytest.approx(0, abs=1e-9)


def test_models_that_the_bundle_does_not_know_are_told():
    log, rows = logged(BANDIT.epsilon(0.4), 1500, seed=0)
    report = evaluate_policy(log, POLICY[rows], SETTINGS) | {"unknown_models": ["tiny", "large"]}
    assert "models that the bundle does not know: tiny, large" in report_text(report)


def test_a_log_without_costs_still_values_quality():
    log, rows = logged(BANDIT.epsilon(0.4), 1500, seed=0)
    report = evaluate_policy(replace(log, cost=np.full(1500, np.nan)), POLICY[rows], SETTINGS)
    assert within(report["policy_value"][report["headline"]], truths(POLICY)[0])
    assert report["cost"] is report["utility"] is None
    assert "cost     unknown: the log holds no cost" in report_text(report)
