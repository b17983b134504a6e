"""Order of fallback, retries, recovery of streams, breakers, money and bounds of the engine."""

import asyncio
import gc
import logging
import sqlite3
import threading
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from router_runtime.breaker import HealthSettings
from router_runtime.budgets import Budgets, Limit, Reservation
from router_runtime.chat import ChatRequest
from router_runtime.errors import AllAttemptsFailed, BudgetExceeded, RequestError, StreamInterrupted
from router_runtime.execution import ChatStream, ExecutionSettings, RetrySettings
from router_runtime.execution.engine import routes_of
from router_runtime.health import UNHEALTHY, Health
from router_runtime.records import Attempt
from router_runtime.registry import IntentEntry
from tests.provider_server import (
    Close,
    ProviderServer,
    Received,
    Reset,
    Script,
    Send,
    Sleep,
    Stall,
    head,
    reply,
    stream,
)
from tests.runtime.execution.wires import TEXT, WIRES, Wire, begun, good, sse
from tests.runtime.execution.world import ASK, FAST, KEY, QUICK, World, decision, model, provider, read_all, registry

WIRE = WIRES[0]


@pytest.fixture
def servers() -> Iterator[list[ProviderServer]]:
    with ProviderServer() as one, ProviderServer() as two, ProviderServer() as three:
        yield [one, two, three]


@pytest.fixture
async def world(servers: list[ProviderServer]) -> AsyncIterator[World]:
    made = World.of([server.url for server in servers])
    for server in servers:
        server.handler = answer
    yield made
    await made.engine.aclose()


def answer(request: Received) -> Script:
    return good(WIRE, b'"stream"' in request.body)


def always(server: ProviderServer, *scripts: Script) -> None:
    server.handler = lambda _request: scripts[0]


def calls(servers: Sequence[ProviderServer]) -> list[int]:
    return [len(server.received) for server in servers]


async def test_the_next_candidate_takes_over_at_once(world: World, servers: list[ProviderServer]) -> None:
    always(servers[0], reply("busy", 503, retry_after="30"))
    done = await world.complete()
    assert done.served == "m1"
    assert calls(servers) == [1, 1, 0]
    assert [(a.index, a.model, a.error, a.billed, a.status) for a in done.attempts] == [
        (0, "m0", world.log[0].error, False, 503),
        (1, "m1", None, True, 200),
    ]
    assert done.attempts[1].cost_usd == 10 * 2e-6 + 5 * 10e-6
    assert done.cost_usd == Decimal("0.00007")
    assert done.attempts[1].response_model == "up"


async def test_second_tries_only_when_all_candidates_failed_once(world: World, servers: list[ProviderServer]) -> None:
    for server in servers:
        server.push(reply("no", 500))
    done = await world.complete()
    assert [a.model for a in done.attempts] == ["m0", "m1", "m2", "m0"]
    assert world.engine.retry.left("p0") == 500, "what the retry took came back with its success"


async def test_retries_end_when_the_bucket_is_dry(servers: list[ProviderServer]) -> None:
    always(servers[0], reply("no", 500))
    settings = replace(QUICK, retry=RetrySettings(same_provider=3, capacity=12, base_s=0.001))
    made = World.of([servers[0].url], settings=settings, health=Health(HealthSettings(open_after=1000, min_calls=1000)))
    for expected in (3, 1, 1):  # 12 tokens are two retries of 5, then none
        with pytest.raises(AllAttemptsFailed) as caught:
            await made.complete()
        assert len(caught.value.failures) == expected
    await made.engine.aclose()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_kept_connection_that_the_server_has_closed_is_no_failure_of_it(
    world: World, servers: list[ProviderServer], streamed: bool
) -> None:
    async def call() -> None:
        await (read_all(world.stream(), []) if streamed else world.complete())

    await asyncio.gather(call(), call())  # two connections are kept
    servers[0].push([Close()])
    await call()
    assert [(a.model, a.error, a.billed) for a in world.log[2:]] == [
        ("m0", "StaleConnection", False),
        ("m0", None, True),
    ]
    assert servers[0].connections == 3, "the other kept one was not tried"
    status = world.engine.health.status()["p0/m0"]
    assert (status.calls, status.error_rate) == (3, 0.0)
    assert world.engine.retry.left("p0") == 500, "what the second try took came back with its success"


async def test_a_stale_connection_is_retried_by_the_bucket_alone(servers: list[ProviderServer]) -> None:
    settings = replace(QUICK, retry=RetrySettings(same_provider=0))
    made = World.of([server.url for server in servers[:2]], settings=settings)
    servers[0].handler = servers[1].handler = answer
    await made.complete()
    servers[0].push([Close()])
    assert [(a.model, a.error) for a in (await made.complete()).attempts] == [("m0", "StaleConnection"), ("m1", None)]
    await made.engine.aclose()


