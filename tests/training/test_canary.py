"""The canary's guard: a worse bundle is withdrawn with its reason, an equal one goes on, too little says nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from router_runtime.alternates import withdrawn_name
from router_runtime.errors import NotPromoted
from router_runtime.overrides import read_disabled
from router_runtime.records import Attempt, Candidate, Decision, Feedback, TaskProfile, to_dict, uuid7
from router_runtime.registry import ArmEntry, CanaryEntry, ExperimentEntry, GuardEntry
from tests.training.retrain.weeks import tracker_of
from training.canary import examine
from training.cli import main
from training.commands.promote import require_verdict
from training.event_log import events_table, write_events
from training.log_table import load_log
from training.run_record import RunRecord

START = 1_775_001_600.0
CANARY = CanaryEntry("next", 0.2)
ARMS = (ArmEntry("routed", 0.5), ArmEntry("baseline", 0.5, model="m"))
EXPERIMENTS = {"savings": ExperimentEntry("savings", "session", ARMS)}
REGISTRY = """\
providers: {p: {adapter: openai, base_url: 'http://localhost:1'}}
models: {m: {provider: p, prices: [{valid_from: 2026-04-01, input: 1, output: 2}]}}
"""


def write(out, sessions=800, quality=0.8, errors=0.02, cost=1e-3, seed=0, version="c" * 12, rated=None):
    """A day's log whose canary (a fifth of the sessions) is as the arguments say; the rest .8, 2 % and 1e-3.

    ``rated``: so many of the canary's sessions give feedback, each once; None = all, always.
    """
    rng = np.random.default_rng(seed)
    events: list = []
    seen: set[int] = set()
    for session in range(sessions):
        canary = session % 5 == 0
        for _ in range(3):
            time = START + 80_000 * rng.random()
            key = uuid7(time, rng.bytes(10))
            arm, bundle = ("canary", version) if canary else (None, "a" * 12)
            events.append(decision(key, time, f"s{session}", arm, bundle))
            failed = rng.random() < (errors if canary else 0.02)
            price = (cost if canary else 1e-3) * rng.uniform(0.5, 1.5)
            events.append(attempt(key, time, failed, price))
            if canary and rated is not None and (session // 5 >= rated or session in seen):
                continue
            seen.add(session)
            good = float(rng.random() < (quality if canary else 0.8))
            events.append(Feedback(key, time + 1, "score", good, "test"))
    names = ("id", "kind", "decision_id", "time", "body")
    rows = []
    for event in events:
        data = to_dict(event)
        found = data.get("decision_id", data.get("id"))
        rows.append((uuid7(START, rng.bytes(10)), data["kind"], found, event.time, json.dumps(data)))
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    write_events(out, events_table(columns), uuid7(START, b"0123456789"))
    return out


def decision(key, time, session, arm, bundle):
    return Decision(
        id=key, time=time, chosen="m", propensity=1.0, session=session, arm=arm, filtered={},
        candidates=(Candidate("m", 0.8, 100.0, 100.0, 1e-3, None, 0.8, 1.0, True),),
        task=TaskProfile("unknown", 0.0, 0.5, "text", "normal"),
        policy="balanced", policy_version="p", bundle_version=bundle, price_version="v",
    )  # fmt: skip


def attempt(key, time, failed, cost):
    return Attempt(
        decision_id=key, index=0, time=time, model="m", provider="p", status=503 if failed else 200,
        error="ServerError" if failed else None, input_tokens=10, output_tokens=10,
        cost_usd=0.0 if failed else cost, latency_ms=10.0,
    )  # fmt: skip


def broken(log, canary=CANARY):
    return [check.name for check in examine(load_log(log, with_requests=False), canary).broken]


def test_an_equal_canary_goes_on(tmp_path):
    found = examine(load_log(write(tmp_path), with_requests=False), CANARY)
    assert (found.decisions, found.subjects, found.broken) == (480, 160, ())
    assert {check.name for check in found.checks} == {"error_rate", "quality", "cost"}


@pytest.mark.parametrize(
    ("worse", "name"), [({"quality": 0.6}, "quality"), ({"errors": 0.15}, "error_rate"), ({"cost": 2e-3}, "cost")]
)
def test_what_is_worse_for_certain_breaks_its_bound(tmp_path, worse, name):
    assert broken(write(tmp_path, **worse)) == [name]


@pytest.mark.parametrize("rated", [0, 2, 29])
def test_a_few_bad_ratings_withdraw_nothing(tmp_path, rated):
    found = examine(load_log(write(tmp_path, quality=0.0, rated=rated), with_requests=False), CANARY)
    assert {check.name for check in found.checks} == {"error_rate", "cost"}
    assert found.broken == ()


def test_enough_bad_ratings_do(tmp_path):
    assert broken(write(tmp_path, quality=0.0, rated=30)) == ["quality"]


def test_a_canary_that_pays_where_the_rest_is_free_breaks_the_bound_of_costs(tmp_path):
    log = load_log(write(tmp_path), with_requests=False)
    rest = log.table.prompts["arm"].isna().to_numpy()
    spent = log.decisions["total_cost_usd"].to_numpy()
    paying, free = (
        examine(replace(log, decisions=log.decisions.assign(total_cost_usd=cost)), CANARY)
        for cost in (np.where(rest, 0.0, spent), np.zeros(len(spent)))
    )
    assert paying.reason == "cost above 0, where the rest of the traffic is free, beyond 0.25"
    assert paying.as_json()["checks"]["cost"]["value"] is None
    assert (free.broken, {check.name for check in free.checks}) == ((), {"error_rate", "quality"})


def test_what_is_better_breaks_nothing(tmp_path):
    assert broken(write(tmp_path, quality=0.95, errors=0.0, cost=5e-4)) == []


def test_it_is_compared_with_what_it_took_the_place_of(tmp_path):
    """Two thirds of the rest are in an experiment, whose baseline is dear and good; others name a cheap model."""
    log = load_log(write(tmp_path), with_requests=False)
    session = log.table.prompts["session"].str.removeprefix("s").astype(int)
    side = np.where(
        log.table.prompts["arm"] == "canary", "canary", np.array(["routed", "baseline", "named"])[session % 3]
    )
    arm = pd.Series(side).map({"canary": "canary", "routed": "savings/routed", "baseline": "savings/baseline"})
    price = pd.Series(side).map({"baseline": 20.0, "named": 0.05}).fillna(1.0)
    beside = replace(
        log,
        table=replace(
            log.table,
            prompts=log.table.prompts.assign(arm=arm.where(arm.notna(), None)),
            models=pd.concat([log.table.models, log.table.models.assign(model="other")]),
        ),
        decisions=log.decisions.assign(total_cost_usd=log.decisions["total_cost_usd"] * price),
        eligible=np.column_stack([np.ones(len(side), bool), side != "named"]),
    )
    found = examine(beside, CANARY, EXPERIMENTS)
    assert (len(found.checks), found.broken) == (3, ())
    cost = next(check.change for check in found.checks if check.name == "cost")
    assert (cost.subjects, cost.low < 0 < cost.high) == (160 + 213, True)
    dearer = beside.decisions["total_cost_usd"] * np.where(side == "canary", 2.0, 1.0)
    worse = replace(beside, decisions=beside.decisions.assign(total_cost_usd=dearer))
    assert [check.name for check in examine(worse, CANARY, EXPERIMENTS).broken] == ["cost"]


def test_the_order_of_an_agent_is_nothing_to_compare_with(tmp_path):
    log = load_log(write(tmp_path), with_requests=False)
    ours = (log.table.prompts["arm"] == "canary").to_numpy()
    changes = {"agent": np.where(ours, None, "terminal"), "policy": np.where(ours, "balanced", "static")}
    assert examine(replace(log, decisions=log.decisions.assign(**changes)), CANARY).checks == ()


def test_an_equal_canary_is_hardly_ever_withdrawn(tmp_path):
    assert [broken(write(tmp_path / str(seed), sessions=300, seed=seed)) for seed in range(8)] == [[]] * 8


def test_too_few_decisions_are_not_judged(tmp_path):
    log = write(tmp_path, quality=0.0)
    assert (
        examine(
            load_log(log, with_requests=False), CanaryEntry("next", 0.2, guard=GuardEntry(min_decisions=481))
        ).checks
        == ()
    )


def test_the_rest_is_of_the_time_that_the_canary_ran(tmp_path):
    log = load_log(write(tmp_path), with_requests=False)
    found = examine(log, CANARY)
    time, ours = log.table.prompts["time"].to_numpy(), (log.table.prompts["arm"] == "canary").to_numpy()
    meant = (time >= time[ours].min()) & (time <= time[ours].max())
    assert [check.change.n for check in found.checks] == [int(meant.sum())] * 3
    later = log.table.prompts.assign(time=np.where(log.table.prompts["arm"].isna(), time + 1e6, time))
    moved = replace(log, table=replace(log.table, prompts=later))
    assert examine(moved, CANARY).checks == ()


@pytest.fixture
def watched(tmp_path, bundle_folder, monkeypatch):
    """A bad canary that has the alias, and the command that watches it."""
    (tmp_path / "registry.yaml").write_text(f"{REGISTRY}canary: {{bundle: next, share: 0.2}}\n")
    tracker_of(tmp_path).register("next", RunRecord(), bundle_folder, "c" * 12 + "0" * 52, "canary")
    log = write(tmp_path / "log", quality=0.5)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    command = ["watch", "--store", str(log), "--registry", str(tmp_path / "registry.yaml"), "--json", "--quiet"]
    return [*command, "--since", "2026-03-30", "--until", "2026-04-03", "--state", str(tmp_path / "state")]


def test_a_canary_is_withdrawn_though_mlflow_is_away_and_the_next_run_takes_its_alias(watched, tmp_path, monkeypatch):
    there = f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "broken.db").write_text("no database")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/broken.db")
    assert main(watched) == 1
    assert withdrawn_name("c" * 12) in read_disabled(tmp_path / "state")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", there)
    assert main(watched) == 3
    assert tracker_of(tmp_path).version("canary") is None


def test_a_withdrawn_canary_stays_so_when_its_calls_have_left_the_window(watched, tmp_path, capsys):
    assert main(watched) == 3
    capsys.readouterr()
    late = [part.replace("2026-03-30", "2026-04-01T22:00") for part in watched if part != "--json"]
    assert main(late) == 3
    assert "; withdrawn" in capsys.readouterr().out


def test_a_withdrawn_version_is_not_promoted_without_force(watched, tmp_path):
    assert main(watched) == 3
    tracker_of(tmp_path).tag("1", {"verdict": json.dumps({"promote": True, "summary": "all checks passed"})})
    with pytest.raises(NotPromoted, match="was withdrawn as canary: quality"):
        require_verdict(tracker_of(tmp_path).version("1"))


def test_watch_withdraws_it_takes_its_alias_and_says_why(watched, tmp_path, capsys):
    command, version, tracker = watched, "c" * 12, tracker_of(tmp_path)
    assert main([*command, "--dry-run"]) == 0
    assert read_disabled(tmp_path / "state") == {}
    assert main(command) == 3
    assert main(command) == 3, "again: it stays withdrawn"
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert document["checks"]["quality"]["broken"]
    assert withdrawn_name(version) in read_disabled(tmp_path / "state")
    assert tracker.version("canary") is None
    assert "quality" in tracker.version("1").tags["withdrawal_reason"]
