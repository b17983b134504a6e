"""What the report claims, against what the simulation knows."""

import dataclasses

import numpy as np
import pytest

from router_runtime.errors import ConfigError, DataError
from router_runtime.registry_reader import parse_registry
from tests.training.report.conftest import simulated
from tests.training.test_log_table import TIME, attempt, candidate, decision, good, thumbs, write
from training.report import write_report
from training.report.arms import find_holdout
from training.report.facts import Question, gather
from training.report.reading import read_report_log
from training.report.reliability import ece_interval
from training.report.weak_spots import proposed_weights, study_pairs, weak_spots

SEEDS = range(6)


def test_savings_and_satisfaction_cover_the_truth(tmp_path):
    """Each interval misses at most once in six: of 18 nominal 95 % intervals, about one should."""
    missed = {"saving": 0, "satisfaction": 0, "cost": 0}
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        truth = simulated(folder, 3000, seed, holdout_model="dear", holdout_share=0.3)
        found = gather(read_report_log(folder), Question())["comparison"]
        routed, alone = truth["policy_value"], truth["single_models"]["dear"]
        known = {
            "saving": (found["savings"]["share"], 1 - routed["cost_usd"] / alone["cost_usd"]),
            "satisfaction": (found["satisfaction"]["difference"], routed["quality"] - alone["quality"]),
            "cost": (found["cost_per_1000"]["difference"], 1000 * (routed["cost_usd"] - alone["cost_usd"])),
        }
        for name, (interval, value) in known.items():
            missed[name] += not interval["low"] <= value <= interval["high"]
            assert interval["low"] < interval["value"] < interval["high"]
    assert max(missed.values()) <= 1, missed


def test_feedback_that_is_rarer_for_good_answers_does_not_turn_the_comparison(tmp_path):
    truth = simulated(tmp_path, 9000, 3, holdout_model="dear", holdout_share=0.4, test_rate=0.3)
    found = gather(read_report_log(tmp_path), Question())["comparison"]
    true_gap = truth["policy_value"]["quality"] - truth["single_models"]["dear"]["quality"]
    gap = found["satisfaction"]["difference"]
    assert gap["low"] <= true_gap <= gap["high"]
    assert found["labelled"]["baseline"] == pytest.approx(0.3 * found["decisions"]["baseline"], rel=0.1)


def test_the_planted_weak_spot_is_found_and_its_weight_is_the_lowest(held_log):
    facts = gather(read_report_log(held_log), Question())
    first = facts["weak_spots"][0]
    assert (first["model"], first["label"]) == ("middle", "math/sums")
    proposed = first["proposed"]
    assert proposed["middle"] < min(weight for name, weight in proposed.items() if name != "middle")
    assert first["gain"]["low"] > 0
    registry = parse_registry(_registry("labels:\n" + first["yaml"]))
    assert registry.labels["math/sums"] == proposed


def test_a_model_with_too_few_answers_keeps_its_weight(held_log):
    log = read_report_log(held_log)
    spot = weak_spots(study_pairs(log, np.ones(len(log), dtype=np.bool_)))[0]
    proposed = proposed_weights(spot, {"rare": 0.9, "middle": 1.0, "dear": 0.1})
    assert proposed["rare"] == 0.9
    assert proposed["dear"] == round(spot.shown["dear"], 2), "what it has shown counts more than what stood there"
    assert min(proposed, key=proposed.__getitem__) == "middle"


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_found_where_nothing_is_planted(tmp_path, seed):
    simulated(tmp_path, 6000, seed, holdout_model="dear")
    log = read_report_log(tmp_path)
    pairs = study_pairs(log, np.ones(len(log), dtype=np.bool_))
    assert len(pairs) >= 4
    assert weak_spots(pairs) == []


def test_without_a_baseline_arm_the_estimate_is_labelled_and_covers_the_truth(tmp_path):
    truth = simulated(tmp_path, 12_000, 2, epsilon=0.5)
    facts = gather(read_report_log(tmp_path), Question())
    assert facts["comparison"] is None
    assert facts["verdict"]["status"] == "estimated"
    assert "off-policy, not measured" in facts["verdict"]["sentence"]
    assert "% of this traffic" in facts["verdict"]["note"]
    estimate = facts["baseline"]["estimate"]
    assert estimate["model"] == "dear"
    for name, unit in (("quality", 1), ("cost_usd", 1000)):
        found = estimate["satisfaction" if name == "quality" else "cost_per_1000"]["difference"]
        true = unit * (truth["policy_value"][name] - truth["single_models"]["dear"][name])
        assert found["low"] <= true <= found["high"]


