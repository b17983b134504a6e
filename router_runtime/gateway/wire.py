"""Bytes in and out: bodies with a bound, JSON without surprises, answers, and clients that go away."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from router_runtime.errors import GatewayRefusal
from router_runtime.gateway.problems import Problem, error_body, error_headers

Headers = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_DISCARD_S = 2.0
#: Key in a scope of its :class:`Connection`.
CONNECTION = "pointsman.connection"


class ClientGone(Exception):
    """The client went away; there is nobody to answer."""


class Connection(Protocol):
    """What the server's protocol tells beyond ASGI (:mod:`router_runtime.gateway.protocol`).

    With it a usual request, whose body came with its head and whose client reads what it is sent, needs neither timers
    nor a second task.
    """

    on_gone: Callable[[], object] | None
    """Called once the client has left."""

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        ...

    @property
    def body_came(self) -> bool:
        """Whether the whole body is here."""
        ...

    @property
    def clogged(self) -> bool:
        """Whether the client leaves unread what it was sent."""
        ...

    def abort(self) -> None:
        """Ends the connection at once."""
        ...


class Body:
    """``receive`` with a bound of bytes and time: what is past it is read away, so that the client hears why.

    Args:
        receive: Of the server.
        connection: That it comes over.
        headers: By name in lower case.
        max_bytes: Bound of the body.
        seconds: Until the body must be there.
    """

    def __init__(
        self,
        receive: Receive,
        connection: Connection,
        headers: dict[bytes, bytes],
        max_bytes: int,
        seconds: float,
    ) -> None:
        self._receive, self._left, self._bound = receive, max_bytes, max_bytes
        self.connection = connection
        self._announced = headers.get(b"content-length", b"")
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._done = False

    async def __call__(self) -> Message:
        """The next message; after the body's end it waits for the client to go.

        Raises:
            GatewayRefusal: 413 or 408.
        """
        if self._done:
            return await self._receive()
        if self._announced.isdigit() and int(self._announced) > self._bound:
            await self._too_large()
        message = await (self._receive() if self.connection.body_came else self._receive_in_time())
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            self._done = not message.get("more_body", False)
            if self._left < 0:
                await self._too_large()
        return message

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            GatewayRefusal: 413 or 408.
            ClientGone: The client left in the middle.
        """
        message = await self()
        if message["type"] == "http.request" and not message.get("more_body", False):
            return bytes(message.get("body", b""))
        parts = []
        while message["type"] == "http.request":
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts)
            message = await self()
        raise ClientGone

    async def _receive_in_time(self) -> Message:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError:
            raise GatewayRefusal("the body did not come in time", status=408, code="body_timeout") from None

    async def _too_large(self) -> NoReturn:
        try:
            async with asyncio.timeout(_DISCARD_S):
                while not self._done:
                    message = await self._receive()
                    self._done = message["type"] != "http.request" or not message.get("more_body", False)
        except TimeoutError:
            pass  # it goes on and on: the answer comes all the same, and the connection ends with it
        raise GatewayRefusal(f"the body is larger than {self._bound} bytes", status=413, code="request_too_large")


def read_json(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        GatewayRefusal: 400: it is none.
    """
    try:
        found = _DECODE(body.decode(json.detect_encoding(body), "surrogatepass"))
    except (ValueError, RecursionError):
        raise GatewayRefusal("the body is not JSON", status=400, code="invalid_json") from None
    if not isinstance(found, dict):
        raise GatewayRefusal("the body is not a JSON object", status=400, code="invalid_json")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(word)


def _finite(digits: str) -> float:
    """``1e999`` is a number in JSON, and infinite as a float."""
    found = float(digits)
    if not math.isfinite(found):
        raise ValueError(digits)
    return found


_DECODE = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite).decode


def to_json(document: Any) -> bytes:
    """Compact; lone surrogates, which cannot be sent, become ``?``."""
    return _ENCODE(document).encode("utf-8", "replace")


class Json(Response):
    """An answer of one JSON document, see :func:`to_json`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """See Starlette."""
        return to_json(content)


async def answer(send: Send, status: int, document: Any, headers: Headers | None = None) -> None:
    """Sends a JSON document."""
    body = to_json(document)
    head = [_JSON, (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def refuse(scope: Scope, send: Send, problem: Problem) -> None:
    """Sends a problem in the shape that the path's clients expect."""
    headers = error_headers(problem)
    if problem.status in (408, 413):
        headers.append((b"connection", b"close"))  # the rest of the body is still under way
    await answer(send, problem.status, error_body(problem, scope["path"]), headers)


class Watch:
    """Cancels the task that enters it when the client goes away, and then raises :class:`ClientGone` in its place.

    Args:
        connection: Of the client.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._gone = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._connection.on_gone = self._leave
        if self._connection.gone:
            self._leave()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.on_gone = None
        if self._gone and isinstance(error, asyncio.CancelledError):
            self._task.uncancel()
            raise ClientGone from None

    def _leave(self) -> None:
        self._gone = True
        self._task.cancel()


def patient(connection: Connection, send: Send, seconds: float) -> Send:
    """``send`` that ends the connection where the client leaves what it was sent unread for ``seconds``.

    It then raises :class:`ClientGone`. Ending in order would wait for the client as well, so the connection is aborted.
    """

    async def send_in_time(message: Message) -> None:
        if not connection.clogged:
            await send(message)  # does not wait
            return
        try:
            async with asyncio.timeout(seconds):
                await send(message)
        except TimeoutError:
            connection.abort()
            raise ClientGone from None

    return send_in_time
