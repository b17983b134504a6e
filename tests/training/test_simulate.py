"""Simulated logs: exact propensities, a known truth, and events that read back as the records they are."""

import json
from dataclasses import fields

import numpy as np
import pyarrow.parquet as pq
import pytest

from router_runtime.errors import ConfigError
from router_runtime.records import Attempt, Candidate, Decision, Feedback, TaskProfile, to_dict
from tests.training.table_examples import small_table
from training.commands.simulate import words_of
from training.event_log import EVENT_SCHEMA, day_of, sealed_files
from training.log_table import load_log
from training.simulate import NOBODY, draw
from training.simulated_log import TRUTH_FILE, simulate
from training.simulated_world import POLICIES, SimulationSettings, day_policy, make_world

TABLE = small_table(60)


def settings(**changes):
    return SimulationSettings(**{"days": 3, "prediction_noise": 0.2, **changes})


@pytest.mark.parametrize("policy", POLICIES)
def test_models_are_drawn_as_often_as_the_propensity_says(policy):
    drawn = draw(TABLE, settings(policy=policy), 60_000, seed=1)
    dist = np.stack([day_policy(drawn.world, drawn.settings, day) for day in range(3)])
    np.testing.assert_allclose(dist.sum(axis=2), 1)
    np.testing.assert_array_equal(drawn.pscore, dist[drawn.day, drawn.prompt, drawn.action])
    assert (drawn.pscore > 0).all()
    expected = np.stack([dist[drawn.day, drawn.prompt, a].sum() for a in range(3)])
    error = np.abs(np.bincount(drawn.action, minlength=3) - expected)
    spread = np.sqrt(np.stack([(p := dist[drawn.day, drawn.prompt, a]) @ (1 - p) for a in range(3)]))
    assert (error <= 4 * spread + 1e-6).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_the_true_value_is_what_many_decisions_earn(policy):
    drawn = draw(TABLE, settings(policy=policy), 60_000, seed=2)
    value = drawn.truth()["policy_value"]
    cost = drawn.world.cost[drawn.prompt, drawn.action]
    for name, earned in (("quality", drawn.reward), ("cost_usd", cost)):
        error = abs(earned.mean() - value[name])
        assert error < 4 * earned.std() / np.sqrt(len(earned))


def test_inverse_propensity_weighting_recovers_the_value_of_another_policy():
    drawn = draw(TABLE, settings(policy="epsilon", epsilon=0.5), 60_000, seed=3)
    target = day_policy(drawn.world, settings(policy="softmax"), 0)
    weighted = target[drawn.prompt, drawn.action] / drawn.pscore * drawn.reward
    assert abs(weighted.mean() - drawn.world.value(target)["quality"]) < 4 * weighted.std() / np.sqrt(len(weighted))


def test_deterministic_logs_are_certain_and_drifting_ones_change():
    assert (draw(TABLE, settings(policy="deterministic"), 500, 0).pscore == 1).all()
    world = make_world(TABLE, settings(policy="drifting", cost_weight=1.0), 0)
    first, last = (day_policy(world, settings(policy="drifting", cost_weight=1.0), day) for day in (0, 2))
    assert world.value(last)["cost_usd"] < 0.8 * world.value(first)["cost_usd"]


def test_while_a_model_is_down_another_serves():
    drawn = draw(TABLE, settings(policy="uniform", outage_share=0.3), 5000, seed=4)
    moved = drawn.served != drawn.action
    assert 0.2 < moved.mean() < 0.4
    assert np.isnan(drawn.reward[drawn.served == NOBODY]).all()
    assert np.isfinite(drawn.reward[drawn.served != NOBODY]).all()


@pytest.mark.parametrize(
    "bad", [{"policy": "greedy"}, {"epsilon": 1.5}, {"days": 0}, {"temperature": 0.0}, {"judge_noise": -1.0}]
)
def test_settings_outside_their_range_are_named(bad):
    with pytest.raises(ConfigError, match=f"{next(iter(bad))} is"):
        SimulationSettings(**bad)
    with pytest.raises(ConfigError, match="n is 0"):
        draw(TABLE, settings(), 0, 0)


def read(root):
    rows = []
    for path in sealed_files(root):
        table = pq.read_table(path, partitioning=None)
        assert table.schema.equals(EVENT_SCHEMA)
        assert {day_of(time) for time in table["time"].to_pylist()} == {path.parent.name.removeprefix("day=")}
        rows += table.to_pylist()
    return rows


def restored(body):
    kind = {"decision": Decision, "attempt": Attempt, "feedback": Feedback}[body["kind"]]
    fields = {key: value for key, value in body.items() if key not in ("kind", "schema_version")}
    if kind is Decision:
        fields["candidates"] = tuple(Candidate(**one) for one in fields["candidates"])
        fields["task"] = TaskProfile(**fields["task"])
        fields["labels"] = tuple(fields["labels"])
    return kind(**fields)


