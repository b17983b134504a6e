"""Clients that misbehave, by accident or on purpose: no 5xx of our own making, and nobody else is held up."""

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from router_runtime.gateway.settings import GatewaySettings
from tests.provider_server import ProviderServer, Received, Script, stream
from tests.runtime.execution.wires import TEXT, WIRES, good, sse
from tests.runtime.gateway.house import Gateway, registry_at, running
from tests.runtime.gateway.raw import connect, read_all, request, status_of

OPENAI = WIRES[0]
CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Which track?"}]}
BOUNDS = GatewaySettings(
    max_body_bytes=50_000,
    max_header_bytes=8_000,
    header_timeout_s=0.5,
    body_timeout_s=0.5,
    write_timeout_s=0.5,
    drain_s=5,
)


def answer(got: Received) -> Script:
    if b"flood" in got.body:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
        piece = sse({**chunk, "choices": [{"index": 0, "delta": {"content": "x" * 60_000}, "finish_reason": None}]})
        return stream([piece] * 400, end=True)
    return good(OPENAI, b'"stream":true' in got.body)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with (
        ProviderServer(answer, keep=False) as server,
        running(registry_at(server.url), tmp_path_factory.mktemp("g"), settings=BOUNDS, open_door=True) as started,
    ):
        yield started


def alive(gate: Gateway) -> None:
    """Others are answered."""
    found = httpx.post(gate.url + CHAT, json=ASK, timeout=60)
    assert found.json()["choices"][0]["message"]["content"] == TEXT


def exchanged(gate: Gateway, *pieces: bytes, pause: float = 0.0) -> bytes:
    with connect(gate.url) as sock:
        for piece in pieces:
            try:
                sock.sendall(piece)
            except OSError:
                break  # refused before all was sent
            time.sleep(pause)
        return read_all(sock)


def test_a_head_that_never_ends_is_cut(gate: Gateway) -> None:
    data = exchanged(gate, b"POST /v1/chat/completions HTTP/1.1\r\n", b"host: x\r\n", b"a: b\r\n")
    assert status_of(data) == 408


def test_a_head_that_drips_is_cut(gate: Gateway) -> None:
    data = exchanged(gate, *([b"GET /health HTTP/1.1\r\n", *[b"a: b\r\n"] * 20]), pause=0.1)
    assert data == b"" or status_of(data) == 408  # a reset may outrun the answer
    alive(gate)


def test_a_silent_connection_is_cut(gate: Gateway) -> None:
    assert status_of(exchanged(gate)) == 408


def test_the_second_head_is_bounded_too(gate: Gateway) -> None:
    first = request("/health", method="GET")
    data = exchanged(gate, first, b"GET /health HTTP/1.1\r\nhost: x\r\n")
    assert data.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 408" in data


def test_large_heads_are_refused(gate: Gateway) -> None:
    many = b"".join(b"x-%d: %s\r\n" % (i, b"y" * 100) for i in range(400))
    assert status_of(exchanged(gate, b"GET /health HTTP/1.1\r\nhost: x\r\n" + many)) == 431
    assert status_of(exchanged(gate, b"GET /" + b"a" * 100_000)) == 431


def test_large_bodies_are_refused(gate: Gateway) -> None:
    data = exchanged(gate, request(CHAT, b"x" * 60_000, {"connection": "close"}))
    assert status_of(data) == 413
    claimed = exchanged(gate, request("/v1/messages", None, {"content-length": "99999999999"}))
    assert status_of(claimed) == 413
    assert b"request_too_large" in claimed
    chunked = request(CHAT, None, {"transfer-encoding": "chunked", "connection": "close"}).replace(
        b"content-length: 0\r\n", b""
    )
    piece = b"%x\r\n%s\r\n" % (20_000, b"x" * 20_000)
    assert status_of(exchanged(gate, chunked, *[piece] * 4, b"0\r\n\r\n")) == 413
    route = exchanged(gate, request("/v1/route", b"x" * 60_000, {"connection": "close"}))
    assert status_of(route) == 413


