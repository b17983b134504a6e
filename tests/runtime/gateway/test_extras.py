"""What `model` and the extras of a request mean."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from router_runtime.registry import IntentEntry, TierEntry
from router_runtime.stores.spool import read_spool, spool_files
from tests.provider_server import ProviderServer, reply
from tests.runtime.execution.wires import TEXT, WIRES, good
from tests.runtime.execution.world import model, provider, registry
from tests.runtime.gateway.house import CAPABLE, PATIENT, Gateway, registry_at, running

OPENAI = WIRES[0]
ASK: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Which track?"}]}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ProviderServer]:
    with ProviderServer(lambda got: good(OPENAI, b'"stream":true' in got.body)) as server:
        yield server


@pytest.fixture(scope="module")
def gate(upstream: ProviderServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A cheap model and a dear one that is better and knows more."""
    entries = [provider("p", f"{upstream.url}/v1", api_key_env=None, **PATIENT)]
    cheap = replace(model("cheap", "p", price=(0.1, 0.1)), quality_prior=0.6)
    dear = replace(model("dear", "p", price=(50, 50)), quality_prior=0.95, capabilities=CAPABLE)
    known = replace(
        registry(entries, [cheap, dear]),
        intents={"see": IntentEntry("see", capabilities=frozenset({"vision"}))},
        tiers={"pro": TierEntry("pro")},
        labels={"hard": {"dear": 1.0}},
    )
    folder = tmp_path_factory.mktemp("gate")
    with running(known, folder / "state", open_door=True, log=folder / "log") as started:
        started.log_folder = folder / "log"  # type: ignore[attr-defined]
        yield started


def ask(gate: Gateway, **body: Any) -> httpx.Response:
    return httpx.post(f"{gate.url}/v1/chat/completions", json={**ASK, **body})


