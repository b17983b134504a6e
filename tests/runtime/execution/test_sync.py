"""The synchronous twins: calls and streams that somebody ends from outside."""

import gc
import signal
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from decimal import Decimal

import pytest

from router_runtime import Router
from router_runtime.budgets import Budgets, Limit
from router_runtime.execution import Engine
from router_runtime.execution.sync import SyncStream
from router_runtime.providers.catalog import adapter
from router_runtime.records import Attempt
from tests.provider_server import ProviderServer, Received, Script, Stall, stream
from tests.runtime.execution.wires import WIRES, begun
from tests.runtime.execution.world import model, provider, registry

SOON_S = 10.0
"""Far below the deadline of a call, and far above what is waited for."""


def stalls(request: Received) -> Script:
    return stream(begun(WIRES[0]), end=False, then=[Stall()]) if b'"stream"' in request.body else [Stall()]


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer(stalls) as started:
        yield started


@pytest.fixture
def log() -> list[Attempt]:
    return []


@pytest.fixture
def router(server: ProviderServer, log: list[Attempt]) -> Iterator[Router]:
    patient = {"timeout_s": 60.0, "first_token_timeout_s": 60.0, "idle_timeout_s": 60.0}
    known = registry([provider("p0", server.url, api_key_env=None, **patient)], [model("m0", "p0")])
    opened = Router.open(registry=known, state_dir=None, engine=Engine(adapter, budgets=Budgets(), log=log.append))
    yield opened
    opened.close()


def begin(router: Router) -> SyncStream:
    items = router.stream_sync("Which track?")
    next(items)
    return items


def errors(log: list[Attempt]) -> list[str | None]:
    return [attempt.error for attempt in log]


def test_closing_ends_the_calls_that_run(router: Router, server: ProviderServer, log: list[Attempt]) -> None:
    with ThreadPoolExecutor(2) as pool:
        items = begin(router)
        waiting = [pool.submit(router.complete_sync, "x"), pool.submit(lambda: list(items))]
        while len(server.received) < 2:
            threading.Event().wait(0.01)
        router.close()
        for one in waiting:
            assert isinstance(one.exception(SOON_S), CancelledError)
    assert errors(log) == ["Cancelled"] * 2
    assert not [one for one in threading.enumerate() if one.name == "pointsman-calls"]


def test_closing_ends_a_stream_between_two_items(router: Router, log: list[Attempt]) -> None:
    items = begin(router)
    router.close()
    assert errors(log) == ["Cancelled"]
    with pytest.raises(CancelledError):
        next(items)
    items.close()
    assert len(log) == 1


def test_a_stream_that_the_collector_finds_in_the_loops_own_thread(router: Router, log: list[Attempt]) -> None:
    async def collect() -> int:
        return gc.collect()

    gc.disable()
    try:
        holder = [begin(router)]
        holder.append(holder)  # type: ignore[arg-type]
        gone = weakref.ref(holder[0])
        del holder
        assert router._background.hand(collect(), router._background.started()).result(SOON_S)
    finally:
        gc.enable()
    assert gone() is None
    router.close()
    assert errors(log) == ["Cancelled"]


def test_letting_go_of_a_stream_waits_for_nobody(router: Router, log: list[Attempt]) -> None:
    """The closing needs a lock that this thread holds, as it may where the collector runs."""
    items = begin(router)
    with router.engine.health._guard:
        del items
    router.close()
    assert errors(log) == ["Cancelled"]


class Interrupted(Exception):
    """As KeyboardInterrupt, which would end the tests."""


def test_an_interrupt_passes_through_a_stream_that_is_being_read(router: Router, log: list[Attempt]) -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise Interrupted

    items = router.stream_sync("x", limits=[Limit("key:k", "day", usd=Decimal(1))])
    next(items)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(Interrupted):
            list(items)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert errors(log) == ["Cancelled"]


def test_a_stream_is_closed_where_its_block_ends(router: Router, log: list[Attempt]) -> None:
    with begin(router) as items:
        assert next(iter(items))
    assert errors(log) == ["Cancelled"]