async def test_what_cannot_help_is_not_retried(world: World, servers: list[ProviderServer]) -> None:
    always(servers[0], reply({"error": {"message": "bad", "type": "invalid_request_error"}}, 400))
    with pytest.raises(AllAttemptsFailed, match="BadRequest"):
        await world.complete(["m0"])
    assert calls(servers) == [1, 0, 0]


async def test_an_overloaded_provider_is_left_for_another(servers: list[ProviderServer]) -> None:
    providers = [provider("p0", servers[0].url), provider("p1", servers[1].url)]
    models = [model("a", "p0"), model("b", "p0"), model("c", "p1")]
    made = World.around(registry(providers, models))
    always(servers[0], reply("overloaded", 529))
    servers[1].handler = answer
    assert (await made.complete()).served == "c"
    assert calls(servers)[0] == 1, "its other model is overloaded as well"
    await made.engine.aclose()


async def test_context_overflow_goes_to_a_larger_window_only(servers: list[ProviderServer]) -> None:
    providers = [provider(f"p{i}", server.url) for i, server in enumerate(servers)]
    models = [model("a", "p0", 8000), model("b", "p1", 8000), model("c", "p2", 32_000)]
    made = World.around(registry(providers, models))
    always(servers[0], reply(WIRE.overflow[1], 400))
    for server in servers[1:]:
        server.handler = answer
    assert (await made.complete()).served == "c"
    assert calls(servers) == [1, 0, 1]
    await made.engine.aclose()


async def test_retry_after_is_kept_by_later_calls(world: World, servers: list[ProviderServer]) -> None:
    always(servers[0], reply("slow down", 429, retry_after="30"))
    for _ in range(5):
        assert (await world.complete()).served == "m1"
    assert calls(servers)[0] == 1
    with pytest.raises(AllAttemptsFailed, match="left alone for"):
        await world.complete(["m0"])
    assert calls(servers)[0] == 1


@pytest.mark.parametrize("message", ["You exceeded your quota of credit", "Limit of requests per day reached"])
async def test_a_hold_that_nobody_asked_for_is_not_waited_out(servers: list[ProviderServer], message: str) -> None:
    """The only provider says that credit or the day's quota is gone, and not for how long."""
    code = "insufficient_quota" if "credit" in message else None
    always(servers[0], reply({"error": {"message": message, "code": code}}, 429))
    made = World.of([servers[0].url], settings=ExecutionSettings(retry=FAST))
    for _ in range(2):
        with pytest.raises(AllAttemptsFailed, match="RateLimited"):
            await asyncio.wait_for(made.complete(), 5)
    assert calls(servers)[0] == 2
    assert not made.engine.health.mask([("p0", "m0")])[0], "another provider is preferred meanwhile"
    await made.engine.aclose()


async def test_a_short_hold_is_waited_for(world: World, servers: list[ProviderServer]) -> None:
    servers[0].push(reply("slow down", 429, retry_after="1"))
    done = await world.complete(["m0"])
    assert [a.error for a in done.attempts] == ["RateLimited", None]
    assert done.attempts[1].time - done.attempts[0].time >= 0.99


async def test_a_dead_provider_is_hardly_touched_and_comes_back(servers: list[ProviderServer]) -> None:
    now = [1000.0]
    health = Health(HealthSettings(open_after=5, probe_interval_s=10), clock=lambda: now[0])
    made = World.of([servers[0].url, servers[1].url], health=health)
    always(servers[0], [Reset()])
    servers[1].handler = answer
    for _ in range(300):
        now[0] += 0.1
        assert (await made.complete()).served == "m1"
    assert calls(servers)[0] <= 5 + 3, "five until it opened, then one probe in each of three intervals"
    servers[0].handler = answer
    before = len(servers[0].received)
    for _ in range(101):
        now[0] += 0.1
        if (await made.complete()).served == "m0":
            break
    assert len(servers[0].received) == before + 1
    await made.engine.aclose()


async def test_closed_doors_are_the_last_resort(world: World, servers: list[ProviderServer]) -> None:
    for name in ("m0", "m1", "m2"):
        for _ in range(5):
            world.engine.health.failed((f"p{name[1]}", name))
    assert (await world.complete()).served == "m0"
    world.engine.health.disable("m0")
    assert (await world.complete()).served in ("m1", "m2")
    for name in ("m1", "m2"):
        world.engine.health.disable(name)
    with pytest.raises(AllAttemptsFailed, match="disabled"):
        await world.complete()


