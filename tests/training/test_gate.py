from dataclasses import replace

import pytest

from training.gate import Evidence, GateRules, judge
from training.ope.intervals import Estimate


def gap(value, half, ess=500.0):
    return Estimate(value, half / 1.96, value - half, value + half, ess, 5000)


GOOD = Evidence(
    quality=gap(0.02, 0.01),
    cost=gap(-0.10, 0.05),
    segments={"domain=law": gap(0.0, 0.05)},
    ece=0.02,
    p99_ratio=1.0,
    bundle_bytes=10**6,
)


def failed(evidence, rules=None):
    return [reason.check for reason in judge(evidence, rules).reasons if not reason.passed]


def test_a_proven_challenger_is_promoted_with_every_reason():
    verdict = judge(GOOD)
    assert verdict.promote
    assert [reason.check for reason in verdict.reasons] == [
        "quality",
        "cost",
        "domain=law",
        "calibration",
        "speed",
        "size",
    ]
    assert verdict.summary == "all 6 checks passed"


def test_reasons_are_written_for_people():
    reasons = {reason.check: reason.detail for reason in judge(replace(GOOD, bundle_bytes=67_108_864)).reasons}
    assert "67,108,864, at most 67,108,864" in reasons["size"]
    assert "0.02, at most 0.05" in reasons["calibration"]


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"quality": gap(0.0, 0.018)}, "quality"),  # not proven, though not worse either
        ({"cost": gap(0.0, 0.01)}, "cost"),
        ({"segments": {"domain=law": gap(-0.1, 0.05)}}, "domain=law"),
        ({"ece": 0.06}, "calibration"),
        ({"p99_ratio": 1.3}, "speed"),
        ({"bundle_bytes": 10**9}, "size"),
        ({"quality": None}, "quality"),
        ({"cost": None}, "cost"),
        ({"ece": None}, "calibration"),
        ({"p99_ratio": None}, "speed"),
        ({"bundle_bytes": None}, "size"),
    ],
)
def test_each_check_can_stop_it(change, check):
    verdict = judge(replace(GOOD, **change))
    assert not verdict.promote
    assert [reason.check for reason in verdict.reasons if not reason.passed] == [check]
    assert verdict.reasons[0].check == check
    assert check in verdict.summary


def test_a_refused_log_proves_nothing():
    verdict = judge(replace(GOOD, refused="the log explored nothing"))
    assert not verdict.promote
    assert verdict.summary == "support: the log explored nothing"


def test_segments_without_enough_data_are_reported_not_judged():
    verdict = judge(replace(GOOD, segments={"tier=pro": gap(-0.3, 0.1, ess=12)}))
    assert verdict.promote
    assert "too small to judge" in next(r.detail for r in verdict.reasons if r.check == "tier=pro")


def test_priority_turns_the_margins_round():
    dearer = replace(GOOD, cost=gap(0.0, 0.015), quality=gap(0.02, 0.01))
    assert failed(dearer) == ["cost"]
    assert failed(dearer, GateRules(priority="cost")) == []
    cheaper_and_worse = replace(GOOD, quality=gap(0.001, 0.009))
    assert failed(cheaper_and_worse) == []
    assert failed(cheaper_and_worse, GateRules(priority="cost")) == ["quality"]


def test_the_same_cost_to_the_cent_is_not_a_rise():
    assert failed(replace(GOOD, cost=gap(0.0, 0.0)), GateRules(strict_margin=0.0)) == []