def served(gate: Gateway, **body: Any) -> str:
    answer = ask(gate, **body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == answer.headers["x-pointsman-model"]
    return answer.headers["x-pointsman-model"]


@pytest.mark.parametrize(
    ("extras", "expected"),
    [
        ({"model": "cheap"}, "cheap"),
        ({"model": "dear"}, "dear"),
        ({"model": "auto:quality"}, "dear"),
        ({"model": "auto:cost", "quality_target": 0.5}, "cheap"),
        ({"model": "auto:cost-first", "pointsman": {"quality_target": 0.9}}, "dear"),
        ({"model": "intent/see"}, "dear"),
        ({"pointsman": {"strategy": "balanced", "trade_off": 0.0}}, "cheap"),
        ({"capabilities": ["tools"]}, "dear"),
        ({"models": ["dear"]}, "dear"),
        ({"model": "auto:quality", "max_price": 1}, "cheap"),
        ({"model": "auto:quality", "max_price": {"prompt": 1}}, "cheap"),
        ({"model": "auto:quality", "budget": 0.001}, "cheap"),
        ({"pointsman": {"strategy": "capability-first", "labels": ["hard"]}}, "dear"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "dear"),
    ],
    ids=str,
)
def test_what_is_asked_for_is_served(gate: Gateway, upstream: ProviderServer, extras: Any, expected: str) -> None:
    assert served(gate, **extras, temperature=0.5, session="s1", user="ann") == expected
    sent = upstream.received[-1].json()
    ours = {"pointsman", "tier", "budget", "trade_off", "capabilities", "models", "max_price", "session"}
    assert sent.keys().isdisjoint(ours)
    assert sent["temperature"] == 0.5


@pytest.mark.parametrize(
    ("extras", "status", "words"),
    [
        ({"model": "chaep"}, 404, "did you mean 'cheap'"),
        ({"model": "intent/sea"}, 404, "did you mean 'see'"),
        ({"model": None}, 400, "model is missing"),
        ({"pointsman": {"trade_of": 1}}, 400, "did you mean 'trade_off'"),
        ({"pointsman": []}, 400, "pointsman must be an object"),
        ({"trade_off": 2}, 400, "trade_off must be a number in 0..1"),
        ({"budget": True}, 400, "budget must be"),
        ({"models": []}, 400, "models must be"),
        ({"models": ["chaep"]}, 404, "did you mean 'cheap'"),
        ({"capabilities": ["flying"]}, 400, "capabilities must be one of"),
        ({"max_price": 0.00001}, 400, "as cheap as max_price"),
        ({"max_price": {"speed": 1}}, 400, "max_price.speed"),
        ({"budget": 0.0}, 400, "no model can take this request"),
        ({"models": ["cheap"], "capabilities": ["vision"]}, 400, "no model can take this request"),
        ({"messages": []}, 400, "messages is empty"),
        ({"messages": [{"content": "x"}]}, 400, "has no role"),
        ({"messages": 5}, 400, "messages"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"stream": "yes"}, 400, "stream must be"),
        ({"tier": "pr"}, 400, "did you mean 'pro'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_name(gate: Gateway, extras: Any, status: int, words: str) -> None:
    answer = ask(gate, **extras)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]


def test_route_decides_only(gate: Gateway, upstream: ProviderServer) -> None:
    before = len(upstream.received)
    answer = httpx.post(f"{gate.url}/v1/route", json={**ASK, "model": "auto:quality", "explain": True})
    found = answer.json()
    assert (found["chosen"], found["influences"]) == ("dear", [])
    assert found["id"] == answer.headers["x-pointsman-decision"]
    assert sum(c["probability"] for c in found["candidates"]) == pytest.approx(1.0)
    assert len(upstream.received) == before
    assert httpx.post(f"{gate.url}/v1/route", json={"messages": "Which track?"}).status_code == 200
    assert httpx.post(f"{gate.url}/v1/route", json={**ASK, "tmperature": 1}).status_code == 400


def test_route_does_not_send_the_request_back(upstream: ProviderServer, tmp_path: Path) -> None:
    more: dict[str, Any] = {"log": tmp_path / "log", "log_prompts": "redacted"}
    with running(registry_at(upstream.url), tmp_path / "keys", open_door=True, **more) as gate:
        found = httpx.post(f"{gate.url}/v1/route", json={"messages": "Call 555-867-5309"}).json()
    assert (found["prompt"], found["features"]) == (None, None)
    (decision,) = [json.loads(row.body) for path in spool_files(tmp_path / "log") for row in read_spool(path)]
    assert (decision["id"], decision["prompt"]) == (found["id"], "Call [phone]")


def test_feedback_is_durable(gate: Gateway) -> None:
    decision = ask(gate).headers["x-pointsman-decision"]
    one = {"decision_id": decision, "score": 1, "source": "judge", "metric": "thumbs", "meta": {"by": "ann"}}
    assert httpx.post(f"{gate.url}/v1/feedback", json=one).json() == {"accepted": 1}
    many = {"feedback": [{"decision_id": decision, "score": i / 100} for i in range(100)]}
    assert httpx.post(f"{gate.url}/v1/feedback", json=many).json() == {"accepted": 100}
    wrong = httpx.post(f"{gate.url}/v1/feedback", json={"feedback": [one, {**one, "score": 7}]})
    assert wrong.status_code == 400
    assert "feedback[1].score" in wrong.json()["error"]["message"]
    folder: Path = gate.log_folder  # type: ignore[attr-defined]
    rows = [row for path in spool_files(folder) for row in read_spool(path)]
    kinds = [row.kind for row in rows if row.decision_id == decision]
    assert sorted(kinds) == ["attempt", "decision", *["feedback"] * 101]


def test_feedback_needs_a_log(upstream: ProviderServer, tmp_path: Path) -> None:
    with running(registry_at(upstream.url), tmp_path, open_door=True) as bare:
        answer = httpx.post(f"{bare.url}/v1/feedback", json={"decision_id": "x", "score": 1})
    assert answer.status_code == 503
    assert "--log" in answer.json()["error"]["message"]


def test_fallback_is_told(gate: Gateway, upstream: ProviderServer) -> None:
    upstream.push(reply({"error": {"message": "no"}}, 500))
    answer = ask(gate, model="auto:quality")
    assert answer.json()["choices"][0]["message"]["content"] == TEXT
    assert answer.json()["model"] == "cheap" == answer.headers["x-pointsman-model"]
    assert "cheap took over" in answer.headers["x-pointsman-reason"]