def test_intents_say_who_follows_and_the_unwell_come_last(servers: list[ProviderServer]) -> None:
    known = World.of(["http://x"] * 4).registry
    known = replace(known, intents={"refactor": IntentEntry("refactor", fallback=("m2", "m3"))})
    made = replace(decision(["m0", "m1", "m2"]), matched_intent="refactor", filtered={"m3": UNHEALTHY})
    assert [route.model.name for route in routes_of(known, made)] == ["m0", "m2", "m1", "m3"]


async def test_a_missing_key_is_named_by_its_variable_and_skipped(servers: list[ProviderServer]) -> None:
    providers = [provider("p0", servers[0].url, api_key_env="NOT_SET"), provider("p1", servers[1].url)]
    made = World.around(registry(providers, [model("m0", "p0"), model("m1", "p1")]))
    servers[1].handler = answer
    done = await made.complete()
    assert done.served == "m1"
    assert done.attempts[0].error == "AuthFailed"
    assert not done.attempts[0].billed
    alone = World.around(made.registry)
    for _ in range(2):  # the second call finds a closed door, which nobody asked to be left alone behind
        with pytest.raises(AllAttemptsFailed, match="NOT_SET"):
            await alone.complete(["m0"])
    assert not alone.engine.health.mask([("p0", "m0")])[0]
    await alone.engine.aclose()
    assert calls(servers)[0] == 0
    await made.engine.aclose()


@pytest.mark.parametrize("key", ["sk-with-a-line-end\n", "sk-ключ"])
async def test_a_key_that_cannot_be_sent_is_named_by_its_variable_and_skipped(
    servers: list[ProviderServer], key: str
) -> None:
    providers = [
        provider("p0", servers[0].url, api_key_env="ODD_KEY"),
        provider("p1", servers[1].url, api_key_env=None),
    ]
    made = World.around(registry(providers, [model("m0", "p0"), model("m1", "p1")]), environ={"ODD_KEY": key})
    servers[1].handler = answer
    assert [a.error for a in (await made.complete()).attempts] == ["AuthFailed", None]
    with pytest.raises(AllAttemptsFailed, match="ODD_KEY holds characters") as caught:
        await made.complete(["m0"])
    assert key.strip() not in str(caught.value)
    await made.engine.aclose()


ODD_ROLE = ChatRequest.from_openai({"messages": [{"role": "user", "content": "x"}, {"role": "function", "name": "f"}]})
"""A role that OpenAI's servers know, and of the other formats none."""


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("wire", ["anthropic", "gemini", "openai-responses"])
async def test_a_request_that_one_format_cannot_read_goes_to_the_next(
    servers: list[ProviderServer], wire: str, streamed: bool
) -> None:
    providers = [provider("p0", servers[0].url, wire), provider("p1", servers[1].url)]
    made = World.around(registry(providers, [model("m0", "p0"), model("m1", "p1")]))
    servers[1].handler = answer

    async def call(names: list[str]) -> None:
        await (read_all(made.stream(names, ODD_ROLE), []) if streamed else made.complete(names, ODD_ROLE))

    await call(["m0", "m1"])
    assert [(a.model, a.error, a.billed) for a in made.log] == [
        ("m0", "UnsupportedByProvider", False),
        ("m1", None, True),
    ]
    with pytest.raises(RequestError, match="role is 'function'"):
        await call(["m0"])
    await made.engine.aclose()


async def test_candidates_that_nothing_is_sent_to_use_up_no_attempt(servers: list[ProviderServer]) -> None:
    providers = [provider("p0", servers[0].url, "anthropic"), provider("p1", servers[1].url)]
    models = [*(model(f"a{i}", "p0") for i in range(4)), model("b", "p1")]
    made = World.around(registry(providers, models), settings=replace(QUICK, max_attempts=1), budgets=Budgets())
    servers[1].handler = answer
    assert (await made.complete(request=replace(ASK, seed=1))).served == "b"
    chosen = decision(["a0", "a1", "b"])
    dear = [replace(one, cost_usd=1.0) for one in chosen.candidates[:2]]
    chosen = replace(chosen, candidates=(*dear, chosen.candidates[2]))
    assert (await made.engine.complete(made.registry, chosen, ASK, limits=LIMITS)).served == "b"
    assert calls(servers)[0] == 0
    await made.engine.aclose()


