"""Challenger against champion on one log: what is refused, and what may be unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from router_runtime.bundle import open_bundle
from tests.training.retrain.weeks import REGISTRY, RULES
from tests.training.test_gate import gap
from training.gate import Evidence, judge
from training.log_table import load_log
from training.ope.compare import Comparison
from training.ope.replay import predicted_quality
from training.retrain.contest import contest, relative, served_dist
from training.served import served_bundle

BUNDLE = Path(__file__).resolve().parents[3] / "models" / "default"


@pytest.fixture(scope="module")
def log(week):
    return load_log(week)


@pytest.fixture(scope="module")
def champion():
    return open_bundle(BUNDLE)


def priced(log, costs):
    """The log with other costs of its answers."""
    return replace(log, decisions=log.decisions.assign(total_cost_usd=costs))


def unlike(log, champion, rows):
    """The champion's predictions, upside down on the first ``rows``."""
    quality = predicted_quality(served_bundle(champion), log.logged_decisions())
    quality[:rows] = 1 - quality[:rows]
    return quality


def test_a_challenger_that_hardly_ever_chooses_otherwise_proves_nothing(log, champion):
    found = contest(log, unlike(log, champion, 12), champion, REGISTRY, ece=0.0)
    measured = replace(found.evidence, p99_ratio=1.0, bundle_bytes=1)
    assert "sample: the two choose apart in" in judge(measured, RULES).summary
    assert not judge(measured, RULES).promote
    assert judge(replace(measured, too_few=None), RULES).promote
    assert 0 < found.report["apart"]["share"] < 13 / 700
    assert found.report["apart"]["challenger"] < 15


def test_one_that_never_does_is_no_worse(log, champion):
    found = contest(log, unlike(log, champion, 0), champion, REGISTRY, ece=0.0)
    assert found.evidence.too_few is None
    assert found.evidence.quality.policy_value == found.evidence.quality.se == 0


def test_a_log_without_costs_leaves_the_cost_unmeasured(log, champion):
    quality = unlike(log, champion, 700)
    found = contest(priced(log, np.nan), quality, champion, REGISTRY, ece=0.0)
    assert found.evidence.cost is None
    assert found.report["cost_usd"] == {}
    assert "cost: the difference was not measured" in judge(found.evidence, RULES).summary


def test_a_handful_of_known_costs_proves_nothing_either(log, champion):
    few = np.where(np.arange(700) < 12, 1e-4, np.nan)
    found = contest(priced(log, few), unlike(log, champion, 700), champion, REGISTRY, ece=0.0)
    assert "priced ones, where 15 are needed" in found.evidence.too_few


def test_a_cost_beside_a_free_champion_is_no_small_rise(log, champion):
    decisions, quality = log.logged_decisions(), unlike(log, champion, 700)
    theirs = served_dist(decisions, unlike(log, champion, 0), REGISTRY)
    free = np.where(theirs.any(axis=0)[decisions.action], 0.0, 1e-4)
    assert 0 < free.mean() < 1e-4
    found = contest(priced(log, free), quality, champion, REGISTRY, ece=0.0)
    reason = next(one for one in judge(found.evidence).reasons if one.check == "cost")
    assert not reason.passed
    nothing = contest(priced(log, 0.0), quality, champion, REGISTRY, ece=0.0)
    assert (nothing.evidence.cost.policy_value, nothing.evidence.cost.ci_high) == (0.0, 0.0)


def test_a_share_of_nothing_is_infinite_not_small():
    dearer, free = gap(1e-3, 1e-4), gap(0.0, 0.0)
    found = relative(Comparison(dearer, free, dearer))
    assert found.policy_value == np.inf
    reason = next(one for one in judge(Evidence(cost=found)).reasons if one.check == "cost")
    assert (reason.passed, "costs nothing" in reason.detail) == (False, True)
    assert relative(Comparison(free, free, free)) == free
