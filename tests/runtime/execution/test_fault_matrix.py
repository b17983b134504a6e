"""Every fault of every wire format, whole and streamed: the next model answers, or one error names every attempt."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from router_runtime.errors import AllAttemptsFailed, StreamInterrupted
from router_runtime.execution import ExecutionSettings
from router_runtime.transports import open_transport
from tests.provider_server import ProviderServer, closed_port
from tests.runtime.execution.wires import FAULTS, TEXT, WIRES, Wire, good
from tests.runtime.execution.world import FAST, KEY, World, read_all

HANG_S = 20.0
"""Far above every deadline here: a test must not fail on a slow machine. The benchmark measures the overshoot."""
CELLS = [*FAULTS, "refused", "tls"]
VISIBLE = {"stalled", "cut"}
"""Streams that fail after their first content."""
ERRORS = {
    "429": {"RateLimited"},
    "500": {"ServerError"},
    "503": {"Overloaded", "ServerError"},
    "529": {"Overloaded"},
    "reset": {"ConnectFailed"},
    "refused": {"ConnectFailed"},
    "tls": {"ConnectFailed"},
    "slow first token": {"FirstTokenTimeout"},
    "stalled": {"BetweenTokensTimeout", "FirstTokenTimeout"},  # a whole answer has both limits, and here they are equal
    "cut": {"StreamCut"},
    "malformed": {"MalformedAnswer"},
    "wrong json": {"MalformedAnswer"},
    "empty": {"EmptyAnswer"},
    "content filter": {"ContentFiltered", "Refused"},
    "context overflow": {"ContextOverflow"},
}


@pytest.fixture(scope="module")
def bad() -> Iterator[ProviderServer]:
    with ProviderServer() as started:
        yield started


@pytest.fixture(scope="module")
def fine() -> Iterator[ProviderServer]:
    with ProviderServer() as started:
        yield started


def url_of(fault: str, server: ProviderServer) -> str:
    if fault == "refused":
        return f"http://127.0.0.1:{closed_port()}"
    return server.url.replace("http:", "https:") if fault == "tls" else server.url


@pytest.fixture
async def world(
    request: pytest.FixtureRequest, bad: ProviderServer, fine: ProviderServer
) -> AsyncIterator[tuple[World, Wire, str]]:
    wire, fault, kind = request.param
    made = World.of([url_of(fault, bad), fine.url], wire.adapter, connect=lambda: open_transport(kind))
    yield made, wire, fault
    await made.engine.aclose()


cells = pytest.mark.parametrize(
    "world",
    [pytest.param((w, f, "auto"), id=f"{w.adapter}-{f}") for w in WIRES for f in CELLS]
    + [pytest.param((WIRES[0], f, "httpx"), id=f"httpx-{f}") for f in CELLS],  # what the base install uses
    indirect=True,
)


def script(server: ProviderServer, wire: Wire, fault: str, streamed: bool) -> None:
    server.queue.clear()
    server.handler = lambda _request: FAULTS[fault](wire, streamed) if fault in FAULTS else ()


def check_secrets(*things: object) -> None:
    assert KEY not in " ".join(f"{thing!r} {thing}" for thing in things)


@cells
async def test_complete(world: tuple[World, Wire, str], bad: ProviderServer, fine: ProviderServer) -> None:
    made, wire, fault = world
    script(bad, wire, fault, streamed=False)
    fine.handler = lambda _request: good(wire, False)
    if fault == "context overflow":
        made.registry.models["m1"] = _larger(made)  # type: ignore[index]
    async with asyncio.timeout(HANG_S):
        answer = await made.complete()
    assert answer.text == TEXT
    assert answer.served == "m1"
    assert [a.error for a in made.log[1:]] == [None]
    assert made.log[0].error in ERRORS[fault]
    check_secrets(answer, made.log, made.engine)


@cells
async def test_complete_where_all_fail(world: tuple[World, Wire, str], bad: ProviderServer) -> None:
    made, wire, fault = world
    script(bad, wire, fault, streamed=False)
    settings = ExecutionSettings(deadline_s=0.5, retry=FAST)
    with pytest.raises(AllAttemptsFailed) as caught:
        async with asyncio.timeout(HANG_S):
            await made.complete(["m0"], settings=settings)
    failures = caught.value.failures
    assert [(f.model, type(f.error).__name__) for f in failures] == [(a.model, a.error) for a in made.log]
    assert {type(f.error).__name__ for f in failures} <= ERRORS[fault] | {"TotalTimeout"}
    assert len({a.index for a in made.log}) == len(made.log)
    check_secrets(caught.value, *failures)


@cells
async def test_stream(world: tuple[World, Wire, str], bad: ProviderServer, fine: ProviderServer) -> None:
    made, wire, fault = world
    script(bad, wire, fault, streamed=True)
    fine.handler = lambda _request: good(wire, True)
    if fault == "context overflow":
        made.registry.models["m1"] = _larger(made)  # type: ignore[index]
    seen: list[str] = []
    async with asyncio.timeout(HANG_S), made.stream() as chunks:
        if fault in VISIBLE:
            with pytest.raises(StreamInterrupted) as caught:
                await read_all(chunks, seen)
            assert caught.value.partial == "".join(seen)
            assert 0 < len(caught.value.partial) < len(TEXT)
            assert [f.model for f in caught.value.failures] == ["m0"]
            check_secrets(caught.value)
        else:
            await read_all(chunks, seen)
            assert "".join(seen) == TEXT
            assert made.log[-1].error is None
            assert made.log[-1].first_token_ms is not None
            assert (made.log[-1].input_tokens, made.log[-1].output_tokens) == (10, 5)
    assert made.log[0].error in ERRORS[fault]


@cells
async def test_stream_where_all_fail(world: tuple[World, Wire, str], bad: ProviderServer) -> None:
    made, wire, fault = world
    script(bad, wire, fault, streamed=True)
    chunks = made.stream(["m0"], deadline_s=0.5)
    with pytest.raises((AllAttemptsFailed, StreamInterrupted)) as caught:
        await asyncio.wait_for(read_all(chunks, []), HANG_S)
    assert isinstance(caught.value, StreamInterrupted) == (fault in VISIBLE)
    assert [type(f.error).__name__ for f in caught.value.failures] == [a.error for a in made.log]
    check_secrets(caught.value, *caught.value.failures)


def _larger(made: World) -> object:
    return replace(made.registry.models["m1"], context_window=1_000_000)
