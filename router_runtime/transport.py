"""The seam between the engine and HTTP.

Measured on one local server, httpx's connection pool spends 0.6–1.5 ms a call and falls below 1,000 calls a second at
32 concurrent calls, where aiohttp takes 0.2 ms, and a pool of our own around httptools' parser 0.06 ms; so
``open_transport`` prefers the last where the ``fast`` extra is installed. Both that are here give the same answers and
the same failures (one contract test runs over both).

A failure is a :class:`TransportFailure` raised outside of the handler of the library's own error: those errors hold
the request with its headers, and a key must not hang on an exception's ``__context__``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Literal, Protocol

from router_runtime.errors import ConfigError


class Response(Protocol):
    """An answer whose head has arrived."""

    status: int
    headers: Mapping[str, str]
    """To be looked up by names in lower case."""

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


def open_transport(kind: Literal["auto", "httpx", "httptools"] = "auto") -> Transport:
    """A transport for the running event loop; through proxies where the environment names them (``proxies.py``).

    Args:
        kind: ``"auto"`` takes httptools where it is installed; it knows no proxies, so that those are asked by httpx.

    Raises:
        ConfigError: Where httptools is asked for by name and missing.
    """
    from urllib.request import getproxies_environment  # here: it takes a while, and routing alone needs no HTTP

    direct, proxies = _open_direct(kind), getproxies_environment()
    if not proxies.keys() - {"no"}:
        return direct
    from router_runtime.proxies import ProxiedTransport  # here: few have one

    return ProxiedTransport(direct, proxies)


def _open_direct(kind: Literal["auto", "httpx", "httptools"]) -> Transport:
    if kind != "httpx" and find_spec("httptools") is not None and find_spec("aiohappyeyeballs") is not None:
        from router_runtime._httptools import HttptoolsTransport  # here, not above: it is an extra

        return HttptoolsTransport()
    if kind == "httptools":
        raise ConfigError("transport httptools is not installed; add it with: pip install 'pointsman[fast]'")
    from router_runtime._http import HttpxTransport  # here: a router that only decides loads no HTTP library

    return HttpxTransport()
