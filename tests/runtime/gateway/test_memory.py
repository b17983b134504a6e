"""The shared memory over HTTP: on whose behalf a key may write, read and forget, and what is refused."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from router_runtime.encoder import Vector
from router_runtime.errors import ConfigError, StoreError
from router_runtime.gateway.memory_api import tidy
from router_runtime.gateway.serve import remember
from router_runtime.gateway.settings import GatewaySettings
from router_runtime.memory import HashEncoder, Memory
from router_runtime.memory.access import by_registry
from router_runtime.registry import TierEntry
from router_runtime.registry_agents import AgentEntry, MemoryEntry
from tests.provider_server import ProviderServer
from tests.runtime.execution.wires import WIRES, good
from tests.runtime.gateway.house import Gateway, registry_at, running
from tests.runtime.gateway.test_running import registry_text, served

TEAM = MemoryEntry("team", frozenset({"team"}))
AGENTS = (
    AgentEntry("coding", "writes code", memory=TEAM),
    AgentEntry("vision", "looks at pictures", labels=("vision",), memory=TEAM),
    AgentEntry("alone", "keeps to itself"),
    AgentEntry("boss", "leads", tiers=frozenset({"pro"}), memory=TEAM),
)
DIRECTORY = by_registry(lambda: {one.name: one for one in AGENTS})


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gate")
    tiers = {name: TierEntry(name) for name in ("free", "pro")}
    with ProviderServer(lambda _got: good(WIRES[0], False)) as server:
        known = registry_at(server.url, agents={one.name: one for one in AGENTS}, tiers=tiers)
        with running(known, folder / "state", memory=folder / "memory.sqlite") as started:
            yield started


Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(gate: Gateway) -> Ask:
    key = gate.key(tiers=("free",))

    def send(method: str, path: str, **body: Any) -> httpx.Response:
        return httpx.request(method, gate.url + path, content=json.dumps(body), headers={"x-api-key": key}, timeout=30)

    return send


def texts(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["text"] for row in answer.json()["data"]]


def test_one_agent_finds_what_another_wrote_until_it_is_forgotten(gate: Gateway, ask: Ask) -> None:
    said = "The login form of the shop is called Zanzibar"
    written = ask("POST", "/v1/memory", agent="coding", text=said, tags=["security"])
    assert written.status_code == 200, written.text
    ask("POST", "/v1/memory", agent="alone", text="The login form is mine")
    found = ask("POST", "/v1/memory/search", agent="agent/vision", query="login form")
    assert texts(found) == [said]
    row = found.json()["data"][0]
    assert (row["id"], row["agent"], row["scope"], row["tags"]) == (
        written.json()["id"],
        "coding",
        "team",
        ["security"],
    )
    assert texts(ask("POST", "/v1/memory/search", agent="vision", query="login", agents=["alone"])) == []
    assert texts(ask("POST", "/v1/memory/search", agent="alone", query="login form")) == ["The login form is mine"]
    others = ask("DELETE", "/v1/memory", agent="vision", ids=[row["id"]])
    assert others.json()["forgotten"] == 0, "only its author forgets it"
    assert ask("DELETE", "/v1/memory", agent="coding", ids=[row["id"]]).json()["forgotten"] == 1
    assert texts(ask("POST", "/v1/memory/search", agent="vision", query="login form")) == []
    assert gate.service.memory is not None
    path = gate.service.memory.store.path  # type: ignore[attr-defined]
    assert b"Zanzibar" not in b"".join(one.read_bytes() for one in path.parent.glob("memory.sqlite*"))


def test_what_has_expired_is_deleted_too(gate: Gateway, ask: Ask) -> None:
    ask("POST", "/v1/memory", agent="coding", text="soon gone", ttl_s=0.001)
    assert texts(ask("POST", "/v1/memory/search", agent="coding", query="soon gone")) == []
    assert gate.service.memory is not None
    assert gate.service.memory.purge() == 1


def test_the_gateway_deletes_what_has_expired_and_encodes_again_by_itself(tmp_path: Path) -> None:
    place = tmp_path / "memory.sqlite"
    before = Memory.open(place, DIRECTORY, HashEncoder(dims=16))
    before.write("coding", "an old secret", ttl_s=1e-3)
    before.write("coding", "an old habit")
    with ProviderServer() as server, running(registry_at(server.url), tmp_path / "state", memory=place):
        until = time.monotonic() + 60
        while before.store.other_encodings(HashEncoder().fingerprint, 0, 10) and time.monotonic() < until:
            time.sleep(0.02)
        assert before.store.other_encodings(HashEncoder().fingerprint, 0, 10) == []
        assert [one.expires for one in before.store.placed(0)] == [None]
    before.close()


class Failing(HashEncoder):
    """Takes no text."""

    fingerprint = "failing"

    def encode(self, texts: Sequence[str]) -> Vector:
        raise ConfigError("encoder: the model fails on its input")


async def test_an_encoder_that_fails_is_told_and_does_not_end_the_upkeep(
    gate: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = Memory.open(tmp_path / "memory.sqlite", DIRECTORY)
    before.write("coding", "a fact")
    memory = Memory.open(tmp_path / "memory.sqlite", DIRECTORY, Failing())
    upkeep = asyncio.create_task(tidy(replace(gate.service, memory=memory)))
    while not upkeep.done() and "(reembed): encoder: the model fails" not in caplog.text:
        await asyncio.sleep(0.01)
    assert not upkeep.done()
    upkeep.cancel()
    before.close()
    memory.close()


def test_a_key_acts_for_the_agents_of_its_tiers_alone(gate: Gateway, ask: Ask) -> None:
    body = {"agent": "boss", "text": "to be kept from the free tier", "scope": "agent:boss"}
    pro = {"x-api-key": gate.key(tiers=("pro",))}
    assert httpx.post(f"{gate.url}/v1/memory", json=body, headers=pro).status_code == 200
    refusals = [
        ask("POST", "/v1/memory", **body),
        ask("POST", "/v1/memory/search", agent="boss", query="kept"),
        ask("DELETE", "/v1/memory", agent="boss", everything=True),
        ask("POST", "/v1/memory", agent="alone", text="x", scope="agent:boss"),
    ]
    assert [answer.status_code for answer in refusals] == [403] * 4
    assert texts(ask("POST", "/v1/memory/search", agent="coding", query="kept from the free tier")) == []


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"agent": "codin", "text": "x"}, 404, "did you mean 'coding'"),
        ({"text": "x"}, 400, "agent must be"),
        ({"agent": "coding"}, 400, "text must be"),
        ({"agent": "coding", "text": "  "}, 400, "expected 1 to"),
        ({"agent": "coding", "text": "x", "scpe": "agent:coding"}, 400, "did you mean 'scope'"),
        ({"agent": "coding", "text": "x", "scope": "elsewhere"}, 403, "may not write"),
        ({"agent": "coding", "text": "x", "scope": "a\x00b"}, 400, "scope must be"),
        ({"agent": "coding", "text": "x", "tags": "one"}, 400, "tags must be"),
        ({"agent": "coding", "text": "x", "tags": ["\ud800"]}, 400, "tags[0] must be"),
        ({"agent": "coding", "text": "x", "ttl_s": True}, 400, "ttl_s must be"),
        ({"agent": "coding", "text": "x", "ttl_s": 10**400}, 400, "ttl_s must be"),
    ],
)
def test_writes_that_are_refused(ask: Ask, body: dict[str, Any], status: int, words: str) -> None:
    answer = ask("POST", "/v1/memory", **body)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


def test_searches_and_deletions_that_are_refused(ask: Ask) -> None:
    for k in (0, 51, 1.5, True, "3", 10**400):
        assert ask("POST", "/v1/memory/search", agent="coding", query="x", k=k).status_code == 400, k
    assert "ids, a scope, or everything" in ask("DELETE", "/v1/memory", agent="coding").text
    assert ask("DELETE", "/v1/memory", agent="coding", everything=True, scope="team").status_code == 400
    assert ask("DELETE", "/v1/memory", agent="coding", everything=True, ids=[]).status_code == 400
    assert ask("DELETE", "/v1/memory", agent="coding", scope="team", ids=[]).json()["forgotten"] == 0


def test_lone_surrogates_of_a_text_do_no_harm(ask: Ask) -> None:
    assert ask("POST", "/v1/memory", agent="coding", text="half a pair \ud800 of walrus").status_code == 200
    assert texts(ask("POST", "/v1/memory/search", agent="coding", query="walrus \ud800")) == ["half a pair ? of walrus"]


def test_who_would_take_a_task(ask: Ask) -> None:
    answer = ask("POST", "/v1/agents/match", messages="please write code for me")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert (document["name"], document["dist"]["coding"]) == ("coding", 1.0)
    assert "boss" not in answer.text, "the free tier does not hear of it"
    assert ask("POST", "/v1/agents/match").status_code == 400
    assert ask("POST", "/v1/agents/match", messages="x", tier="pro").status_code == 403
    assert ask("POST", "/v1/agents/match", messages="x", model="auto").status_code == 400


def test_a_gateway_without_a_memory_says_so(gate: Gateway, ask: Ask) -> None:
    kept = gate.service.memory
    gate.service.memory = None
    try:
        answer = ask("POST", "/v1/memory/search", agent="coding", query="x")
    finally:
        gate.service.memory = kept
    assert (answer.status_code, "--memory" in answer.text) == (404, True)


class Hanging(HashEncoder):
    """Answers nobody before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go_on = threading.Semaphore(0), threading.Event()

    def encode(self, texts: Sequence[str]) -> Vector:
        self.entered.release()
        assert self.go_on.wait(60)
        return super().encode(texts)


