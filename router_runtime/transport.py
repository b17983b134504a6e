"""The seam between the engine and HTTP.

All transports give the same answers and the same failures (one contract test runs over them); ``transports.py`` opens
the one that fits.

A failure is a :class:`TransportFailure` raised outside of the handler of the library's own error: those errors hold
the request with its headers, and a key must not hang on an exception's ``__context__``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


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