def test_events_read_back_as_records(tmp_path):
    options = settings(policy="softmax", judge_rate=0.5, thumbs_rate=0.5, outage_share=0.2, delay_hours=10)
    truth = simulate(TABLE, tmp_path, options, 300, seed=5)
    assert json.loads((tmp_path / TRUTH_FILE).read_text()) == json.loads(json.dumps(truth))
    rows = read(tmp_path)
    assert len({row["id"] for row in rows}) == len(rows)
    events = [restored(json.loads(row["body"])) for row in rows]
    for row, event in zip(rows, events, strict=True):
        assert to_dict(event).keys() == json.loads(row["body"]).keys()
        assert row["time"] == event.time
        assert row["decision_id"] == (event.id if isinstance(event, Decision) else event.decision_id)
    decisions = {event.id: event for event in events if isinstance(event, Decision)}
    assert len(decisions) == 300
    for decision in decisions.values():
        assert sum(decision.action_dist.values()) == pytest.approx(1, abs=1e-9)
        assert decision.action_dist[decision.chosen] == decision.propensity
    served = {event.decision_id for event in events if isinstance(event, Attempt) and event.error is None}
    assert {event.decision_id for event in events if isinstance(event, Feedback)} <= served
    assert {event.source for event in events if isinstance(event, Feedback)} == {"test", "judge", "user"}


def test_the_same_seed_gives_the_same_log(tmp_path):
    for name in ("a", "b"):
        simulate(TABLE, tmp_path / name, settings(thumbs_rate=0.3), 200, seed=6)
    assert read(tmp_path / "a") == read(tmp_path / "b")
    simulate(TABLE, tmp_path / "c", settings(thumbs_rate=0.3), 200, seed=7)
    assert read(tmp_path / "a") != read(tmp_path / "c")


@pytest.mark.parametrize(
    ("mode", "prompt", "features"), [("full", True, False), ("features", False, True), ("none", False, False)]
)
def test_prompts_are_logged_as_privacy_allows(tmp_path, mode, prompt, features):
    simulate(TABLE, tmp_path, settings(log_prompts=mode), 20, seed=8)
    bodies = [json.loads(row["body"]) for row in read(tmp_path) if row["kind"] == "decision"]
    assert all((body["prompt"] is not None) is prompt for body in bodies)
    assert all((body["features"] is not None) is features for body in bodies)


def test_a_baseline_arm_is_drawn_by_session_and_pins_its_model(tmp_path):
    held = settings(holdout_model="dear", holdout_share=0.3)
    drawn = draw(TABLE, held, 9000, seed=4)
    assert (drawn.action[drawn.held] == drawn.world.table.model_names.index("dear")).all()
    assert (drawn.pscore[drawn.held] == 1).all()
    assert set(drawn.session[drawn.held]).isdisjoint(drawn.session[~drawn.held])
    assert abs(drawn.held.mean() - 0.3) < 0.03
    simulate(TABLE, tmp_path, held, 200, seed=4)
    log = load_log(tmp_path)
    arms = log.decisions["arm"]
    assert set(arms) == {"holdout/router", "holdout/baseline"}
    assert set(log.decisions["chosen"][arms == "holdout/baseline"]) == {"dear"}
    assert (log.eligible.sum(axis=1) == np.where(arms == "holdout/baseline", 1, 3)).all()


def test_a_weak_spot_is_worse_than_the_router_believes():
    plain, weak = (make_world(TABLE, settings(weak_spot=spot), 0) for spot in ("", "dear@math/sums"))
    rows = (weak.table.prompts["task"] == "math/sums").to_numpy()
    dear = weak.table.model_names.index("dear")
    np.testing.assert_array_equal(weak.predicted_quality, plain.predicted_quality)
    np.testing.assert_allclose(weak.quality[rows, dear], plain.quality[rows, dear] / 2)
    assert (weak.quality[~rows] == plain.quality[~rows]).all()
    assert (np.delete(weak.quality, dear, axis=1) == np.delete(plain.quality, dear, axis=1)).all()


@pytest.mark.parametrize("wrong", [{"weak_spot": "dear@nothing"}, {"holdout_model": "nobody"}])
def test_a_weak_spot_or_baseline_that_is_not_there_is_named(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is"):
        draw(TABLE, settings(**wrong), 10, seed=0)


def test_every_option_says_what_it_does():
    words = words_of(SimulationSettings)
    assert {entry.name for entry in fields(SimulationSettings)} <= set(words)
    assert words["weak_spot"].startswith("model@task: a pair whose answers")
    assert words["test_rate"] == words["thumbs_rate"] == "share of answers with feedback of each source, 0..1"
