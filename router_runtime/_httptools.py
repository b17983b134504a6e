"""The HTTP seam of ``transport`` over httptools, llhttp's parser (extra ``fast``): a tenth of httpx's time a call.

The only module that parses HTTP/1.1 answers with httptools. It implements ``transport.Transport`` and
``transport.Response`` structurally: connections that are used again, TLS by the event loop, and nothing that the engine
does not ask for. No content coding is asked for, so none has to be undone.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import httptools
from aiohappyeyeballs import start_connection

from router_runtime.errors import TransportFailure, TransportKind

_MAX_HEADERS, _MAX_HEAD_BYTES = 128, 64 << 10
_HIGH_WATER = 256 << 10
_IDLE_S = 15.0
_NEXT_ADDRESS_S = 0.25
_MAX_TARGETS = 1000


class _Place(NamedTuple):
    """What connections lead to; any request to the same place may use one."""

    host: str
    port: int
    tls: bool


class _Target(NamedTuple):
    """What a URL names: a place, as it is called in requests and errors, and a path there."""

    place: _Place
    netloc: str
    path: str


def _target(url: str) -> _Target:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    host = parts.hostname or ""
    netloc = f"[{host}]" if ":" in host else host
    if parts.port is not None:
        netloc = f"{netloc}:{parts.port}"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
    return _Target(_Place(host, parts.port or (443 if tls else 80), tls), netloc, path)


class HttptoolsTransport:
    """A pool of connections; must be made and used within one running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._targets: dict[str, _Target] = {}
        self._idle: dict[_Place, list[_Connection]] = {}
        self._all: set[_Connection] = set()
        self._context: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_s: float = 5.0
    ) -> HttptoolsResponse:
        """See ``transport.Transport``."""
        target = self._targets.get(url)
        if target is None:
            if len(self._targets) >= _MAX_TARGETS:
                self._targets.clear()
            target = self._targets[url] = _target(url)
        request = _request(method, target, headers, body)
        connection = self._take(target) or await self._connect(target, connect_s)
        try:
            await connection.ask(request)
        except BaseException as error:
            connection.end()
            if isinstance(error, TransportFailure) and error.kind == "stale":
                self._end_idle(target.place)
            raise
        return HttptoolsResponse(connection)

    async def aclose(self) -> None:
        """See ``transport.Transport``."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in list(self._all):
            connection.end()
        await asyncio.sleep(0)

    def keep(self, connection: _Connection) -> None:
        """Takes back a connection whose answer was read to its end."""
        connection.idle_since = self._loop.time()
        self._idle.setdefault(connection.place, []).append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_IDLE_S, self._sweep)

    def forget(self, connection: _Connection) -> None:
        """A connection has ended."""
        self._all.discard(connection)
        idle = self._idle.get(connection.place)
        if idle is not None and connection in idle:
            idle.remove(connection)

    def _take(self, target: _Target) -> _Connection | None:
        """The connection that was used last, because the others may be closed any moment."""
        idle = self._idle.get(target.place)
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
            connection.end()
        return None

    def _end_idle(self, place: _Place) -> None:
        """Where the connection that was used last had been closed by the server, those that waited longer had, too."""
        for connection in self._idle.pop(place, []):
            connection.end()

    def _sweep(self) -> None:
        """Ends what has been idle for long."""
        self._sweeper = None
        oldest = self._loop.time() - _IDLE_S
        for connections in list(self._idle.values()):
            for connection in [one for one in connections if one.idle_since <= oldest]:
                connection.end()
        self._idle = {place: connections for place, connections in self._idle.items() if connections}
        if self._idle:
            self._sweeper = self._loop.call_later(_IDLE_S / 3, self._sweep)

    async def _connect(self, target: _Target, connect_s: float) -> _Connection:
        place = target.place
        kind: TransportKind = "connect"
        try:
            async with asyncio.timeout(connect_s):
                _, connection = await self._loop.create_connection(
                    lambda: _Connection(self, place, target.netloc),
                    sock=await self._socket(place),
                    ssl=self._tls() if place.tls else None,
                    server_hostname=place.host if place.tls else None,
                )
        except TimeoutError:
            kind = "connect_timeout"
        except ssl.SSLError:
            kind = "tls"
        except (OSError, ValueError):  # ValueError: a name that is none
            kind = "connect"
        else:
            self._all.add(connection)
            return connection
        raise TransportFailure(kind, target.netloc)

    async def _socket(self, place: _Place) -> socket.socket:
        """Connected to whichever address of the host answers first (RFC 8305): a dead route costs 0.25 s, not all."""
        addresses = await self._loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        return await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1, loop=self._loop)

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context


def _request(method: str, target: _Target, headers: Mapping[str, str], body: bytes) -> bytes:
    """The bytes of a request.

    Raises:
        TransportFailure: A header holds a line break; sent as it is, it would be another header.
    """
    lines = [f"{method} {target.path} HTTP/1.1", f"host: {target.netloc}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise TransportFailure("protocol", target.netloc)
    return head.encode("utf-8", "replace") + b"\r\n\r\n" + body


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request.

    Args:
        pool: Takes it back.
        place: Where it leads.
        name: Of the host, for errors.
    """

    def __init__(self, pool: HttptoolsTransport, place: _Place, name: str) -> None:
        self._pool, self.place, self._name = pool, place, name
        self._loop = asyncio.get_running_loop()
        self.idle_since = 0.0
        self._lost = self._paused = self._used = False
        self._waiter: asyncio.Future[None] | None = None
        self._begin()

    def _begin(self) -> None:
        """Ready for an answer."""
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self._count = self._buffered = self._unread = 0
        self._parts: list[bytes] = []
        self._head_came = self._complete = self._keep = self._bounded = False
        self._asked = False
        self._kind: TransportKind | None = None

    @property
    def usable(self) -> bool:
        """Whether a request may be sent."""
        return not (self._lost or self._asked or self._transport.is_closing())

    async def ask(self, request: bytes) -> None:
        """Sends a request; returns when the head of its answer is there."""
        self._asked = True
        self._transport.write(request)
        while not self._head_came:
            self._check()
            await self._wait()

    async def read(self) -> bytes:
        """The next bytes of the body; empty at its end."""
        while not self._parts:
            if self._complete:
                return b""
            self._check()
            await self._wait()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._buffered = 0
        if self._paused and not self._lost:
            self._paused = False
            self._transport.resume_reading()
        return data

    def done(self) -> None:
        """Goes back to the pool where the answer was read to its end, and ends otherwise."""
        if self._complete and self._keep and not (self._parts or self._lost or self._paused):
            self._used = True
            self._begin()
            self._pool.keep(self)
        else:
            self.end()

    def end(self) -> None:
        """Ends at once."""
        self._pool.forget(self)
        self._transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvloop's is no subclass
        """See asyncio."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if not self._asked or self._complete:  # nothing was asked: whatever this is, the connection is of no use
            self._transport.abort()
            return
        self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._keep = False
            self._fail("protocol")
        else:
            if self._unread > _MAX_HEAD_BYTES:
                self._fail("too_many_headers")
            elif self._buffered > _HIGH_WATER and not (self._paused or self._lost):
                self._paused = True
                self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._lost = True
        if self._head_came and not (self._bounded or self._complete) and exc is None and self._kind is None:
            self._complete = True  # an answer without a length ends with its connection
        self._pool.forget(self)
        self._fail("cut" if self._head_came else "reset" if self._unread or not self._used else "stale")
        self._wake()

    def on_message_begin(self) -> None:
        """See httptools."""
        if self._complete:
            raise httptools.HttpParserError("more than one answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        self._count += 1
        if self._count > _MAX_HEADERS:
            self._fail("too_many_headers")
        else:
            self.headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """See httptools."""
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._keep = self._parser.should_keep_alive()
            coded = self.headers.get("transfer-encoding", "").lower().endswith("chunked")
            self._bounded = coded or "content-length" in self.headers
            self._head_came = True

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._parts.append(body)
        self._buffered += len(body)
        self._unread = 0

    def on_message_complete(self) -> None:
        """See httptools."""
        if self.status >= 200:
            self._complete = True
        else:  # "100 Continue" and the like: the answer is still to come
            self.headers, self._count = {}, 0

    def _fail(self, kind: TransportKind) -> None:
        """Notes the first failure."""
        if self._kind is None and not self._complete:
            self._kind = kind
            if not self._lost:
                self._transport.abort()

    def _check(self) -> None:
        if self._kind is not None:
            raise TransportFailure(self._kind, self._name)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class HttptoolsResponse:
    """See ``transport.Response``."""

    __slots__ = ("_connection", "headers", "status")

    def __init__(self, connection: _Connection) -> None:
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers
        self._connection: _Connection | None = connection

    async def read(self) -> bytes:
        """See ``transport.Response``."""
        return b"" if self._connection is None else await self._connection.read()

    async def aclose(self) -> None:
        """See ``transport.Response``."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.done()
