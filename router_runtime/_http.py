"""HTTP for the execution engine: one small seam, and the httpx implementation of it.

This is the only module that imports httpx, so that going to a successor is a change here alone. Measured on one local
server, httpx's own connection pool spends 0.8–1.5 ms a call and falls below 1,000 calls a second at 32 concurrent
calls, where aiohttp takes 0.2 ms and passes 7,000; so ``open_transport`` prefers ``_aiohttp`` where the ``fast`` extra
is installed. Both give the same answers and the same failures (one contract test runs over both).

A failure is a :class:`TransportFailure` raised outside of the handler of the library's own error: those errors hold
the request with its headers, and a key must not hang on an exception's ``__context__``.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from importlib.util import find_spec
from typing import Literal, Protocol
from urllib.parse import urlsplit

import httpx

from router_runtime.errors import ConfigError, TransportFailure, TransportKind

MAX_HEADERS = 128
"""Header lines that a response may have."""


class Response(Protocol):
    """An answer whose head has arrived."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; the last of repeated lines wins."""

    async def read(self) -> bytes:
        """The next bytes of the body as they come, ``b""`` at its end.

        Raises:
            TransportFailure: Where the body was cut short or the connection failed.
        """
        ...

    async def aclose(self) -> None:
        """Ends the exchange; the connection is kept only where the body was read to its end."""
        ...


class Transport(Protocol):
    """Sends requests. Follows no redirects, keeps no cookies, and leaves limits past the connection to the engine."""

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_s: float = 5.0
    ) -> Response:
        """Sends a request and returns once the head of the answer is there.

        Args:
            method, url, headers, body: As they are sent.
            connect_s: Time for the connection alone.

        Raises:
            TransportFailure: Where no connection was made or no head arrived.
        """
        ...

    async def aclose(self) -> None:
        """Closes all connections."""
        ...


def check_url(url: str) -> str:
    """Returns ``url``.

    Raises:
        ConfigError: Where it is not plain http or https with a host, or carries a user or password.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"base_url must start with http:// or https:// and name a host, not {parts.scheme or 'no'}://"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"base_url of {parts.hostname} carries a user or password; give the key by environment name")
    return url


class HttpxTransport:
    """The seam over httpx's connection pool, below its client (whose cookies, auth and redirects are not needed).

    Args:
        pool: Another httpx transport, for proxies or tests; httpx's own by default.
    """

    def __init__(self, pool: httpx.AsyncBaseTransport | None = None) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=15.0)
        self._pool = pool or httpx.AsyncHTTPTransport(limits=limits)

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_s: float = 5.0
    ) -> Response:
        """See :class:`Transport`."""
        limits = {"timeout": {"connect": connect_s, "pool": None, "read": None, "write": None}}
        request = httpx.Request(method, url, headers=dict(headers), content=body, extensions=limits)
        try:
            response = await self._pool.handle_async_request(request)
        except (httpx.TransportError, ssl.SSLError) as error:
            failure = TransportFailure(_kind(error, connecting=True), _host(url))
        else:
            if len(response.headers.raw) <= MAX_HEADERS:
                return _HttpxResponse(response, _host(url))
            await response.aclose()
            failure = TransportFailure("too_many_headers", _host(url))
        raise failure

    async def aclose(self) -> None:
        """See :class:`Transport`."""
        await self._pool.aclose()


class _HttpxResponse:
    def __init__(self, response: httpx.Response, host: str) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = {
            k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers.raw
        }
        self._response, self._host = response, host
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)  # an async transport gives async streams
        self._parts: AsyncIterator[bytes] = aiter(stream)

    async def read(self) -> bytes:
        try:
            return await anext(self._parts, b"")
        except (httpx.TransportError, ssl.SSLError) as error:
            failure = TransportFailure(_kind(error, connecting=False), self._host)
        raise failure

    async def aclose(self) -> None:
        await self._response.aclose()


def _kind(error: Exception, *, connecting: bool) -> TransportKind:
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError) or "SSL" in str(error):
        return "tls"
    if isinstance(error, httpx.ConnectTimeout):
        return "connect_timeout"
    if isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol):
        return "connect"
    if isinstance(error, httpx.RemoteProtocolError):
        text = str(error)
        if "incomplete" in text or "peer closed" in text:
            return "cut"
        return "reset" if connecting and "disconnected" in text else "protocol"
    return "reset" if connecting else "cut"


def _host(url: str) -> str:
    return urlsplit(url).netloc


def open_transport(kind: Literal["auto", "httpx", "aiohttp"] = "auto") -> Transport:
    """A transport for the running event loop.

    Args:
        kind: ``"auto"`` takes aiohttp where it is installed.

    Raises:
        ConfigError: Where aiohttp is asked for by name and missing.
    """
    if kind != "httpx" and find_spec("aiohttp") is not None:
        from router_runtime._aiohttp import AiohttpTransport  # an extra: loaded only where it is there

        return AiohttpTransport()
    if kind == "aiohttp":
        raise ConfigError("transport aiohttp is not installed; add it with: pip install 'pointsman[fast]'")
    return HttpxTransport()