async def test_parameters_that_a_model_does_not_take_are_not_sent_to_it(servers: list[ProviderServer]) -> None:
    providers = [provider("p0", servers[0].url, drop_params=frozenset({"seed"})), provider("p1", servers[1].url)]
    picky = replace(model("m0", "p0"), drop_params=frozenset({"temperature", "top_k"}))
    made = World.around(registry(providers, [picky, model("m1", "p1")]))
    servers[0].push(reply("no", 500))
    servers[1].handler = answer
    await made.complete(request=replace(ASK, temperature=0.5, seed=3, top_p=0.9, extra={"top_k": 4}))
    await made.engine.aclose()
    sent = [server.received[0].json() for server in servers[:2]]
    assert [{k for k in ("temperature", "seed", "top_p", "top_k") if k in body} for body in sent] == [
        {"top_p"},
        {"temperature", "seed", "top_p", "top_k"},
    ]


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.adapter)
async def test_an_answer_that_is_not_streamed_becomes_a_stream(servers: list[ProviderServer], wire: Wire) -> None:
    made = World.of([servers[0].url], wire.adapter)
    whole = good(wire, False)[0].data  # type: ignore[union-attr]
    edge = whole.index(b"\r\n\r\n") + 4
    for cut in (0, 1, 30):  # in one piece, after the brace, within the body
        servers[0].push([Send(whole[: edge + cut]), Sleep(0.01), Send(whole[edge + cut :])] if cut else [Send(whole)])
        seen: list[str] = []
        await read_all(made.stream(), seen)
        assert "".join(seen) == TEXT
    assert [(a.error, a.input_tokens, a.output_tokens) for a in made.log] == [(None, 10, 5)] * 3
    await made.engine.aclose()


@pytest.mark.parametrize("body", ["<html>Sign in</html>", "[1]", '{"choices": 3}', '{"no": "end'])
async def test_a_stream_that_is_none_is_malformed(world: World, servers: list[ProviderServer], body: str) -> None:
    servers[0].push(reply(f"\n {body}", content_type="text/html"))
    seen: list[str] = []
    await read_all(world.stream(), seen)
    assert "".join(seen) == TEXT
    assert [a.error for a in world.log] == ["MalformedAnswer", None]


async def test_redirects_are_refused(world: World, servers: list[ProviderServer]) -> None:
    always(servers[0], reply("", 307, location=servers[2].url))
    done = await world.complete()
    assert done.attempts[0].error == "Redirected"
    assert calls(servers) == [1, 1, 0]


