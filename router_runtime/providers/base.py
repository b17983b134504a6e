"""The seam between the engine, which does the I/O, and the wire formats, which are pure.

An :class:`Adapter` builds one HTTP call and reads what came back. It opens no connection, reads no clock and keeps no
state between calls, so the very same object serves all threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

from router_runtime.chat import ChatChunk, ChatRequest, ChatResponse, Usage
from router_runtime.errors import ConfigError
from router_runtime.provider_errors import ContentFiltered, EmptyAnswer, ProviderError, Refused
from router_runtime.providers.reading import load_object

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """Where one call goes.

    Args:
        base_url: http or https, without credentials, e.g. ``https://api.openai.com/v1``.
        model: The provider's id of the model.
        api_key: The secret, or None for servers that ask for none; never part of the repr.
        headers: More headers to send (organisation, beta flags, …); their values are not part of the repr.
        drop: Fields of the request that this model does not take and that are left out on the operator's word, e.g.
            ``temperature`` for Claude Opus 4.7, which answers 400 to it.
        max_output_tokens: The most that may be asked of the model; None where nothing is known.

    Raises:
        ConfigError: Another scheme, credentials in the URL, or a key or header that cannot be sent.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    headers: Headers = field(default_factory=dict, repr=False)
    drop: frozenset[str] = frozenset()
    max_output_tokens: int | None = None

    def __post_init__(self) -> None:
        _check_url(self.base_url)
        if not all(sendable(value) for value in (self.api_key or "", *self.headers, *self.headers.values())):
            raise ConfigError("the API key or a header holds characters that no HTTP header may hold (a line end?)")


@lru_cache(256)
def _check_url(base_url: str) -> None:
    """Raises ConfigError for what is no plain URL; remembers those that are, because each attempt asks."""
    try:
        url = urlsplit(base_url)
        host, inner = url.hostname, url.username or url.password
    except ValueError:
        raise ConfigError("base_url is not a URL") from None
    if url.scheme not in ("http", "https") or not host:
        raise ConfigError(f"base_url has the scheme {url.scheme[:16]!r} or no host; use http:// or https://")
    if inner:
        raise ConfigError("base_url holds credentials; name an environment variable as the provider's key instead")
    if url.query or url.fragment:
        raise ConfigError("base_url holds a query or a fragment; a key belongs into an environment variable")


def sendable(value: str) -> bool:
    """Whether an HTTP header may hold ``value``."""
    return value.isascii() and value.isprintable()


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One HTTP request, ready to be sent. The repr names headers and the body's size, never their values."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"HttpCall({self.method} {self.url}, headers={sorted(self.headers)}, body=<{len(self.body)} bytes>)"


class StreamDecoder(Protocol):
    """Bytes of one streamed answer → chunks. One per call.

    However the bytes are split, the same chunks come out in the same order, and the same error ends them.
    """

    @property
    def done(self) -> bool:
        """True once nothing more is to be read: the terminal event came, or an error is waiting in :meth:`close`."""

    @property
    def usage(self) -> Usage | None:
        """The tokens that the stream has reported so far: for one that is cut, what it cost at least."""

    def feed(self, data: bytes) -> list[ChatChunk]:
        """The chunks that ``data`` completes. Never raises: an error waits for :meth:`close`, ``done`` is then True."""

    def close(self) -> list[ChatChunk]:
        """To be called once at the end, whether or not ``done``.

        Raises:
            StreamCut: The stream ended without its terminal event.
            ProviderError: An error event inside the stream, or bytes that are not the wire format.
        """


class Adapter(Protocol):
    """One wire format."""

    @property
    def name(self) -> str:
        """The registry's word for it, e.g. ``"anthropic"``."""

    def build(self, request: ChatRequest, target: Target, *, stream: bool) -> HttpCall:
        """The HTTP call that asks ``target`` for ``request``.

        Raises:
            UnsupportedByProvider: The format cannot carry something in the request.
            RequestError: The request is not well formed.
        """

    def parse(self, status: int, headers: Headers, body: bytes) -> ChatResponse:
        """A whole answer. Refusals and empty answers are answers too: see :func:`answer_problem`.

        Raises:
            ProviderError: The status is not 2xx (as :meth:`classify` says), or the body is an error or malformed.
        """

    def classify(self, status: int, headers: Headers, body: bytes) -> ProviderError:
        """The typed error of an answer with an error status."""

    def decoder(self) -> StreamDecoder:
        """A fresh decoder for one streamed answer."""


def answer_problem(response: ChatResponse) -> ProviderError | None:
    """What is wrong with a well-formed answer, for engines that then ask the next model; None where all is well.

    Refused and ContentFiltered go before EmptyAnswer. All of these are billed.
    """
    choice, message = response.choices[0], response.message
    native = str(choice.extra.get("native_finish_reason", ""))
    if message.refusal is not None or native == "refusal":
        return Refused("the model declined to answer", code=native or None)
    if choice.finish_reason == "content_filter":
        return ContentFiltered("the provider's filter blocked the answer", code=native or None, billed=True)
    if not (message.content or "").strip() and not message.tool_calls:
        return EmptyAnswer("the answer holds neither text nor a tool call", code=choice.finish_reason)
    return None


def answer_object(adapter: Adapter, status: int, headers: Headers, body: bytes) -> dict[str, Any]:
    """The JSON object of a good answer, as every format's ``parse`` begins.

    Raises:
        ProviderError: The status is not 2xx, the body holds an error, or it is no JSON object.
    """
    if not 200 <= status < 300:
        raise adapter.classify(status, headers, body)
    raw = load_object(body, "the answer")
    if raw.get("error"):
        raise adapter.classify(status, headers, body)
    return raw
