"""uvicorn's HTTP protocol with bounds that it has not: bytes and time of a head, time of a body that nobody reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from router_runtime.gateway.problems import Problem, error_body, error_headers
from router_runtime.gateway.settings import GatewaySettings
from router_runtime.gateway.wire import CONNECTION, answer


class BoundedProtocol(HttpToolsProtocol):
    """One connection; a :class:`~router_runtime.gateway.wire.Connection`. Made by :func:`protocol_of`."""

    settings = GatewaySettings()
    on_gone: Callable[[], object] | None = None

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self.transport.is_closing()

    @property
    def body_came(self) -> bool:
        """Whether the body of the latest request is here, and so those before it."""
        return not self.cycle.more_body

    @property
    def clogged(self) -> bool:
        """Whether the client leaves unread what it was sent."""
        return self.flow.write_paused

    def abort(self) -> None:
        """Ends the connection at once."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock of the first head."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops it, and tells who waits."""
        self._head_came()
        self._rest_came()
        super().connection_lost(exc)
        if self.on_gone is not None:
            self.on_gone()

    def data_received(self, data: bytes) -> None:
        """Counts what comes before a head has ended."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:  # a further request on an open connection, or only its empty lines
                self._wait_for_head()
        super().data_received(data)
        if self._in_head and self._head_bytes > self.settings.max_header_bytes and not self.transport.is_closing():
            self._refuse(431)

    def on_message_begin(self) -> None:
        """A head begins, perhaps in the same bytes in which the request before it ended."""
        super().on_message_begin()
        if self._head_timer is None:
            self._wait_for_head()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope[CONNECTION] = self

    def on_headers_complete(self) -> None:
        """A head has come."""
        self._in_head = False
        self._head_came()
        if len(self.connections) > self.settings.max_connections:
            self.app = full
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A body has come; what follows is the next head."""
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0
        self._rest_came()

    def on_response_complete(self) -> None:
        """An answer has gone, perhaps before its body came (no key, no such path): the rest has as long as any."""
        super().on_response_complete()
        if not self._in_head and self._rest_timer is None:
            self._rest_timer = self.loop.call_later(self.settings.body_timeout_s, self.transport.close)

    _in_head = True

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.settings.header_timeout_s, self._refuse, 408)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _rest_came(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _refuse(self, status: int) -> None:
        self._head_came()
        if not self.transport.is_closing():
            head = STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head)
            self.transport.close()


async def full(scope: Scope, receive: Receive, send: Send) -> None:
    """The application of connections past the bound: 503, and the connection ends."""
    del receive
    problem = Problem(503, "too_many_connections", "the gateway has too many connections open", 1.0)
    headers = [*error_headers(problem), (b"connection", b"close")]
    await answer(send, problem.status, error_body(problem, scope["path"]), headers)


def protocol_of(settings: GatewaySettings) -> type[BoundedProtocol]:
    """The class of connections under ``settings``."""
    return type("GatewayProtocol", (BoundedProtocol,), {"settings": settings})
