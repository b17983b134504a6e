"""Event loops that come and go: their connections go with them."""

import asyncio
import gc
import os
from collections.abc import Iterator
from typing import Literal

import pytest

from router_runtime.transports import open_transport
from tests.provider_server import ProviderServer
from tests.runtime.execution.wires import WIRES, good
from tests.runtime.execution.world import World


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer(lambda _request: good(WIRES[0], False)) as started:
        yield started


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts the files of this process under /proc")
@pytest.mark.parametrize("kind", ["httptools", "httpx"])
def test_a_loop_for_each_call_leaves_nothing(server: ProviderServer, kind: Literal["httptools", "httpx"]) -> None:
    world = World.of([server.url], connect=lambda: open_transport(kind))
    asyncio.run(world.complete())
    before = open_files()
    for _ in range(5):
        asyncio.run(world.complete())
    assert open_files() <= before
    assert len(world.engine._connections) == 0
    assert server.connections == 6


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # asyncio's, of sockets that the collector closes
def test_a_loop_that_is_closed_without_a_word_is_forgotten(server: ProviderServer) -> None:
    world = World.of([server.url])
    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(world.complete())
        loop.close()
    asyncio.run(world.complete())
    gc.collect()
    assert len(world.engine._connections) == 0


async def test_connections_can_be_closed_and_made_again(server: ProviderServer) -> None:
    world = World.of([server.url])
    for _ in range(2):
        await world.complete()
        await world.complete()
        await world.engine.aclose()
        await world.engine.aclose()
    assert server.connections == 2
