"""Assignment is stable and fair; the analysis covers known truth."""

from dataclasses import replace

import numpy as np
import pytest

from router_runtime import Router
from router_runtime.errors import ConfigError, NoCandidateError
from router_runtime.experiments import (
    arm_mean,
    arm_share,
    assign,
    chi2_tail,
    difference,
    enroll,
    sample_ratio,
    saving,
    share_difference,
    share_variance,
)
from router_runtime.options import Options
from router_runtime.registry import ArmEntry, ExperimentEntry
from router_runtime.registry_reader import DEFAULT_REGISTRY, load_registry

TEST = ExperimentEntry("launch", "user", (ArmEntry("router", 0.9), ArmEntry("holdout", 0.1, model="gpt-5.5")))


def split(experiment: ExperimentEntry, n: int = 20_000) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {}
    for i in range(n):
        groups.setdefault(assign(experiment, f"user-{i}").name, set()).add(f"user-{i}")
    return groups


def test_assignment_is_a_fixed_function_of_the_subject() -> None:
    assert [assign(TEST, s).name for s in ("alice", "bob", "", "\ud800")] == [
        "router",
        "holdout",
        "router",
        "router",
    ], "these must never change: people would move between arms"


def test_a_call_that_names_its_model_or_their_order_is_in_no_arm() -> None:
    known = replace(load_registry(DEFAULT_REGISTRY), experiments={"launch": TEST})
    model = next(iter(known.models))
    for named in (Options(user="bob", model=model), Options(user="bob", order=(model,))):
        assert enroll(known, named) == named
    assert enroll(known, Options(user="bob")).arm == "launch/holdout"
    assert enroll(known, Options(user="bob", models=(model,))).arm == "launch/holdout"


def test_the_router_logs_no_exposure_of_a_named_model() -> None:
    known = replace(load_registry(DEFAULT_REGISTRY), experiments={"launch": TEST})
    model = next(iter(known.models))
    router = Router.open(registry=known, state_dir=None)
    assert router.route("Hello", user="alice").arm == "launch/router"
    decision = router.route("Hello", user="bob", model=model)
    assert (decision.arm, decision.chosen) == (None, model)
    assert router.route("Hello", user="alice", order=[model]).arm is None
    router.close()


def test_a_call_that_may_not_go_to_every_arms_model_is_in_no_arm() -> None:
    known = load_registry(DEFAULT_REGISTRY)
    tiers = {"private": replace(known.tiers["free"], models=frozenset({"llama-4-scout"}))}
    known = replace(known, experiments={"launch": TEST}, tiers=tiers)
    for subject in ("alice", "bob"):  # of either arm: who takes part must not hang on the arm
        for named in (Options(user=subject, models=("llama-4-scout",)), Options(user=subject, tier="private")):
            assert enroll(known, named) == named
    router = Router.open(registry=known, state_dir=None)
    assert router.route("Hello", user="bob", models=["llama-4-scout"]).chosen == "llama-4-scout"
    assert router.route("Hello", user="bob", tier="private").chosen == "llama-4-scout"
    router.close()


def test_where_the_arms_model_cannot_serve_another_does_and_the_call_stays_in_its_arm() -> None:
    known = replace(load_registry(DEFAULT_REGISTRY), experiments={"launch": TEST})
    router = Router.open(registry=known, state_dir=None)
    assert router.route("Hello", user="bob").chosen == "gpt-5.5"
    router.engine.health.disable("gpt-5.5")
    decision = router.route("Hello", user="bob")
    assert (decision.arm, decision.chosen != "gpt-5.5") == ("launch/holdout", True)
    with pytest.raises(NoCandidateError):
        router.route("Hello", user="bob", max_cost_usd=-1.0)
    router.close()


def test_weights_are_kept_and_the_ratio_check_agrees() -> None:
    counts = {name: len(subjects) for name, subjects in split(TEST).items()}
    check = sample_ratio(TEST, counts)
    assert check.expected == {"router": 18_000.0, "holdout": 2_000.0}
    assert check.p_value > 0.001
    assert not check.alarm


def test_a_broken_split_alarms() -> None:
    check = sample_ratio(TEST, {"router": 9000, "holdout": 1150})
    assert check.alarm
    assert sample_ratio(TEST, {}).p_value == 1.0
    with pytest.raises(ConfigError, match="no arm 'x'"):
        sample_ratio(TEST, {"x": 1})


