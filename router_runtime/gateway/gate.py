"""What every request passes first: who asks, and how much may be asked (ASGI middleware)."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from router_runtime.errors import GatewayRefusal
from router_runtime.gateway.auth import authenticate, is_open
from router_runtime.gateway.service import Service
from router_runtime.gateway.wire import CONNECTION, Body, Connection, patient, refuse

_FREE = ("/admin", "/metrics", "/ui")


class Gate:
    """Puts the caller into ``state`` and a bound around the body.

    Args:
        app: What comes after.
        service: The gateway.
        posts: By path: applications that take POST there without the layers of ``app``.
    """

    def __init__(self, app: ASGIApp, service: Service, posts: Mapping[str, ASGIApp]) -> None:
        self._app, self._service, self._posts = app, service, posts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets one request in, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service, settings = self._service, self._service.settings
        connection: Connection = scope[CONNECTION]
        headers = dict(scope["headers"])
        sending = patient(connection, send, settings.write_timeout_s)
        try:
            await self._admit(scope, headers)
        except GatewayRefusal as refusal:
            await refuse(scope, sending, service.problem(refusal))
            return
        body = Body(receive, connection, headers, settings.max_body_bytes, settings.body_timeout_s)
        app = self._posts.get(scope["path"], self._app) if scope["method"] == "POST" else self._app
        await app(scope, body, sending)

    async def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raises GatewayRefusal where the caller may not come in."""
        path: str = scope["path"]
        if is_open(path):
            return
        caller = authenticate(self._service.keys, headers, path, self._service.clock())
        scope.setdefault("state", {})["caller"] = caller
        if not path.startswith(_FREE):
            await self._service.limits.admit(caller)
