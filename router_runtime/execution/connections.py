"""What each event loop reaches providers with: its transport, and how many calls a provider takes at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from router_runtime.registry import ProviderEntry
from router_runtime.transport import Transport


@dataclass(frozen=True, slots=True)
class Connections:
    """Of one event loop.

    Args:
        transport: Opens them.
        keeper: Closes them at its end.
        slots: By provider and their number.
    """

    transport: Transport
    keeper: AsyncGenerator[None, None]
    slots: dict[tuple[str, int], asyncio.Semaphore] = field(default_factory=dict)

    def slot(self, provider: ProviderEntry) -> asyncio.Semaphore | None:
        """What a call holds while it is under way; None where ``provider`` takes any number of them."""
        most = provider.max_connections
        if most is None:
            return None
        slot = self.slots.get((provider.name, most))
        if slot is None:
            slot = self.slots[provider.name, most] = asyncio.Semaphore(most)
        return slot


class LoopConnections:
    """The connections of event loops, closed with their loops. Safe to use from loops of several threads.

    Nobody says that a loop ends, but ``asyncio.run`` and its like close the loop's asynchronous generators before they
    close the loop. So each transport is held by one, and its connections end with the loop that made them: a program
    that calls ``asyncio.run`` once for each call keeps none of them.
    """

    def __init__(self) -> None:
        self._held: dict[asyncio.AbstractEventLoop, Connections] = {}

    def __len__(self) -> int:
        return len(self._held)

    def here(self, connect: Callable[[], Transport]) -> Connections:
        """The running loop's, with a transport that ``connect`` makes at first use."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is None:
            self._forget_closed()
            held = self._held[loop] = self._hold(loop, connect())
        return held

    async def aclose(self) -> None:
        """Closes the running loop's, if there are any."""
        held = self._held.get(asyncio.get_running_loop())
        if held is not None:
            await held.keeper.aclose()

    def _hold(self, loop: asyncio.AbstractEventLoop, transport: Transport) -> Connections:
        keeper = self._keep(loop, transport)
        with suppress(StopIteration):  # it is begun by hand, up to its only yield: the loop then knows of it
            keeper.__anext__().send(None)
        return Connections(transport, keeper)

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