def test_a_closed_arm_has_no_part_in_the_check() -> None:
    closed = replace(TEST, arms=(*TEST.arms, ArmEntry("stopped", 0.0)))
    assert sample_ratio(closed, {"router": 9000, "holdout": 1000}).p_value == pytest.approx(1.0)
    assert sample_ratio(closed, {"router": 9000, "holdout": 1000, "stopped": 1}).alarm
    alone = replace(TEST, arms=(ArmEntry("router", 1.0), ArmEntry("stopped", 0.0)))
    assert not sample_ratio(alone, {"router": 100}).alarm


def test_experiments_split_independently() -> None:
    halves = (ArmEntry("a", 0.5), ArmEntry("b", 0.5))
    one, two = split(ExperimentEntry("one", "user", halves)), split(ExperimentEntry("two", "user", halves))
    assert len(one["a"] & two["a"]) == pytest.approx(5000, abs=200)


@pytest.mark.parametrize(
    ("x", "df", "tail"),
    [(3.841459, 1, 0.05), (5.991465, 2, 0.05), (7.814728, 3, 0.05), (18.30704, 10, 0.05), (0, 3, 1)],
)
def test_chi_squared_tail_against_the_printed_table(x: float, df: int, tail: float) -> None:
    assert chi2_tail(x, df) == pytest.approx(tail, rel=1e-5)


def test_intervals_cover_the_truth_with_clustered_calls() -> None:
    rng = np.random.default_rng(0)
    covered, naive = 0, 0
    for _ in range(400):
        arms = []
        for lift in (0.05, 0.0):
            counts = rng.integers(1, 30, 150)
            quality = np.clip(0.6 + lift + rng.normal(0, 0.1, 150), 0, 1)
            arms.append((rng.binomial(counts, quality).astype(float), counts.astype(float)))
        found = difference(arms[0], arms[1])
        covered += found.low <= 0.05 <= found.high
        rates = [t.sum() / c.sum() for t, c in arms]
        width = 1.96 * np.sqrt(sum(r * (1 - r) / c.sum() for r, (_, c) in zip(rates, arms, strict=True)))
        naive += abs(rates[0] - rates[1] - 0.05) <= width
    assert 0.91 <= covered / 400 <= 0.985
    assert naive < covered, "intervals that forget the clusters are too narrow"


def test_savings_cover_the_truth_and_end_at_all_of_it() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(400):
        arms = []
        for price in (0.2, 1.0):
            counts = rng.integers(1, 10, 40).astype(float)
            arms.append((counts * rng.gamma(1.0, price, 40), counts))
        found.append(saving(*arms))
    assert 0.9 <= np.mean([one.low <= 0.8 <= one.high for one in found]) <= 0.985
    few = saving(([1.0, 9.0], [1.0, 1.0]), ([30.0, 5.0], [1.0, 1.0]))
    assert (few.low < few.value, few.high) == (True, 1.0), "nobody saves more than all of it"
    free, dear = ([0.0, 0.0], [3.0, 4.0]), ([1.0, 9.0], [1.0, 2.0])
    assert (saving(free, dear).low, saving(free, dear).high) == (1.0, 1.0)
    assert np.isnan(saving(dear, free).value)


def test_equal_answers_of_a_few_prove_little() -> None:
    two = arm_share([1.0, 1.0], [1.0, 1.0])
    assert (two.value, two.high) == (1.0, 1.0)
    assert two.low < 0.7
    good, bad = (np.ones(10), np.ones(10)), (np.zeros(10), np.ones(10))
    assert difference(good, good).low == 0.0
    assert share_difference(good, good).low < -0.2
    assert share_difference(good, bad).low > 0.5
    n, p = 40, (38 + 2) / 44
    assert share_variance(np.repeat([1.0, 0.0], [38, 2]), np.ones(n)) == pytest.approx(p * (1 - p) / (n + 4))


def test_too_few_subjects_give_no_interval() -> None:
    assert np.isnan(arm_share([], []).value)
    assert np.isnan(arm_share([3.0], [4.0]).low)
    assert np.isnan(arm_mean([], []).value)
    one = arm_mean([3.0], [4.0])
    assert one.value == 0.75
    assert np.isnan(one.low)
    assert np.isnan(difference(([3.0], [4.0]), ([1.0, 1.0], [2.0, 2.0])).high)
