"""Agents over HTTP: models and system prompts behind ``agent/NAME``, who may use them, and what is told of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from router_runtime.registry import TierEntry
from router_runtime.registry_agents import AgentEntry
from tests.provider_server import ProviderServer
from tests.runtime.execution.wires import TEXT, WIRES, good
from tests.runtime.execution.world import model, provider, registry
from tests.runtime.gateway.house import PATIENT, Gateway, registry_at, running

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Which track?"}]}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ProviderServer]:
    with ProviderServer(lambda got: good(WIRES[0], b'"stream":true' in got.body)) as server:
        yield server


@pytest.fixture(scope="module")
def gate(upstream: ProviderServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    entries = [provider("p", f"{upstream.url}/v1", api_key_env=None, **PATIENT)]
    agents = (
        AgentEntry("coder", "writes code", "Secret words.", models=("dear",), strategy="dedicated"),
        AgentEntry("boss", "leads", tiers=frozenset({"pro"})),
    )
    known = replace(
        registry(entries, [model("cheap", "p", price=(0.1, 0.1)), model("dear", "p", price=(50, 50))]),
        agents={one.name: one for one in agents},
        tiers={name: TierEntry(name) for name in ("free", "pro")},
    )
    folder = tmp_path_factory.mktemp("gate")
    with running(known, folder / "state", log=folder / "log") as started:
        yield started


@pytest.fixture
def headers(gate: Gateway) -> dict[str, str]:
    return {"authorization": f"Bearer {gate.key(tiers=('free',))}"}


def test_an_agent_answers_with_its_model_and_system_prompt(
    gate: Gateway, upstream: ProviderServer, headers: dict[str, str]
) -> None:
    for path, body in (
        ("/v1/chat/completions", ASK),
        ("/v1/messages", {**ASK, "max_tokens": 50}),
        ("/v1/responses", {"input": "Which track?"}),
    ):
        answer = httpx.post(f"{gate.url}{path}", json={"model": "agent/coder", **body}, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-pointsman-model"] == "dear"
        assert TEXT.encode() in answer.content or TEXT in str(answer.json())
        sent = upstream.received[-1].json()["messages"]
        assert sent[0] == {"role": "system", "content": "Secret words."}


def test_route_says_which_agent_and_feedback_counts_for_it(gate: Gateway, headers: dict[str, str]) -> None:
    body = {"model": "agent/auto", "messages": "please write code"}
    decision = httpx.post(f"{gate.url}/v1/route", json=body, headers=headers).json()
    assert (decision["agent"], decision["agent_dist"]) == ("coder", {"coder": 1.0})
    history, domain = gate.service.router.agents.history, decision["task"]["domain"]
    assert history.lead("coder", domain) == 0
    rating = {"decision_id": decision["id"], "score": 1.0}
    assert httpx.post(f"{gate.url}/v1/feedback", json=rating, headers=headers).status_code == 200
    assert not history.learn(decision["id"], 1.0), "it has been counted"


def test_who_may_not(gate: Gateway, headers: dict[str, str]) -> None:
    url = f"{gate.url}/v1/chat/completions"
    closed = httpx.post(url, json={"model": "agent/boss", **ASK}, headers=headers)
    assert (closed.status_code, "for the tiers pro" in closed.text) == (400, True)
    lost = httpx.post(url, json={"model": "agent/codr", **ASK}, headers=headers)
    assert (lost.status_code, "did you mean 'coder'" in lost.text) == (404, True)
    for wrong in (None, 7, [3]):
        answer = httpx.post(url, json={"model": "agent/coder", "messages": wrong}, headers=headers)
        assert answer.status_code == 400, (wrong, answer.text)


def test_refusals_and_hints_name_no_agent_of_other_tiers(upstream: ProviderServer, tmp_path: Path) -> None:
    plans = AgentEntry("takeover-plans", "secret", tiers=frozenset({"board"}))
    tiers = {name: TierEntry(name) for name in ("free", "board")}
    known = replace(registry_at(upstream.url), agents={plans.name: plans}, tiers=tiers)
    with running(known, tmp_path / "keys", memory=tmp_path / "memory.sqlite") as gate:
        key = {"authorization": f"Bearer {gate.key(tiers=('free',))}"}
        for path, body in (
            ("/v1/agents/match", ASK),
            ("/v1/route", {**ASK, "model": "agent/auto"}),
            ("/v1/chat/completions", {**ASK, "model": "agent/auto"}),
            ("/v1/chat/completions", {**ASK, "model": "agent/takeover-plan"}),
            ("/v1/chat/completions", {**ASK, "model": "takeover-plans"}),
            ("/v1/memory/search", {"agent": "takeover-plan", "query": "x"}),
        ):
            answer = httpx.post(gate.url + path, json=body, headers=key)
            assert answer.status_code in (400, 404), answer.text
            assert "takeover-plans" not in answer.text.replace("no model or alias 'takeover-plans'", "")
            assert "board" not in answer.text


def test_lists_hold_what_the_key_opens_and_no_system_prompt(gate: Gateway, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{gate.url}/v1/agents", headers=headers)
    assert [row["id"] for row in answer.json()["data"]] == ["agent/coder"]
    assert "Secret" not in answer.text
    assert "dear" not in answer.text
    assert httpx.get(f"{gate.url}/v1/agents/coder", headers=headers).json()["description"] == "writes code"
    assert httpx.get(f"{gate.url}/v1/agents/boss", headers=headers).status_code == 404
    models = [row["id"] for row in httpx.get(f"{gate.url}/v1/models", headers=headers).json()["data"]]
    assert "agent/coder" in models
    assert "agent/boss" not in models
