"""Dispatch judged on logs that the router itself wrote, whose truth is made up and therefore known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from router_runtime import Router
from router_runtime.errors import ConfigError, DataError, NotSupported
from router_runtime.records import Attempt
from router_runtime.registry_reader import parse_registry
from tests.training.test_log_table import attempt, decision, thumbs, write
from training.cli import main
from training.evaluate_agents import agents_text, dispatched, evaluate_agents, policies
from training.log_table import load_log

MODELS = """\
providers: {p: {adapter: openai, base_url: 'http://localhost:1'}}
models:
  small: {provider: p, prices: [{valid_from: 2026-04-01, input: 1, output: 2}]}
  large: {provider: p, prices: [{valid_from: 2026-04-01, input: 2, output: 4}]}
agents:
  coder: {labels: [code]}
  tutor: {labels: [math]}
"""
GOOD = {("code", "coder"): 0.9, ("code", "tutor"): 0.4, ("math", "coder"): 0.5, ("math", "tutor"): 0.8}
COST = {"coder": 3e-3, "tutor": 1e-3}
TEXTS = {"code": "Write a Python function number {}", "math": "Solve the algebra equation number {}"}


def hand_out(folder, epsilon, n=1600, seed=5):
    """n tasks, dispatched by the router, whose outcomes are drawn from GOOD and COST; gives the labels."""
    registry = parse_registry((MODELS + f"dispatch: {{strategy: learned, epsilon: {epsilon}}}\n").encode())
    rng = np.random.default_rng(seed)
    router = Router.open(registry=registry, state_dir=None, seed=seed, log=folder, log_prompts="features")
    labels = ["code" if rng.random() < 0.5 else "math" for _ in range(n)]
    for place, label in enumerate(labels):
        made = router.agent("auto").route(TEXTS[label].format(place), labels=[label])
        cost = COST[made.agent] * rng.uniform(0.5, 1.5)
        router.log.offer(Attempt(made.id, 0, made.time, made.chosen, "p", 200, None, 100, 50, cost_usd=cost))
        score = float(rng.random() < GOOD[label, made.agent])
        router.feedback(made.id, score=score, source="test", wait=place % 500 == 0)  # waiting lets the queue drain
    router.agent("coder").route("Write a function", labels=["code"])
    router.route("No agent at all")
    router.close()
    return labels


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agents")
    return folder, {name: hand_out(folder / name, share) for name, share in (("drawn", 0.4), ("certain", 0.0))}


def truth(labels, agent):
    """(quality, cost) of giving each label's tasks to ``agent(label)``."""
    given = [(label, agent(label)) for label in labels]
    return np.mean([GOOD[one] for one in given]), np.mean([COST[agent] for _, agent in given])


def test_dispatch_is_read_as_the_router_drew_it(logs):
    log = load_log(logs[0] / "drawn")
    decisions, left_out = dispatched(log)
    assert decisions.models == ("coder", "tutor")
    assert left_out == {"without an agent": 1, "without a choice of agents": 1}
    assert sorted(set(np.round(decisions.pscore, 6))) == [0.2, 0.8]
    assert log.decisions["agent"].value_counts().sum() == 1601


def test_a_log_without_costs_still_says_whose_answers_were_good(logs):
    log = load_log(logs[0] / "drawn")
    report = evaluate_agents(replace(log, decisions=log.decisions.assign(total_cost_usd=np.nan)))
    assert report["logged"]["cost"] is None
    assert report["policies"]["always coder"]["cost"] is None
    assert report["policies"]["always coder"]["quality"]["value"] > 0
    assert "cost unknown" in agents_text(report)


@pytest.mark.parametrize(
    ("policy", "agent"),
    [
        ("always coder", lambda label: "coder"),
        ("always tutor", lambda label: "tutor"),
        ("math=coder,*=tutor", lambda label: "coder" if label == "math" else "tutor"),
    ],
)
def test_the_value_of_another_dispatch_is_its_truth(logs, policy, agent):
    folder, labels = logs
    report = evaluate_agents(load_log(folder / "drawn"), ["math=coder,*=tutor"])
    found = report["policies"][policy]
    for name, expected in zip(("quality", "cost"), truth(labels["drawn"], agent), strict=True):
        assert abs(found[name]["value"] - expected) < 3 * found[name]["se"], name
        assert found[name]["se"] < 0.1 * expected
    gap = found["quality"]["difference"]
    assert gap["value"] == pytest.approx(found["quality"]["value"] - report["logged"]["quality"]["value"], abs=0.01)