@pytest.mark.parametrize("streamed", [False, True])
async def test_answers_without_end_are_bounded(servers: list[ProviderServer], streamed: bool) -> None:
    made = World.of([servers[0].url], settings=replace(QUICK, max_response_bytes=100_000, max_attempts=1))
    flood = sse({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant"}}]}) * 5000
    always(servers[0], stream([flood], end=False, then=[Stall()]))
    with pytest.raises(AllAttemptsFailed, match="larger than its bound"):
        await (read_all(made.stream(), []) if streamed else made.complete())
    await made.engine.aclose()


async def test_headers_without_end_are_bounded(servers: list[ProviderServer]) -> None:
    made = World.of([servers[0].url], settings=replace(QUICK, max_attempts=1))
    always(servers[0], [Send(head(200, {f"x-{i}": "y" * 100 for i in range(2000)}) + b""), Stall()])
    with pytest.raises(AllAttemptsFailed, match="MalformedAnswer"):
        await made.complete()
    await made.engine.aclose()


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_is_kept_alive_by_blanks_has_its_limit(
    world: World, servers: list[ProviderServer], streamed: bool
) -> None:
    """Its head comes at once, and a blank now and then; to a stream, too, whose server does not stream."""
    blanks = [step for _ in range(2000) for step in (Send(b"1\r\n \r\n"), Sleep(0.01))]
    always(servers[0], [*stream([b"{"], end=False), *blanks])
    seen: list[str] = []
    await (read_all(world.stream(), seen) if streamed else world.complete())
    assert [(a.model, a.error) for a in world.log] == [("m0", "FirstTokenTimeout"), ("m1", None)]


PAGE = b"<html>" + b"x" * 100_000
BUSY = {"content-length": "100", "retry-after": "7"}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "body",
    [reply(PAGE, 503, retry_after="7"), [Send(head(503, BUSY) + b"{"), Close()], [Send(head(503, BUSY)), Stall()]],
    ids=["large", "cut", "stalled"],
)
async def test_an_error_keeps_its_meaning_whatever_becomes_of_its_body(
    world: World, servers: list[ProviderServer], body: Script, streamed: bool
) -> None:
    always(servers[0], body)
    with pytest.raises(AllAttemptsFailed, match="HTTP 503"):
        await (read_all(world.stream(["m0"]), []) if streamed else world.complete(["m0"]))
    assert [(a.error, a.status, a.billed, a.cost_usd) for a in world.log] == [("Overloaded", 503, False, 0.0)]
    assert world.engine.health.asked_for(("p0", "m0")) > 5


async def test_refusals_and_empty_answers_can_be_accepted(world: World, servers: list[ProviderServer]) -> None:
    always(servers[0], reply(WIRE.empty))
    settings = replace(QUICK, accept=frozenset({"EmptyAnswer"}))
    assert (await world.complete(settings=settings)).served == "m0"
    assert (await world.complete()).served == "m1"


BROKEN = stream(begun(WIRE), end=False, then=[Close()])


@pytest.mark.parametrize("recovery", ["error", "continue", "restart"])
async def test_stream_recovery(world: World, servers: list[ProviderServer], recovery: str) -> None:
    servers[0].push(BROKEN)
    servers[1].push(stream(WIRE.parts(" the rest.")))
    seen: list[str] = []
    work = read_all(world.stream(stream_recovery=recovery), seen)
    if recovery == "error":
        with pytest.raises(StreamInterrupted, match="stream_recovery"):
            await work
        assert calls(servers) == [1, 0, 0]
        return
    await work
    partial = TEXT[: len(TEXT) // 2]
    sent = servers[1].received[0].json()["messages"]
    if recovery == "continue":
        assert "".join(seen) == f"{partial} the rest."
        assert sent[1] == {"role": "assistant", "content": partial}
        assert sent[2]["role"] == "user"
    else:
        assert "".join(seen) == f"{partial}[m1] the rest."
        assert len(sent) == 1
    assert [(a.model, a.error, a.billed) for a in world.log] == [("m0", "StreamCut", True), ("m1", None, True)]
    assert all((a.cost_usd or 0) > 0 for a in world.log), "nobody is billed twice silently"


async def test_a_stream_that_broke_within_its_reasoning_is_asked_anew(
    world: World, servers: list[ProviderServer]
) -> None:
    thought = sse({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"reasoning_content": "Let me see."}}]})
    servers[0].push(stream([thought], end=False, then=[Close()]))
    seen: list[str] = []
    await read_all(world.stream(stream_recovery="continue"), seen)
    assert "".join(seen) == TEXT
    assert servers[1].received[0].json()["messages"] == list(ASK.messages)


async def test_the_time_of_a_slow_reader_is_not_the_providers(world: World) -> None:
    begun, read_s = perf_counter(), 0.0
    async with world.stream() as chunks:
        async for _ in chunks:
            paused = perf_counter()
            await asyncio.sleep(0.02)
            read_s += perf_counter() - paused
    elapsed_ms = (perf_counter() - begun - read_s) * 1e3
    attempt = world.log[0]
    assert attempt.first_token_ms is not None
    assert attempt.latency_ms is not None
    assert 0 < attempt.first_token_ms <= attempt.latency_ms <= elapsed_ms
    assert world.engine.health.status()["p0/m0"].latency_ms == attempt.latency_ms


