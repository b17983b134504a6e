"""Challenger against champion on one log: what is refused, and what may be unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from router_runtime.bundle import open_bundle
from tests.training.retrain.weeks import REGISTRY, RULES
from training.gate import judge
from training.log_table import load_log
from training.ope.replay import predicted_quality
from training.retrain.contest import contest
from training.served import served_bundle

BUNDLE = Path(__file__).resolve().parents[3] / "models" / "default"


@pytest.fixture(scope="module")
def log(week):
    return load_log(week)


@pytest.fixture(scope="module")
def champion():
    return open_bundle(BUNDLE)


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
