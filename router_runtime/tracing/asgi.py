"""The span of a request to the gateway, under the trace that the client names (W3C ``traceparent``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from router_runtime.tracing import names

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_Receive = Callable[[], Awaitable[_Message]]
_App = Callable[[Any, _Receive, _Send], Awaitable[None]]
_UNDER = "/v1/"


class Traced:
    """ASGI middleware.

    Args:
        app: What comes after.
        tracer: Makes the spans.
    """

    def __init__(self, app: _App, tracer: Tracer) -> None:
        self._app, self._tracer = app, tracer

    async def __call__(self, scope: Any, receive: _Receive, send: _Send) -> None:
        """Answers one request within a span."""
        if scope["type"] != "http" or not scope["path"].startswith(_UNDER):
            await self._app(scope, receive, send)
            return
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method, path = scope["method"], scope["path"]
        place = "/".join(path.split("/")[:4])  # what follows is a name, of which there is no end
        attributes = {names.METHOD: method, names.PATH: path}
        with self._tracer.start_as_current_span(
            f"{method} {place}"[:100], extract(carrier), SpanKind.SERVER, attributes
        ) as span:

            async def sending(message: _Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute(names.STATUS, message["status"])
                    if message["status"] >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            await self._app(scope, receive, sending)
