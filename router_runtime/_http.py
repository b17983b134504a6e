"""The HTTP seam of ``transport`` over httpx, the default.

The only module that imports httpx, so that going to a successor is a change here alone. It implements
``transport.Transport`` and ``transport.Response`` structurally.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit

import httpx

from router_runtime.errors import TransportFailure, TransportKind

_MAX_HEADERS = 128
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=15.0)


class HttpxTransport:
    """The seam over httpx's connection pool, below its client (whose cookies, auth and redirects are not needed).

    Args:
        pool: Another httpx transport; httpx's own by default.
    """

    def __init__(self, pool: httpx.AsyncBaseTransport | None = None) -> None:
        self._pool = pool or httpx.AsyncHTTPTransport(limits=_LIMITS)

    @classmethod
    def through(cls, proxy: str) -> HttpxTransport:
        """One that goes through a proxy.

        Raises:
            ValueError: httpx knows no such proxy.
            ImportError: It needs a library that is not installed.
        """
        return cls(httpx.AsyncHTTPTransport(limits=_LIMITS, proxy=proxy))

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_s: float = 5.0
    ) -> _HttpxResponse:
        """See ``transport.Transport``."""
        connected = False

        async def trace(step: str, _info: object) -> None:
            nonlocal connected
            connected = connected or step.startswith("connection.connect")

        limits = {"connect": connect_s, "pool": None, "read": None, "write": None}
        extensions = {"timeout": limits, "trace": trace}
        try:
            request = httpx.Request(method, url, headers=dict(headers), content=body, extensions=extensions)
            response = await self._pool.handle_async_request(request)
        except (httpx.TransportError, httpx.InvalidURL, ssl.SSLError) as error:
            kind = _kind(error, connecting=True)
            failure = TransportFailure("stale" if kind == "reset" and not connected else kind, _host(url))
        else:
            if len(response.headers.raw) <= _MAX_HEADERS:
                return _HttpxResponse(response, _host(url))
            await response.aclose()
            failure = TransportFailure("too_many_headers", _host(url))
        raise failure

    async def aclose(self) -> None:
        """See ``transport.Transport``."""
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
    if isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol | httpx.ProxyError | httpx.InvalidURL):
        return "connect"
    if isinstance(error, httpx.RemoteProtocolError):
        text = str(error)
        if "incomplete" in text or "peer closed" in text:
            return "cut"
        return "reset" if connecting and "disconnected" in text else "protocol"
    return "reset" if connecting else "cut"


def _host(url: str) -> str:
    return urlsplit(url).netloc
