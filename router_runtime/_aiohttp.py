"""The HTTP seam of ``transport`` over aiohttp (extra ``fast``): a quarter of httpx's time for each call.

The only module that imports aiohttp. It implements ``transport.Transport`` and ``transport.Response`` structurally.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from router_runtime.errors import TransportFailure, TransportKind

_ERRORS = (aiohttp.ClientError, OSError, aiohttp.http_exceptions.HttpProcessingError)


class AiohttpTransport:
    """One aiohttp session; must be made and used within one running event loop."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15.0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_headers=128,
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
        )
        self._urls: dict[str, URL] = {}
        self._limits: dict[float, aiohttp.ClientTimeout] = {}

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_s: float = 5.0
    ) -> AiohttpResponse:
        """See ``transport.Transport``."""
        target = self._urls.get(url)
        if target is None:  # parsing a URL takes a tenth of a call; there are as many as models
            target = self._urls[url] = URL(url)
            if len(self._urls) > 1000:
                self._urls.clear()
        limits = self._limits.get(connect_s) or self._limits.setdefault(connect_s, _limits(connect_s))
        try:
            answer = await self._session.request(
                method, target, headers=headers, data=body, allow_redirects=False, timeout=limits
            )
        except _ERRORS as error:
            failure = TransportFailure(_kind(error, connecting=True), urlsplit(url).netloc)
        else:
            return AiohttpResponse(answer)
        raise failure

    async def aclose(self) -> None:
        """See ``transport.Transport``."""
        await self._session.close()


class AiohttpResponse:
    """See ``transport.Response``."""

    __slots__ = ("_answer", "headers", "status")

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers  # compares names without case
        self._answer = answer

    async def read(self) -> bytes:
        """See ``transport.Response``."""
        try:
            return await self._answer.content.readany()
        except _ERRORS as error:
            failure = TransportFailure(_kind(error, connecting=False), self._answer.url.authority)
        raise failure

    async def aclose(self) -> None:
        """See ``transport.Response``."""
        if self._answer.content.at_eof():
            self._answer.release()
        else:
            self._answer.close()


def _limits(connect_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_s)  # past the connection the engine keeps the time


def _kind(error: Exception, *, connecting: bool) -> TransportKind:
    if isinstance(error, aiohttp.ServerTimeoutError):
        return "connect_timeout"
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        return "tls"
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL):
        return "connect"
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.http_exceptions.HttpProcessingError):
        return "too_many_headers" if "headers" in str(error.message).lower() else "protocol"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "cut"
    return "reset" if connecting else "cut"
