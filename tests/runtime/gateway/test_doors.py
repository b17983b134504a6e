"""Who may come in, and how much of it: keys, tiers, budgets, rates, places."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from router_runtime.budgets import Budgets
from router_runtime.errors import ConfigError, GatewayRefusal
from router_runtime.gateway.auth import LOCAL, Caller, authenticate
from router_runtime.gateway.keys import FILE, Keys, create_key, read_keys, revoke_key
from router_runtime.gateway.limits import Limits
from router_runtime.gateway.serve import check_door
from router_runtime.gateway.settings import GatewaySettings
from router_runtime.registry import BudgetEntry, TierEntry
from tests.conftest import Clock
from tests.provider_server import Close, ProviderServer, Received, Script, Sleep, Stall, stream
from tests.runtime.execution.wires import WIRES, begun, good
from tests.runtime.gateway.house import Gateway, quick_engine, registry_at, running

OPENAI = WIRES[0]
ASK: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Which track?"}]}


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderServer]:
    with ProviderServer(lambda got: good(OPENAI, b'"stream":true' in got.body)) as server:
        yield server


@pytest.fixture
def gateway(provider: ProviderServer, tmp_path: Path) -> Iterator[Gateway]:
    tiers = {
        "free": TierEntry("free", models=frozenset({"m-openai"})),
        "pro": TierEntry("pro"),
        "tight": TierEntry("tight", user_budgets=(BudgetEntry("day", usd=1e-9),)),
    }
    known = registry_at(provider.url, ["openai", "openai-responses"], tiers=tiers)
    budgets = Budgets()
    with running(known, tmp_path, engine=quick_engine(budgets=budgets)) as gate:
        yield gate


def ask(gate: Gateway, key: str, **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{gate.url}/v1/chat/completions", json={**ASK, **body}, headers=headers)


def test_secrets_are_nowhere_on_disk(tmp_path: Path) -> None:
    key, record = create_key(tmp_path, "app", 0.0, tiers=("free",))
    text = (tmp_path / FILE).read_text()
    assert key.rsplit("-", 1)[-1] not in text
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    assert key not in repr(record)
    keys = Keys(tmp_path)
    assert keys.find(key) == record
    assert [keys.find(wrong) for wrong in (key[:-1] + "x" * (key[-1] != "x"), "", "pm-", key + "\n", "é")] == [None] * 5


def test_a_key_is_seen_and_ended_within_a_second(tmp_path: Path, clock: Clock) -> None:
    timer = Clock(0.0)
    keys = Keys(tmp_path, clock, timer)
    key, record = create_key(tmp_path, "app", clock())
    assert keys.find(key) is None
    timer.advance(1.1)
    assert keys.find(key) == record
    with pytest.raises(ConfigError, match="0 keys"):
        revoke_key(tmp_path, "nobody", clock())
    clock.advance(-3600)  # the machine's clock is set right
    revoke_key(tmp_path, "app", clock())
    timer.advance(1.1)
    found = keys.find(key)
    assert found is not None
    assert found.refusal(clock()) == "this key was revoked"


def test_a_damaged_file_locks_nobody_out(tmp_path: Path, clock: Clock) -> None:
    key, record = create_key(tmp_path, "app", clock())
    keys = Keys(tmp_path, timer=clock)
    (tmp_path / FILE).write_text("{")
    clock.advance(2)
    assert keys.find(key) == record


def test_keys_expire(tmp_path: Path, clock: Clock) -> None:
    _, record = create_key(tmp_path, "app", clock(), expires=clock() + 10)
    assert record.refusal(clock()) is None
    assert record.refusal(clock() + 10) == "this key has expired"
    assert read_keys(tmp_path)[record.id] == record


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example"])
def test_the_open_door_is_for_loopback_alone(host: str) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        check_door(host, insecure_local=True)
    check_door(host, insecure_local=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_the_open_door_on_loopback(host: str) -> None:
    check_door(host, insecure_local=True)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:80", "[::1]:8080", "[::1]", None])
@pytest.mark.parametrize("own_page", [False, True])
def test_the_open_door_takes_programs_and_its_own_pages(host: str | None, own_page: bool) -> None:
    headers = {} if host is None else {b"host": host.encode()}
    if own_page and host is not None:
        headers[b"origin"] = b"http://" + host.lower().encode()
    assert authenticate(None, headers, "/admin/status", 0.0) is LOCAL


@pytest.mark.parametrize(
    ("host", "origin", "reason"),
    [
        ("127.0.0.1:8080", "https://evil.example", "pages of other sites"),
        ("127.0.0.1:8080", "http://127.0.0.1:3000", "pages of other sites"),
        ("127.0.0.1:8080", "null", "pages of other sites"),
        ("rebound.example:8080", "http://rebound.example:8080", "not to 'rebound.example:8080'"),
        ("127.0.0.1.evil.example", None, "not to '127.0.0.1.evil.example'"),
        ("[::2]:8080", None, "answers to localhost"),
    ],
)
def test_the_open_door_takes_no_page_of_another_site(host: str, origin: str | None, reason: str) -> None:
    headers = {b"host": host.encode()} | ({} if origin is None else {b"origin": origin.encode()})
    with pytest.raises(GatewayRefusal, match=reason) as refused:
        authenticate(None, headers, "/v1/chat/completions", 0.0)
    assert (refused.value.status, refused.value.code) == (403, "not_local")


def test_no_key_no_entry(gateway: Gateway) -> None:
    for path in ("/v1/chat/completions", "/v1/models", "/v1/route", "/v1/feedback", "/admin/status", "/nothing"):
        refused = httpx.post(gateway.url + path, json=ASK)
        assert refused.status_code == 401, path
        assert refused.json()["error"]["code"] == "invalid_api_key"
    assert httpx.post(f"{gateway.url}/v1/messages", json=ASK).json()["error"]["type"] == "authentication_error"
    for path in ("/health", "/ready", "/openapi.json"):
        assert httpx.get(gateway.url + path).status_code == 200


def test_admin_keys_stand_apart(gateway: Gateway) -> None:
    admin, app = gateway.key("root", admin=True), gateway.key("app")
    assert ask(gateway, admin).status_code == 403
    assert ask(gateway, app).status_code == 200
    headers = {"x-api-key": app}
    assert httpx.get(f"{gateway.url}/admin/status", headers=headers).status_code == 403
    assert httpx.get(f"{gateway.url}/admin/no-such-path", headers={"x-api-key": admin}).status_code == 404


def test_a_key_bounds_the_tier(gateway: Gateway) -> None:
    key = gateway.key(tiers=("free", "pro"))
    assert ask(gateway, key).headers["x-pointsman-model"] == "m-openai"
    assert ask(gateway, key, model="m-openai-responses").status_code == 403
    assert ask(gateway, key, tier="pro", model="m-openai").status_code == 200
    assert ask(gateway, key, pointsman={"tier": "tight"}).status_code == 403
    listed = httpx.get(f"{gateway.url}/v1/models", headers={"x-api-key": key}).json()["data"]
    assert "m-openai-responses" not in {row["id"] for row in listed}
    assert ask(gateway, gateway.key("any"), tier="nope").status_code == 400


def test_a_keys_budget_ends(gateway: Gateway) -> None:
    key = gateway.key(budget_usd=0.005, budget_window="day")
    answers = [ask(gateway, key, max_tokens=5) for _ in range(40)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert statuses == sorted(statuses)
    error = answers[-1].json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "budget_exceeded")
    assert 0 < int(answers[-1].headers["retry-after"]) <= 86_400


def test_who_names_no_user_counts_as_the_key(gateway: Gateway) -> None:
    key = gateway.key(tiers=("tight",))
    assert ask(gateway, key).status_code == 429


def test_rates(gateway: Gateway) -> None:
    key = gateway.key(requests_per_minute=2)
    assert [ask(gateway, key).status_code for _ in range(3)] == [200, 200, 429]
    refused = ask(gateway, key)
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    claudes = {**ASK, "max_tokens": 5}
    answer = httpx.post(f"{gateway.url}/v1/messages", json=claudes, headers={"x-api-key": key})
    assert answer.json()["error"]["type"] == "rate_limit_error"
    thrifty = gateway.key("thrifty", tokens_per_minute=20)
    assert [ask(gateway, thrifty).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("end", [Close(), Stall()], ids=["the provider cuts", "the client leaves"])
def test_tokens_of_streams_that_do_not_end_count_too(tmp_path: Path, end: Close | Stall) -> None:
    def cut_short(got: Received) -> Script:
        if b'"stream":true' not in got.body:
            return good(OPENAI, False)
        return stream(begun(OPENAI), end=False, then=[end])  # before it reports what it took

    with ProviderServer(cut_short) as server, running(registry_at(server.url), tmp_path, engine=quick_engine()) as gate:
        key = gate.key(tokens_per_minute=1000)
        headers, body = {"authorization": f"Bearer {key}"}, {**ASK, "stream": True}
        body["messages"] = [{"role": "user", "content": "Which track? " * 1000}]
        with httpx.stream("POST", f"{gate.url}/v1/chat/completions", json=body, headers=headers) as answer:
            next(answer.iter_bytes())
        until = time.monotonic() + 20
        while gate.service.limits.active and time.monotonic() < until:
            time.sleep(0.01)
        assert ask(gate, key).status_code == 429


async def test_buckets_fill_again(clock: Clock) -> None:
    limits = Limits(GatewaySettings(), clock)
    caller = Caller("k", requests_per_minute=60)
    for _ in range(60):
        await limits.admit(caller)
    with pytest.raises(GatewayRefusal) as refused:
        await limits.admit(caller)
    assert refused.value.retry_after == pytest.approx(1.0)
    clock.advance(1.0)
    await limits.admit(caller)
    with pytest.raises(GatewayRefusal):
        await limits.admit(caller)


def test_places_are_bounded(provider: ProviderServer, tmp_path: Path) -> None:
    settings = GatewaySettings(max_concurrent=3, max_concurrent_per_key=2, drain_s=5)
    provider.push(*[[Sleep(1.0), *good(OPENAI, False)] for _ in range(3)])
    with running(registry_at(provider.url), tmp_path, settings=settings) as gate:
        one, two = gate.key("one"), gate.key("two")
        held = [threading.Thread(target=ask, args=(gate, key)) for key in (one, one, two)]
        for thread in held:
            thread.start()
        while gate.service.limits.active < 3:
            time.sleep(0.005)
        refused = ask(gate, two)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        for thread in held[:1]:
            thread.join()
        while gate.service.limits.active > 0:
            time.sleep(0.005)
        assert ask(gate, two).status_code == 200
        for thread in held:
            thread.join()