def test_a_deterministic_log_without_a_baseline_arm_is_refused_with_the_remedy(tmp_path):
    simulated(tmp_path, 2000, 1, policy="deterministic")
    facts = gather(read_report_log(tmp_path), Question())
    assert facts["verdict"]["status"] == "refused"
    assert "no claim about savings" in facts["verdict"]["sentence"]
    assert "without chance" in facts["verdict"]["note"]


def test_a_baseline_arm_that_is_too_small_claims_nothing_and_says_what_it_needs(tmp_path):
    simulated(tmp_path, 1500, 0, holdout_model="dear", holdout_share=0.01)
    facts = gather(read_report_log(tmp_path), Question())
    assert facts["comparison"] is None
    assert "30 each are the least" in facts["baseline"]["refused"]["reason"]
    assert facts["baseline"]["refused"]["labelled_needed"] > 30


def test_callers_who_name_a_model_themselves_do_not_hide_the_baseline_arm(held_log):
    log = read_report_log(held_log)
    arm = (log.frame["arm"] == "holdout/baseline").to_numpy()
    named = arm & (np.arange(len(log)) % 20 == 0)
    chosen = log.frame["chosen"].astype(object).mask(named, "cheap").astype("category")
    found = find_holdout(dataclasses.replace(log, frame=log.frame.assign(chosen=chosen)), None)
    assert (found.baseline, found.model, found.routed) == ("baseline", "dear", "router")


def test_a_log_without_feedback_is_refused(tmp_path):
    simulated(tmp_path, 500, 0, test_rate=0.0)
    facts = gather(read_report_log(tmp_path), Question())
    assert facts["verdict"]["status"] == "refused"
    assert facts["verdict"]["note"].startswith("No decision of the log has feedback")


def test_what_went_wrong_is_counted(held_log):
    operations = gather(read_report_log(held_log), Question())["operations"]
    failed = sum(one["failed"] for one in operations["calls"])
    assert failed == sum(one["calls"] for one in operations["errors"]) > 0
    assert 0 < operations["fallbacks"] <= failed
    assert {one["error"] for one in operations["errors"]} == {"ServerError"}


def test_drift_is_seen_where_the_prompts_change_and_not_elsewhere(held_log):
    log = read_report_log(held_log)
    assert gather(log, Question())["drift"]["labels"]["verdict"] == "stable"
    late = np.arange(len(log)) > len(log) // 2
    verse = log.label == log.label_names.index("writing/verse")
    keep = ~(late & verse & (np.arange(len(log)) % 10 > 0))
    changed = gather(_only(log, keep), Question())["drift"]
    assert changed["labels"]["verdict"] == "moved far"
    assert changed["labels"]["moved"][0]["second"] != changed["labels"]["moved"][0]["first"]


def test_new_prices_are_told_by_version_and_by_what_costs_imply(held_log):
    log = read_report_log(held_log)
    late = log.column("time") >= (log.column("time")[0] + log.column("time")[-1]) / 2
    frame = log.frame.assign(
        cost_usd=np.where(late & (log.frame["served"] == "dear"), 2.0, 1.0) * log.column("cost_usd"),
        price_version=np.where(late, "new", "old"),
    )
    frame["price_version"] = frame["price_version"].astype("category")
    found = gather(dataclasses.replace(log, frame=frame), Question())["drift"]
    assert [one["version"] for one in found["prices"]] == ["old", "new"]
    assert [one["model"] for one in found["price_changes"]] == ["dear"]
    assert found["price_changes"][0]["second"] == pytest.approx([20.0, 40.0])


def test_calibration_error_of_perfect_predictions_is_small_and_of_bold_ones_is_not():
    rng = np.random.default_rng(0)
    chance = rng.random(20_000)
    good = (rng.random(20_000) < chance).astype(float)
    value, low, high = ece_interval(chance, good, np.arange(20_000))
    assert value < 0.02
    assert low <= value <= high
    bold, low, high = ece_interval(np.clip(chance + 0.1, 0, 1), good, np.arange(20_000))
    assert low <= bold <= high
    assert low > 0.07