def test_slow_bodies_are_cut(gate: Gateway) -> None:
    data = exchanged(gate, request(CHAT, None, {"content-length": "1000"}), b"{")
    assert status_of(data) == 408
    assert b"body_timeout" in data
    assert gate.service.limits.active == 0


@pytest.mark.parametrize(
    ("path", "host", "status"), [(CHAT, "evil.example", 403), ("/nowhere", "localhost", 404), ("/health", "x", 405)]
)
def test_a_body_that_drips_after_the_answer_is_cut(gate: Gateway, path: str, host: str, status: int) -> None:
    head = request(path, None, {"host": host, "content-length": "1000"})
    data = exchanged(gate, head, *[b"x"] * 50, pause=0.05)
    assert status_of(data) == status
    whole = request(path, b"x" * 1000, {"host": host})
    follower = request("/health", method="GET", headers={"connection": "close"})
    assert exchanged(gate, whole + follower).count(b"HTTP/1.1 ") == 2, "a body that comes leaves the connection open"


def test_many_slow_clients_hold_nobody_up(gate: Gateway) -> None:
    slow = [connect(gate.url) for _ in range(400)]
    try:
        for sock in slow:
            sock.sendall(request(CHAT, None, {"content-length": "1000"}))
        for _ in range(5):
            alive(gate)
            assert gate.service.limits.active == 0, "who still sends holds no place"
    finally:
        for sock in slow:
            sock.close()


def test_a_reader_that_stops_reading_is_cut(gate: Gateway) -> None:
    body = {**ASK, "stream": True, "messages": [{"role": "user", "content": "flood"}]}
    with connect(gate.url, receive_buffer=4096) as sock:
        sock.sendall(request(CHAT, body))
        assert sock.recv(10)
        alive(gate)
        until = time.monotonic() + 60
        while gate.service.limits.active and time.monotonic() < until:
            time.sleep(0.02)
        assert gate.service.limits.active == 0
    alive(gate)


def test_clients_that_leave_end_the_call(gate: Gateway) -> None:
    body = {**ASK, "stream": True, "messages": [{"role": "user", "content": "flood"}]}
    for _ in range(10):
        with connect(gate.url) as sock:
            sock.sendall(request(CHAT, body))
            sock.recv(10)
    until = time.monotonic() + 60
    while gate.service.limits.active and time.monotonic() < until:
        time.sleep(0.02)
    assert gate.service.limits.active == 0
    alive(gate)


@pytest.mark.parametrize(
    "junk",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 40, b"\x00" * 500, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
     b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
     b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
     b"GET /%ff%00/../../etc/passwd HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"],
    ids=["tls", "nulls", "no-target", "version", "negative", "smuggling", "path"],
)  # fmt: skip
def test_what_is_no_http_is_refused(gate: Gateway, junk: bytes) -> None:
    data = exchanged(gate, junk)
    assert 400 <= status_of(data) < 500
    alive(gate)


BODIES: list[bytes] = [
    b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"{" * 20_000, b"[" * 20_000, b'{"model": NaN}',
    b'{"model": 1e999}', b'{"model": ' + b"9" * 10_000 + b"}", b'{"model": "auto", "messages": [{}]}',
    b'{"model": "auto", "messages": [{"role": "user", "content": "\\ud800"}]}',
    b'{"model": "\\ud800", "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": "auto", "messages": "' + b"x" * 30_000 + b'"}',
    b'{"model": "auto", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}]}',
    b'{"model": "auto", "messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}',
    b'{"model": "auto", "messages": [{"role": "user", "content": "x"}], "tools": [[]]}',
    b'{"model": "auto", "messages": [{"role": "user", "content": "x"}], "metadata": 5}',
    b'{"model": "auto", "messages": [{"role": "\\u0000", "content": "x"}], "user": "\\u0000"}',
    b'{"model": "auto", "messages": [{"role": "user", "content": "x"}], "stream_options": []}',
    b'{"model": "auto", "max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}',
    b'{"model": "auto", "max_tokens": 5, "messages": [{"role": "assistant", "content": [{"type": "tool_use"}]}]}',
    b'{"model": "auto", "messages": [{"role": "user", "content": "x"}], "tools": 5}',
    b'{"decision_id": "d", "score": 1, "meta": {"a": 1e999}}',
    b'{"model": "auto", "messages": "x", "pointsman": {"session": "\\ud800"}, "user": "\\ud800"}',
    b'{"model": "auto", "input": [{"type": "function_call"}]}', b'{"model": "auto", "input": [{"type": "reasoning"}]}',
]  # fmt: skip


