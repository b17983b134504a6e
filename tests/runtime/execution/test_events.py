"""What observers are told of calls: attempts and why they were made, refusals of budgets, breakers."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from router_runtime import Router
from router_runtime.breaker import HealthSettings
from router_runtime.budgets import Budgets, Limit
from router_runtime.errors import BudgetExceeded
from router_runtime.execution import Engine
from router_runtime.health import Health
from router_runtime.hooks import AttemptFinished, AttemptStarted, BreakerChanged, BudgetRefused, Decided, RouterEvent
from router_runtime.outcome_log import open_log
from router_runtime.providers.catalog import adapter
from router_runtime.records import Attempt
from router_runtime.stores.spool import read_spool, spool_files
from tests.provider_server import ProviderServer, Received, Reset, Script, Stall, reply
from tests.runtime.execution.wires import WIRES, good
from tests.runtime.execution.world import ASK, ENVIRON, QUICK, World, decision, model, provider, read_all, registry


@pytest.fixture
def servers() -> Iterator[list[ProviderServer]]:
    with ProviderServer() as one, ProviderServer() as two:
        for server in (one, two):
            server.handler = answer
        yield [one, two]


def answer(request: Received) -> Script:
    return good(WIRES[0], b'"stream"' in request.body)


def started(events: list[RouterEvent]) -> list[tuple[int, str, str]]:
    return [(e.index, e.model, e.reason) for e in events if isinstance(e, AttemptStarted)]


@pytest.mark.parametrize("streamed", [False, True])
async def test_each_attempt_is_told_with_its_reason(servers: list[ProviderServer], streamed: bool) -> None:
    events: list[RouterEvent] = []
    world = World.of([server.url for server in servers], observers=(events.append,))
    for server in servers:
        server.push(reply("no", 500))
    await (read_all(world.stream(), []) if streamed else world.complete())
    await world.engine.aclose()
    assert started(events) == [(0, "m0", "first"), (1, "m1", "fallback"), (2, "m0", "retry")]
    assert [e.attempt for e in events if isinstance(e, AttemptFinished)] == world.log
    assert [type(e) for e in events] == [AttemptStarted, AttemptFinished] * 3
    assert events[0] == AttemptStarted("d0", 0, "p0", "m0", "first")


async def test_hedges_and_last_resorts_say_so(servers: list[ProviderServer]) -> None:
    events: list[RouterEvent] = []
    world = World.of(
        [server.url for server in servers], observers=(events.append,), settings=replace(QUICK, hedge_after_s=0.02)
    )
    servers[0].push([Stall()])
    await world.complete()
    assert started(events) == [(0, "m0", "first"), (1, "m1", "hedge")]
    assert sorted(e.attempt.error or "" for e in events if isinstance(e, AttemptFinished)) == ["", "Cancelled"]
    events.clear()
    for name in ("m0", "m1"):
        for _ in range(5):
            world.engine.health.failed((f"p{name[1]}", name))
    await world.complete()
    assert started(events) == [(0, "m0", "last_resort")]
    await world.engine.aclose()


async def test_breakers_are_told_once_at_each_change(servers: list[ProviderServer]) -> None:
    now = [0.0]
    events: list[RouterEvent] = []
    health = Health(HealthSettings(open_after=2, probe_interval_s=10), clock=lambda: now[0])
    world = World.of([server.url for server in servers], observers=(events.append,), health=health)
    servers[0].push([Reset()], [Reset()])
    for _ in range(4):
        await world.complete()
    now[0] = 11.0
    await world.complete()
    await world.engine.aclose()
    assert [e for e in events if isinstance(e, BreakerChanged)] == [
        BreakerChanged("p0/m0", "open", "ConnectFailed"),
        BreakerChanged("p0", "open", "ConnectFailed"),
        BreakerChanged("p0/m0", "closed"),
        BreakerChanged("p0", "closed"),
    ]


async def test_a_refusal_of_a_budget_is_no_attempt(servers: list[ProviderServer]) -> None:
    events: list[RouterEvent] = []
    world = World.of([servers[0].url], budgets=Budgets(), observers=(events.append,))
    limits = [Limit("tier:free", "day", usd=Decimal("0.00001"))]
    with pytest.raises(BudgetExceeded) as caught:
        await world.engine.complete(world.registry, decision(["m0"]), ASK, limits=limits)
    assert events == [BudgetRefused("d0", "p0", "m0", caught.value)]


async def test_a_router_tells_its_observers_of_calls_too(servers: list[ProviderServer]) -> None:
    events: list[RouterEvent] = []
    inner: list[RouterEvent] = []
    engine = Engine(adapter, environ=ENVIRON, observers=(inner.append,))
    known = registry([provider("p0", servers[0].url)], [model("m0", "p0")])
    async with Router.open(registry=known, state_dir=None, engine=engine, observers=(events.append,)) as router:
        done = await router.complete("Which track?")
    assert [type(e) for e in events] == [Decided, AttemptStarted, AttemptFinished]
    assert inner == events[1:]
    assert isinstance(events[2], AttemptFinished)
    assert events[2].attempt.decision_id == done.decision.id


async def test_an_engine_that_was_handed_in_writes_to_the_routers_log_too(
    servers: list[ProviderServer], tmp_path: Path
) -> None:
    own: list[Attempt] = []
    known = registry([provider("p0", servers[0].url)], [model("m0", "p0")])
    engine = Engine(adapter, environ=ENVIRON, log=own.append)
    async with Router.open(registry=known, state_dir=None, engine=engine, log=tmp_path) as router:
        done = await router.complete("Which track?")
    rows = [row for path in spool_files(tmp_path) for row in read_spool(path)]
    assert [(row.kind, row.decision_id) for row in rows] == [
        (kind, done.decision.id) for kind in ("decision", "attempt")
    ]
    assert own == list(done.attempts)


async def test_an_engine_that_writes_to_the_routers_log_already_does_so_once(
    servers: list[ProviderServer], tmp_path: Path
) -> None:
    known = registry([provider("p0", servers[0].url)], [model("m0", "p0")])
    log = open_log(tmp_path, tmp_path / "outbox")
    engine = Engine(adapter, environ=ENVIRON, log=log.offer)
    async with Router.open(registry=known, state_dir=None, engine=engine, log=log) as router:
        await router.complete("Which track?")
    kinds = [row.kind for path in spool_files(tmp_path) for row in read_spool(path)]
    assert kinds == ["decision", "attempt"]
