"""The HTTP seam: both transports give the same answers and the same failures, and hold no key."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from router_runtime.errors import ConfigError, TransportFailure
from router_runtime.proxies import ProxiedTransport, proxy_for
from router_runtime.transport import Transport
from router_runtime.transports import open_transport
from tests.provider_server import (
    Close,
    ProviderServer,
    Reset,
    Script,
    Send,
    Stall,
    closed_port,
    head,
    not_http,
    reply,
    stream,
)

KEY = "sk-test-0123456789"
TRAILER = b"2\r\n{}\r\n0\r\nx: " + b"y" * 400_000
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


@pytest.fixture(params=["httpx", "httptools"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    if request.param == "httptools":
        pytest.importorskip("httptools", reason="the fast extra is not installed")
    opened = open_transport(request.param)
    yield opened
    await opened.aclose()


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as started:
        yield started


async def fetch(transport: Transport, url: str, body: bytes = b"{}") -> tuple[int, dict[str, str], bytes]:
    response = await transport.open("POST", url, HEADERS, body)
    try:
        parts = []
        while part := await response.read():
            parts.append(part)
        return response.status, dict(response.headers), b"".join(parts)
    finally:
        await response.aclose()


async def test_sends_and_receives(transport: Transport, server: ProviderServer) -> None:
    server.push(reply({"ok": 1}, 201, x_request_id="r1"), stream([b"data: 1\n\n", b"data: 2\n\n"]))
    status, headers, body = await fetch(transport, server.url + "/v1/x", b'{"a": 1}')
    assert (status, {k.lower(): v for k, v in headers.items()}["x-request-id"], body) == (201, "r1", b'{"ok": 1}')
    sent = server.received[-1]
    assert (sent.method, sent.path, sent.body) == ("POST", "/v1/x", b'{"a": 1}')
    assert sent.headers["authorization"] == HEADERS["authorization"]
    assert (await fetch(transport, server.url))[2] == b"data: 1\n\ndata: 2\n\n"


async def test_a_connection_is_used_again_only_after_its_body_was_read(transport: Transport) -> None:
    with ProviderServer() as own:
        own.push(reply("a"), reply("b"), stream([b"x"], end=False, then=[Stall()]), reply("c"))
        await fetch(transport, own.url)
        await fetch(transport, own.url)
        assert own.connections == 1
        response = await transport.open("POST", own.url, HEADERS, b"")
        assert await response.read() == b"x"
        await response.aclose()
        assert (await fetch(transport, own.url))[2] == b"c"
        assert own.connections == 2


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["close", "reset"])
async def test_a_kept_connection_that_ends_says_so(transport: Transport, end: Close | Reset) -> None:
    """The server closes it as the next request comes; a new connection that ends so is another matter."""
    with ProviderServer() as own:
        own.push(reply("a"), [end], [end], reply("b"))
        await fetch(transport, own.url)
        for kind in ("stale", "reset"):
            with pytest.raises(TransportFailure) as caught:
                await fetch(transport, own.url)
            assert caught.value.kind == kind
        assert (await fetch(transport, own.url))[2] == b"b"


@pytest.mark.parametrize("surplus", [b"HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\nevil", b"\x00\x01"])
async def test_bytes_after_an_answer_are_no_part_of_it(surplus: bytes) -> None:
    """In one packet with it; their connection is not used again. (httpx takes them for the next answer.)"""
    pytest.importorskip("httptools", reason="the fast extra is not installed")
    transport = open_transport("httptools")
    with ProviderServer() as own:
        own.push([Send(head(200, {"content-length": "4"}) + b"good" + surplus)], reply("next"))
        assert (await fetch(transport, own.url))[::2] == (200, b"good")
        assert (await fetch(transport, own.url))[::2] == (200, b"next")
        assert own.connections == 2
    await transport.aclose()


@pytest.mark.parametrize(
    ("script", "kinds"),
    [
        ([Reset()], {"reset"}),
        ([Close()], {"reset"}),
        (not_http(b"NOT HTTP AT ALL\r\n\r\n"), {"protocol"}),
        (not_http(b"\x00" * 200), {"protocol"}),
        (stream([b"x"], end=False, then=[Close()]), {"cut"}),
        (stream([b"x"], end=False, then=[Reset()]), {"cut"}),
        ([Send(head(200, {"content-length": "100"}) + b"few"), Close()], {"cut"}),
        ([Send(head(200, {"transfer-encoding": "chunked"}) + b"zz\r\nnot a size"), Close()], {"cut", "protocol"}),
        ([Send(head(200, {f"x-{i}": "y" for i in range(300)}) + b"")], {"too_many_headers"}),
        ([Send(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 400_000), Stall()], {"protocol", "too_many_headers"}),
        (
            [Send(head(200, {"transfer-encoding": "chunked"}) + TRAILER), Stall()],
            {"cut", "protocol", "too_many_headers"},
        ),
    ],
    ids=[
        "reset",
        "close",
        "text",
        "zeros",
        "cut",
        "cut by reset",
        "short body",
        "bad chunk",
        "headers",
        "long header",
        "trailer",
    ],
)
async def test_faults(transport: Transport, server: ProviderServer, script: Script, kinds: set[str]) -> None:
    server.push(script)
    with pytest.raises(TransportFailure) as caught:
        await asyncio.wait_for(fetch(transport, server.url), 5)
    assert caught.value.kind in kinds
    assert KEY not in repr(caught.value)
    assert caught.value.__context__ is None, "a library's error holds the request and its headers"
    assert caught.value.__cause__ is None


async def test_what_stands_around_an_answer(transport: Transport, server: ProviderServer) -> None:
    """An interim answer before it, and no length: its end is the connection's."""
    server.push([Send(head(103, {"link": "x"}) + head(200, {"x-kind": "last"}) + b"until"), Send(b" the end"), Close()])
    status, headers, body = await fetch(transport, server.url)
    assert (status, {k.lower() for k in headers} & {"link", "x-kind"}, body) == (200, {"x-kind"}, b"until the end")