POSTS = [CHAT, "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/route", "/v1/feedback"]


@pytest.mark.parametrize("path", POSTS)
def test_hostile_bodies_get_a_4xx_in_json(gate: Gateway, path: str) -> None:
    with httpx.Client() as client:
        for body in BODIES:
            found = client.post(gate.url + path, content=body)
            fine = found.status_code == 200 or 400 <= found.status_code < 500 or "--log" in found.text
            assert fine, (body[:100], found.text)
            assert found.status_code == 200 or "error" in found.json()
    alive(gate)


GOOD: dict[str, dict[str, Any]] = {
    CHAT: {
        **ASK,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "stream": False,
        "pointsman": {"tier": None, "models": ["m-openai"]},
        "tool_choice": "auto",
        "stop": ["x"],
        "user": "u",
    },
    "/v1/messages": {
        "model": "auto",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "x"}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
        "tools": [{"name": "f", "input_schema": {}}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled", "budget_tokens": 5},
        "metadata": {"user_id": "u"},
    },
    "/v1/responses": {
        "model": "auto",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_object"}},
        "instructions": "x",
    },
    "/v1/route": {
        **ASK,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "response_format": {"type": "json_object"},
        "pointsman": {"session": "s", "trade_off": 0.5, "quality_target": 0.5, "intent": "x"},
        "user": "u",
    },
    "/v1/agents/match": {"messages": [{"role": "user", "content": "x"}], "tier": None, "intent": "x"},
}


def test_random_changes_of_good_bodies(gate: Gateway) -> None:
    """A good request with any of its values replaced by any other."""
    rng = random.Random(10)
    values: list[Any] = [None, True, 0, -1, 1e308, "", "x", [], {}, [None], [{}], {"type": None}, "\ud800", {"a": [{}]}]
    with httpx.Client() as client:
        for _ in range(800):
            path, body = rng.choice(list(GOOD.items()))
            changed = replaced(body, rng, values)
            found = client.post(gate.url + path, content=json.dumps(changed))
            assert found.status_code in (200, 400, 404), (path, changed, found.text)
    alive(gate)


def replaced(value: Any, rng: random.Random, values: list[Any]) -> Any:
    """``value`` with one value somewhere in it replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(list(value))
        return {**value, name: replaced(value[name], rng, values)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        return [replaced(item, rng, values) if i == place else item for i, item in enumerate(value)]
    return rng.choice(values)


def test_a_number_that_is_not_finite_is_no_json(gate: Gateway) -> None:
    found = httpx.post(f"{gate.url}{CHAT}", content=b'{"model": "auto", "messages": "x", "temperature": 1e999}')
    assert (found.status_code, found.json()["error"]["code"]) == (400, "invalid_json")


def test_a_client_that_leaves_in_its_body_is_no_fault_of_ours(gate: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("/v1/feedback", "/v1/route", "/v1/messages/count_tokens"):
        with connect(gate.url) as sock:
            sock.sendall(f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{{".encode())
    alive(gate)
    assert "Traceback" not in caplog.text


def test_unknown_paths_and_methods(gate: Gateway) -> None:
    assert httpx.get(gate.url + "/nothing").json()["error"]["code"] == "not_found"
    wrong = httpx.get(gate.url + CHAT)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"


def test_pipelined_requests_are_answered_in_order(gate: Gateway) -> None:
    twice = request("/health", method="GET") + request("/ready", None, {"connection": "close"}, "GET")
    data = exchanged(gate, twice)
    assert data.count(b"HTTP/1.1 200") == 2
    assert data.index(b'"ok"') < data.index(b'"ready"')