async def test_half_a_tool_call_is_not_continued(world: World, servers: list[ProviderServer]) -> None:
    call = {"index": 0, "id": "t1", "type": "function", "function": {"name": "move", "arguments": '{"tra'}}
    part = sse({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
    servers[0].push(stream([part], end=False, then=[Close()]))
    with pytest.raises(StreamInterrupted):
        await read_all(world.stream(stream_recovery="continue"), [])


async def test_a_stream_without_terminal_event_is_a_failure(world: World, servers: list[ProviderServer]) -> None:
    servers[0].push(stream(WIRE.parts(TEXT)[:-3]))
    with pytest.raises(StreamInterrupted):
        await read_all(world.stream(), [])
    servers[0].push(stream([sse({"error": {"message": "overloaded", "type": "server_error"}})]))
    seen: list[str] = []
    await read_all(world.stream(), seen)
    assert "".join(seen) == TEXT


async def test_stopping_early_closes_the_books_once(world: World, servers: list[ProviderServer]) -> None:
    servers[0].push(stream(begun(WIRE), end=False, then=[Stall()]))
    async with world.stream() as chunks:
        async for chunk in chunks:
            if chunk.content:
                break
    assert [(a.error, a.billed) for a in world.log] == [("Cancelled", True)]


@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("wire", [WIRES[2], WIRES[3]], ids=lambda wire: wire.adapter)
async def test_what_a_stream_had_reported_before_its_end_is_booked(
    servers: list[ProviderServer], wire: Wire, leaves: bool
) -> None:
    """Anthropic says at the beginning what the prompt cost, Gemini with every piece."""
    made = World.of([servers[0].url], wire.adapter)
    said = wire.parts("x" * 400)
    servers[0].push(stream(said[: len(begun(wire))], end=False, then=[Stall() if leaves else Close()]))
    async with made.stream() as chunks:
        with suppress(StreamInterrupted):
            async for chunk in chunks:
                if chunk.content and leaves:
                    break
    attempt = made.log[0]
    assert (attempt.error, attempt.input_tokens) == ("Cancelled" if leaves else "StreamCut", 10)
    assert attempt.output_tokens == 50, "two hundred characters were seen, and one token or five reported"
    assert attempt.cost_usd == pytest.approx(10 * 2e-6 + 50 * 10e-6)
    await made.engine.aclose()


async def test_cancelling_a_call_closes_the_books_once(world: World, servers: list[ProviderServer]) -> None:
    servers[0].push([Stall()])
    task = asyncio.create_task(world.complete())
    while not servers[0].received:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [a.error for a in world.log] == ["Cancelled"]
    assert world.engine.health.status()["p0/m0"].calls == 0, "it is nobody's fault"


async def test_connections_are_used_again_after_streams(world: World, servers: list[ProviderServer]) -> None:
    for _ in range(5):
        await read_all(world.stream(), [])
        await world.complete()
    assert servers[0].connections == 1


LIMITS = [Limit("tier:free", "month", usd=Decimal("0.001"))]


async def test_an_answer_is_not_lost_where_its_cost_cannot_be_counted_yet(
    servers: list[ProviderServer], tmp_path: Path
) -> None:
    budgets = Budgets(tmp_path / "b.sqlite")
    with budgets._writer.use() as db:
        db.execute("PRAGMA busy_timeout = 50")
    made = World.of([servers[0].url], budgets=budgets)
    limit = Limit("tier:free", "month", usd=Decimal(1))
    file = sqlite3.connect(tmp_path / "b.sqlite", isolation_level=None, check_same_thread=False)

    def locked(request: Received) -> Script:
        file.execute("BEGIN EXCLUSIVE")
        return answer(request)

    with closing(file):
        servers[0].handler = locked
        done = await made.complete(limits=[limit])
    budgets.reserve([limit], 0)
    assert budgets.spent("tier:free", "month")[0] == done.cost_usd
    await made.engine.aclose()


async def test_a_call_that_leaves_while_its_budget_is_being_reserved_keeps_nothing(
    servers: list[ProviderServer],
) -> None:
    asked, may_go_on, reserved = threading.Event(), threading.Event(), threading.Event()

    class SlowBudgets(Budgets):
        def reserve(self, limits: Sequence[Limit], usd: Decimal | float, tokens: int = 0) -> Reservation:
            asked.set()
            assert may_go_on.wait(10)
            made = super().reserve(limits, usd, tokens)
            reserved.set()
            return made

    made = World.of([servers[0].url], budgets=SlowBudgets())
    call = asyncio.create_task(made.complete(limits=LIMITS))
    await asyncio.to_thread(asked.wait, 10)
    call.cancel()
    await asyncio.sleep(0)
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(reserved.wait, 10)
    assert made.engine.budgets is not None
    assert made.engine.budgets.spent("tier:free", "month") == (0, 0)
    assert calls(servers)[0] == 0


async def test_budgets_hold_under_concurrency_and_equal_the_attempts(servers: list[ProviderServer]) -> None:
    made = World.of([servers[0].url], budgets=Budgets(), health=Health(HealthSettings(open_after=1000)))
    servers[0].handler = answer
    results = await asyncio.gather(*(made.complete(limits=LIMITS) for _ in range(40)), return_exceptions=True)
    kinds = Counter(type(result).__name__ for result in results)
    assert set(kinds) == {"Completion", "BudgetExceeded"}
    spent, tokens = made.engine.budgets.spent("tier:free", "month")  # type: ignore[union-attr]
    assert spent == sum((Decimal(repr(a.cost_usd)) for a in made.log), Decimal(0)) <= Decimal("0.001")
    assert tokens == 15 * kinds["Completion"]
    await made.engine.aclose()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_count_of_tokens_that_cannot_be_is_none(servers: list[ProviderServer], streamed: bool) -> None:
    made = World.of([servers[0].url], budgets=Budgets())
    usage = {"prompt_tokens": 2**53, "completion_tokens": 7}
    parts = [sse({"id": "c", "model": "up", "choices": [], "usage": usage}), sse("[DONE]")]
    servers[0].push(stream([*begun(WIRE), *parts]) if streamed else reply(WIRE.good(TEXT) | {"usage": usage}))
    chosen = decision(made.names)
    chunks = ChatStream(lambda: made.engine.call(made.registry, chosen, ASK, LIMITS, QUICK), chosen)
    await (read_all(chunks, []) if streamed else made.complete(limits=LIMITS))
    assert made.log[0].input_tokens is None
    assert 0 < made.log[0].cost_usd < 0.001, "as predicted and seen"  # type: ignore[operator]
    servers[0].handler = answer
    await made.complete(limits=LIMITS)
    await made.engine.aclose()


async def test_a_candidate_beyond_the_budget_is_passed_over(servers: list[ProviderServer]) -> None:
    made = World.of([servers[0].url, servers[1].url], budgets=Budgets())
    servers[1].handler = answer
    chosen = decision(["m0", "m1"])
    dear = replace(chosen.candidates[0], cost_usd=1.0)
    chosen = replace(chosen, candidates=(dear, chosen.candidates[1]))
    done = await made.engine.complete(made.registry, chosen, ASK, limits=LIMITS)
    assert done.served == "m1"
    only = replace(chosen, candidates=(dear,))
    with pytest.raises(BudgetExceeded):
        await made.engine.complete(made.registry, only, ASK, limits=LIMITS)
    assert calls(servers)[0] == 0
    await made.engine.aclose()


async def test_no_secret_is_anywhere(
    world: World, servers: list[ProviderServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    leak = {"error": {"message": f"Incorrect API key provided: {KEY}", "type": "x", "code": "invalid_api_key"}}
    always(servers[0], reply(leak, 401))
    always(servers[1], reply(f"echo {KEY}", 500))
    always(servers[2], [Reset()])
    with pytest.raises(AllAttemptsFailed) as caught:
        await world.complete()
    texts = [repr(world.engine), repr(world.log), caplog.text, "".join(traceback.format_exception(caught.value))]
    pending: list[Any] = [caught.value]
    while pending:
        error = pending.pop()
        texts += [repr(error), str(error), repr(vars(error))]
        pending += [e for e in (error.__cause__, error.__context__) if e is not None]
        pending += [failure.error for failure in getattr(error, "failures", ())]
    assert KEY not in "\n".join(texts)


async def test_a_slow_answer_is_hedged_and_the_loser_is_in_the_books(
    world: World, servers: list[ProviderServer]
) -> None:
    settings = replace(QUICK, hedge_after_s=0.05)
    always(servers[0], [Stall()])
    providers = world.registry.providers
    providers["p0"] = replace(providers["p0"], timeout_s=30.0)  # type: ignore[index]
    done = await world.complete(settings=settings)
    assert done.served == "m1"
    assert sorted((a.model, a.error, a.billed) for a in done.attempts if a.error) == [("m0", "Cancelled", True)]
    assert done.cost_usd == sum((Decimal(repr(a.cost_usd)) for a in done.attempts), Decimal(0)) > Decimal("0.00007")
    servers[0].handler = answer
    patient = replace(settings, hedge_after_s=5.0)
    assert [a.model for a in (await world.complete(settings=patient)).attempts] == ["m0"], "a fast answer stays alone"
    for server in servers:
        always(server, reply("no", 500))
    with pytest.raises(AllAttemptsFailed):
        await world.complete(settings=settings)


async def test_a_slow_stream_is_hedged_and_the_loser_is_in_the_books(
    world: World, servers: list[ProviderServer]
) -> None:
    servers[0].push(stream(WIRE.parts(TEXT)[:1], end=False, then=[Stall()]))  # a head and a role, but no word
    world.registry.providers["p0"] = replace(world.registry.providers["p0"], first_token_timeout_s=30.0)  # type: ignore[index]
    seen: list[str] = []
    chunks = world.stream(hedge_after_s=0.05)
    await read_all(chunks, seen)
    assert "".join(seen) == TEXT
    assert chunks.serving == "m1"
    assert sorted((a.model, a.error, a.billed) for a in chunks.attempts) == [
        ("m0", "Cancelled", True),
        ("m1", None, True),
    ]
    assert chunks.attempts[0].cost_usd > 0
    await read_all(world.stream(hedge_after_s=5.0), [])
    assert [a.model for a in world.log[2:]] == ["m0"], "a fast stream stays alone"


async def test_a_hedged_stream_that_fails_goes_on_like_any_other(world: World, servers: list[ProviderServer]) -> None:
    servers[0].push([Sleep(0.1), *reply("no", 500)])
    servers[1].push([Sleep(0.1), *reply("no", 500)])
    seen: list[str] = []
    await read_all(world.stream(hedge_after_s=0.02), seen)
    assert "".join(seen) == TEXT
    assert [a.error for a in world.log] == ["ServerError", "ServerError", None]
    for server in servers:
        always(server, reply("no", 500))
    with pytest.raises(AllAttemptsFailed):
        await read_all(world.stream(hedge_after_s=0.02), [])


async def test_two_hedged_streams_that_speak_at_once_are_both_closed(
    world: World, servers: list[ProviderServer]
) -> None:
    for server in servers[:2]:  # the second is asked after 0.05 s, and both speak at 0.1 s
        server.push([Sleep(0.1 if server is servers[0] else 0.05), *stream(WIRE.parts(TEXT))])
    seen: list[str] = []
    await read_all(world.stream(hedge_after_s=0.05), seen)
    assert "".join(seen) == TEXT
    assert len(world.log) == 2
    assert [a.error for a in world.log].count(None) >= 1


async def test_leaving_a_hedged_stream_closes_the_books(world: World, servers: list[ProviderServer]) -> None:
    for server in servers:
        always(server, [Stall()])
    task = asyncio.create_task(read_all(world.stream(hedge_after_s=0.02), []))
    while sum(calls(servers)) < 2:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted((a.model, a.error) for a in world.log) == [("m0", "Cancelled"), ("m1", "Cancelled")]


async def test_parallel_calls_do_not_mix(world: World, servers: list[ProviderServer]) -> None:
    def echo(request: Received) -> Script:
        return reply(WIRE.good(request.json()["messages"][0]["content"]))

    for server in servers:
        server.handler = echo
    asks = [ChatRequest(messages=({"role": "user", "content": f"call {i}"},)) for i in range(64)]
    done = await asyncio.gather(*(world.complete(request=ask) for ask in asks))
    assert [d.text for d in done] == [f"call {i}" for i in range(64)]


async def test_no_more_calls_are_under_way_than_a_provider_takes(servers: list[ProviderServer]) -> None:
    known = registry([provider("p0", servers[0].url, max_connections=2, timeout_s=60.0)], [model("m0", "p0")])
    made = World.around(known)
    servers[0].handler = answer
    await asyncio.gather(*(made.complete() for _ in range(8)), *(read_all(made.stream(), []) for _ in range(8)))
    assert calls(servers)[0] == 16
    assert servers[0].connections < 8, "two, but for one that a busy machine did not get to keep"
    await made.engine.aclose()


async def test_a_call_goes_on_where_all_connections_stay_in_use(servers: list[ProviderServer]) -> None:
    patient = {"timeout_s": 60.0, "first_token_timeout_s": 60.0, "idle_timeout_s": 60.0, "connect_timeout_s": 60.0}
    full = provider("p0", servers[0].url, max_connections=1, **patient)
    made = World.around(registry([full, provider("p1", servers[1].url)], [model("m0", "p0"), model("m1", "p1")]))
    servers[0].push(stream(begun(WIRE), end=False, then=[Stall()]))
    servers[0].handler = servers[1].handler = answer
    async with made.stream() as holding:
        await anext(holding)
        waiting = asyncio.create_task(made.complete(["m0"]))  # has nowhere else to go
        await asyncio.sleep(0)
        made.registry.providers["p0"] = replace(full, connect_timeout_s=0.01)  # type: ignore[index]
        done = await made.complete()
        assert [(a.error, a.billed) for a in done.attempts] == [("NoConnectionLeft", False), (None, True)]
        assert made.engine.health.status()["p0/m0"].calls == 0, "it did nothing wrong"
        assert not waiting.done()
    assert (await waiting).served == "m0"
    await made.engine.aclose()


async def test_streams_leave_nothing_behind(world: World, servers: list[ProviderServer]) -> None:
    async def live() -> int:
        await asyncio.gather(*(read_all(world.stream(), []) for _ in range(20)))
        world.log.clear()
        gc.collect()
        return len(gc.get_objects())

    for server in servers:
        server.keep = False
    await live()
    counts = [await live() for _ in range(8)]
    # The least of several: threads of other tests come and go meanwhile.
    assert min(counts[4:]) - min(counts[:4]) < 160, "not two objects stay of a stream"


def test_settings_are_frozen_and_attempts_are_records() -> None:
    assert ExecutionSettings(retry=FAST) == ExecutionSettings(retry=FAST)
    assert Attempt("d", 0, 1.0, "m", "p").error is None