def test_the_logged_dispatch_is_worth_what_it_earned(logs):
    log = load_log(logs[0] / "drawn")
    decisions, _ = dispatched(log)
    report = evaluate_agents(log)
    assert abs(report["logged"]["quality"]["value"] - decisions.quality.mean()) < 0.01
    better = report["policies"]["likeliest"]["quality"]["difference"]
    assert better["ci_low"] > 0, "without the exploration each task goes to the agent for it"


def test_a_dispatch_without_chance_is_refused(logs, capsys):
    with pytest.raises(NotSupported, match="without chance") as refusal:
        evaluate_agents(load_log(logs[0] / "certain"))
    assert set(refusal.value.details["policies"]) == {"always coder", "always tutor", "likeliest"}
    assert main(["evaluate", "--log", str(logs[0] / "certain"), "--agents", "--json", "--quiet"]) == 1
    assert json.loads(capsys.readouterr().out)["refused"] is True


def test_the_command_prints_one_document_or_a_table(logs, capsys):
    arguments = ["evaluate", "--log", str(logs[0] / "drawn"), "--agents", "--dispatch", "code=coder", "--quiet"]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["policies"]) == {"always coder", "always tutor", "likeliest", "code=coder"}
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "1,600 tasks given to 2 agents by dispatch" in out
    assert "always tutor" in out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--agents", "--bundle", "x"], "neither --table nor --bundle"),
        ([], "needs --bundle"),
        (["--agents", "--dispatch", "code"], "not of the form"),
        (["--agents", "--dispatch", "code=codre"], "did you mean 'coder'"),
    ],
)
def test_a_wrong_question_is_a_usage_error(logs, capsys, more, said):
    assert main(["evaluate", "--log", str(logs[0] / "drawn"), "--quiet", *more]) == 2
    assert said in capsys.readouterr().err


def test_a_log_without_agents_is_read_and_says_that_it_has_none(tmp_path):
    events = [decision("d1"), attempt("d1"), thumbs("d1", 1.0), decision("d2"), attempt("d2"), thumbs("d2", 0.0)]
    log = load_log(write(tmp_path, events) or tmp_path)
    assert log.agents == ()
    assert log.agent_dist.shape == (2, 0)
    with pytest.raises(DataError, match="no task that agents were drawn for"):
        evaluate_agents(log)


def test_shares_that_are_no_distribution_are_left_out_and_told(tmp_path):
    untrue = {"agent": "a", "agent_propensity": 0.9, "agent_dist": {"a": 0.5, "b": 0.5}}
    true = untrue | {"agent_propensity": 0.5}
    partial = {"agent": "a", "agent_propensity": 0.3, "agent_dist": {"a": 0.3, "b": 0.3}}
    kinds = {"d1": untrue, "d2": true, "d3": partial, "d4": true, "d5": {"agent": "stranger"}}
    events = [one for name, agent in kinds.items() for one in (decision(name, **agent), thumbs(name, 1.0))]
    write(tmp_path, events)
    decisions, left_out = dispatched(load_log(tmp_path))
    assert len(decisions.action) == 2
    assert left_out == {
        "without a choice of agents": 1,
        "whose agent's propensity is not its share of the dispatch": 2,
    }


def test_a_rule_leaves_a_task_to_those_who_may_take_it(tmp_path):
    names = [f"d{i}" for i in range(40)]
    both, one = {"a": 0.5, "b": 0.25, "c": 0.25}, {"a": 0.5, "b": 0.5}
    events = []
    for i, name in enumerate(names):
        dist = both if i % 2 else one
        events += [decision(name, agent="a", agent_propensity=0.5, agent_dist=dist), thumbs(name, 1.0)]
    write(tmp_path, events)
    decisions, _ = dispatched(load_log(tmp_path))
    always = policies(decisions, [])["always c"]
    barred = ~decisions.eligible[:, 2]
    assert barred.sum() == 20
    assert (always[barred] == decisions.logging_dist[barred]).all()
    assert (always[~barred, 2] == 1).all()
    with pytest.raises(ConfigError, match="no agent 'z'"):
        policies(decisions, ["*=z"])