async def test_no_content_coding_is_asked_for(transport: Transport, server: ProviderServer) -> None:
    server.push(reply("a"))
    await fetch(transport, server.url)
    assert "accept-encoding" not in server.received[-1].headers, "nobody here undoes one"


async def test_a_large_answer_comes_in_parts(transport: Transport, server: ProviderServer) -> None:
    """A slow reader holds the sender up; nothing is lost."""
    server.push(reply(b"x" * 3_000_000))
    response = await transport.open("POST", server.url, HEADERS, b"{}")
    size = 0
    while part := await response.read():
        size += len(part)
        await asyncio.sleep(0.005)
    await response.aclose()
    assert size == 3_000_000


async def test_a_header_cannot_bring_another(transport: Transport, server: ProviderServer) -> None:
    before = len(server.received)
    with pytest.raises((TransportFailure, ValueError)):
        await transport.open("POST", server.url, {"x": "1\r\nx-other: 2"}, b"{}")
    assert len(server.received) == before


async def test_an_address_that_does_not_answer_costs_a_moment(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host with two addresses, the first of which swallows whatever is sent to it."""
    port = int(server.url.rsplit(":", 1)[1].split("/")[0])
    with socket.create_server(("127.0.0.2", port), backlog=0) as deaf:
        held = [socket.socket() for _ in range(4)]  # they fill its queue, so that the next waits for ever
        for one in held:
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        loop = asyncio.get_running_loop()
        both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(loop, "getaddrinfo", lambda *_a, **_k: asyncio.sleep(0, both))
        transport = open_transport("httptools")
        server.push(reply("a"))
        response = await transport.open("POST", server.url, HEADERS, b"{}", connect_s=3.0)
        assert response.status == 200
        await response.aclose()
        await transport.aclose()
        for one in held:
            one.close()


async def test_nobody_listens(transport: Transport) -> None:
    with pytest.raises(TransportFailure, match="no connection") as caught:
        await fetch(transport, f"http://127.0.0.1:{closed_port()}/")
    assert caught.value.kind == "connect"


async def test_a_name_that_is_none(transport: Transport) -> None:
    with pytest.raises(TransportFailure, match="no connection") as caught:
        await fetch(transport, "http://ho\u00dft\u2024x/v1")
    assert caught.value.kind == "connect"


async def test_tls_to_a_plain_server(transport: Transport, server: ProviderServer) -> None:
    with pytest.raises(TransportFailure) as caught:
        await fetch(transport, server.url.replace("http:", "https:"))
    assert caught.value.kind == "tls"


async def test_a_redirect_is_not_followed(transport: Transport, server: ProviderServer) -> None:
    server.push(reply("", 307, location="http://127.0.0.1:1/steal"))
    assert (await fetch(transport, server.url))[0] == 307


PROXIES = {"http": "http://proxy:3128", "https": "proxy:3129", "no": "internal.example,.corp"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://api.example/v1", "http://proxy:3128"),
        ("https://api.example/v1", "http://proxy:3129"),
        ("https://internal.example/v1", None),
        ("https://llm.corp:8443/v1", None),
        ("http://localhost:8000/v1", None),
        ("http://127.0.0.2/v1", None),
        ("http://[::1]:8000/v1", None),
        ("ws://api.example", None),
    ],
)
def test_which_proxy_a_url_is_asked_through(url: str, expected: str | None) -> None:
    assert proxy_for(url, PROXIES) == expected
    assert proxy_for(url, {"all": "http://all:1", "no": "*"}) is None
    assert proxy_for("https://api.example", {"all": "http://all:1"}) == "http://all:1"


async def test_the_environments_proxy_is_asked_and_this_machine_is_not(
    server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url.replace("http://", "http://user:hunter2@"))
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    transport = open_transport()
    server.push(reply("through"), reply("refused", 403), reply("direct"))
    assert (await fetch(transport, "http://api.example/v1/x"))[2] == b"through"
    assert server.received[-1].path == "http://api.example/v1/x"
    assert server.received[-1].headers["proxy-authorization"].startswith("Basic ")
    with pytest.raises(TransportFailure) as failed:
        await fetch(transport, "https://api.example/v1/x")
    assert (failed.value.kind, server.received[-1].method) == ("connect", "CONNECT")
    assert "hunter2" not in repr(failed.value)
    assert (await fetch(transport, server.url + "/v1/x"))[2] == b"direct"
    assert server.received[-1].path == "/v1/x"
    await transport.aclose()


async def test_a_proxy_that_is_none_is_named_without_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://user:hunter2@host")
    transport = open_transport()
    assert isinstance(transport, ProxiedTransport)
    with pytest.raises(ConfigError, match="ALL_PROXY names no proxy") as refused:
        await fetch(transport, "https://api.example/v1/x")
    assert "hunter2" not in str(refused.value)
    await transport.aclose()