def test_an_encoder_that_hangs_stops_nothing_but_the_memory(tmp_path: Path) -> None:
    encoder, most = Hanging(), 10
    settings = GatewaySettings(max_concurrent_memory=most, drain_s=5)
    with ProviderServer() as server, ThreadPoolExecutor(most) as clients:
        known = registry_at(server.url, agents={one.name: one for one in AGENTS})
        more: dict[str, Any] = {"log": tmp_path / "log", "state_dir": tmp_path / "state"}
        with running(known, tmp_path / "keys", settings=settings, open_door=True, **more) as gate:
            gate.service.memory = Memory.open(tmp_path / "m.sqlite", DIRECTORY, encoder)

            def post(path: str, **body: Any) -> int:
                return httpx.post(gate.url + path, json=body, timeout=30).status_code

            waiting = [clients.submit(post, "/v1/memory", agent="coding", text=f"fact {n}") for n in range(most)]
            try:
                assert encoder.entered.acquire(timeout=30)
                while gate.service.limits.active < most:
                    time.sleep(0.01)
                full = httpx.post(f"{gate.url}/v1/memory/search", json={"agent": "coding", "query": "fact"})
                assert (full.status_code, full.json()["error"]["code"]) == (503, "memory_full")
                assert post("/admin/models/m-openai/disable") == 200
                assert post("/v1/feedback", decision_id="x", score=1) == 200
                assert httpx.get(f"{gate.url}/admin/status", timeout=30).status_code == 200
            finally:
                encoder.go_on.set()
            assert [one.result(30) for one in waiting] == [200] * most
            assert gate.service.limits.active == 0
            gate.service.memory.close()


def test_a_file_that_is_no_memory_is_refused_at_the_start(gate: Gateway, tmp_path: Path) -> None:
    place = tmp_path / "no.sqlite"
    place.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="memory"):
        remember(replace(gate.service, closing=[]), str(place))


def test_the_command_serves_a_memory_that_outlives_it(tmp_path: Path) -> None:
    known = tmp_path / "with_agents.yaml"
    known.write_text(registry_text("http://127.0.0.1:9") + "agents: {coding: {description: writes code}}\n")
    options = ["--insecure-local", "--registry", str(known), "--memory", str(tmp_path / "memory.sqlite")]
    with served(tmp_path, "http://127.0.0.1:9", *options) as (url, _killed):
        assert httpx.post(f"{url}/v1/memory", json={"agent": "coding", "text": "kept"}).status_code == 200
    with served(tmp_path, "http://127.0.0.1:9", *options) as (url, _killed):
        assert texts(httpx.post(f"{url}/v1/memory/search", json={"agent": "coding", "query": "kept"})) == ["kept"]