def test_a_baseline_that_the_log_does_not_know_and_an_empty_window_are_errors(plain_log):
    with pytest.raises(ConfigError, match="--baseline is 'nobody', the log knows cheap, dear, middle"):
        gather(read_report_log(plain_log), Question(baseline="nobody"))
    with pytest.raises(DataError, match="holds no decisions"):
        read_report_log(plain_log, since=4e9)


def test_the_registry_names_the_arm_and_an_uneven_split_is_told(held_log):
    experiment = (
        "experiments:\n  holdout: {unit: session, arms: {router: {share: 0.5}, baseline: {share: 0.5, model: dear}}}\n"
    )
    facts = gather(read_report_log(held_log), Question(), parse_registry(_registry(experiment)))
    assert facts["baseline"]["model"] == "dear"
    assert "not of the size that the registry asks for" in facts["baseline"]["alarms"][0]
    assert "Caution" in facts["verdict"]["note"]


def test_shares_of_answers_are_of_answers(tmp_path):
    events = []
    for place in range(8):
        failed = {"error": "ServerError", "status": 500} if place < 4 else {}
        events += [decision(f"d{place}"), attempt(f"d{place}", "ab"[place == 7], **failed)]
    facts = gather(read_report_log(write(tmp_path, events)), Question())
    assert facts["operations"]["unanswered"] == 4
    assert [(one["model"], one["share"]) for one in facts["models"]] == [("a", 0.75), ("b", 0.25)]


def test_sessions_that_are_dealt_are_compared_as_sessions(tmp_path):
    """A user's sessions lie in both arms, as they should."""
    events = []
    for place in range(480):
        name, session = f"d{place:03d}", place % 240
        told = {"user_hash": f"u{session % 10}", "session": f"s{session}", "arm": "savings/routed"}
        if session % 3 == 0:
            told |= {"arm": "savings/baseline", "chosen": "b", "propensity": 1.0, "candidates": (candidate("b", 1.0),)}
        events += [decision(name, **told), thumbs(name, place % 5 > 0)]
    arms = "{routed: {share: 0.667}, baseline: {share: 0.333, model: b}}"
    models = _registry(f"experiments: {{savings: {{unit: session, arms: {arms}}}}}\n").replace(b"dear", b"b")
    log = read_report_log(write(tmp_path, events))
    for registry in (parse_registry(models), None):
        facts = gather(log, Question(), registry)
        assert facts["baseline"]["alarms"] == []
        assert facts["comparison"]["subjects"] == {"routed": 160, "baseline": 80}


def _registry(extra):
    models = "".join(
        f"  {name}: {{provider: p, prices: [{{valid_from: 2026-04-01, input: 1, output: 1}}]}}\n"
        for name in ("cheap", "middle", "dear")
    )
    head = "providers: {p: {adapter: openai, base_url: 'http://localhost:1'}}\nmodels:\n"
    return (head + models + extra).encode()


def _only(log, keep):
    """The log with some of its decisions."""
    rows = {name: getattr(log, name)[keep] for name in ("action_dist", "predicted_quality", "predicted_cost")}
    sources = {name: values[keep] for name, values in log.by_source.items()}
    return dataclasses.replace(
        log, frame=log.frame[keep], subject=log.subject[keep], reward=log.reward[keep], by_source=sources, **rows
    )


def test_who_thinks_better_of_it_counts_once(tmp_path):
    again = [thumbs(f"d{place:03d}", 1.0, TIME + 900) for place in range(40)]
    log = read_report_log(write(tmp_path, [*good(), *again]))
    assert (log.by_source["user"] == 1.0).all()


def test_two_users_are_no_estimate(tmp_path):
    events = []
    for place in range(400):
        name, first = f"d{place:03d}", place % 2 == 0
        events += [decision(name, "a" if first else "b", 0.5, session=f"s{place % 3 % 2}"), thumbs(name, place % 5 > 0)]
    found = gather(read_report_log(write(tmp_path, events)), Question())
    assert found["verdict"]["status"] == "refused"
    assert "feedback is from 2 users or sessions; 30 are the least" in found["verdict"]["note"]


def test_a_report_that_breaks_off_leaves_the_old_one_whole(plain_log, tmp_path, monkeypatch):
    before = write_report(plain_log, tmp_path).html.read_text()
    monkeypatch.setattr("training.report.writing.markdown", lambda _facts: "\ud800")
    (tmp_path / "report.json").unlink()
    with pytest.raises(UnicodeEncodeError):
        write_report(plain_log, tmp_path)
    assert (tmp_path / "report.html").read_text() == before
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.md"}
