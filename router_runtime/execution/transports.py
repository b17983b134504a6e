"""One transport for each event loop, closed with its loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import NamedTuple

from router_runtime.transport import Transport


class _Held(NamedTuple):
    """A transport, and the generator whose end closes it."""

    transport: Transport
    keeper: AsyncGenerator[None, None]


class LoopTransports:
    """The transports of event loops. Safe to use from loops of several threads.

    Nobody says that a loop ends, but ``asyncio.run`` and its like close the loop's asynchronous generators before they
    close the loop. So each transport is held by one, and its connections end with the loop that made them: a program
    that calls ``asyncio.run`` once for each call keeps none of them.
    """

    def __init__(self) -> None:
        self._held: dict[asyncio.AbstractEventLoop, _Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def here(self, connect: Callable[[], Transport]) -> Transport:
        """The running loop's transport, made by ``connect`` at first use."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is None:
            self._forget_closed()
            held = self._held[loop] = self._hold(loop, connect())
        return held.transport

    async def aclose(self) -> None:
        """Closes the running loop's transport, if there is one."""
        held = self._held.get(asyncio.get_running_loop())
        if held is not None:
            await held.keeper.aclose()

    def _hold(self, loop: asyncio.AbstractEventLoop, transport: Transport) -> _Held:
        keeper = self._keep(loop, transport)
        with suppress(StopIteration):  # it is begun by hand, up to its only yield: the loop then knows of it
            keeper.__anext__().send(None)
        return _Held(transport, keeper)

    async def _keep(self, loop: asyncio.AbstractEventLoop, transport: Transport) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._held.pop(loop, None)
            await transport.aclose()

    def _forget_closed(self) -> None:
        """Lets go of loops that were closed without a word, and of their sockets with them."""
        for loop in list(self._held):
            if loop.is_closed():
                self._held.pop(loop, None)
