"""One attempt on the wire: sends the adapter's call, keeps the time and the size, and lets the adapter read."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from router_runtime.chat import ChatChunk, ChatResponse, Usage
from router_runtime.errors import TransportFailure
from router_runtime.execution.watchdog import Expired, TimeoutKind, Watchdog
from router_runtime.provider_errors import (
    BetweenTokensTimeout,
    CallTimeout,
    ConnectFailed,
    ConnectTimeout,
    FirstTokenTimeout,
    MalformedAnswer,
    ProviderError,
    StaleConnection,
    StreamCut,
    TotalTimeout,
)
from router_runtime.providers.base import Adapter, HttpCall, StreamDecoder
from router_runtime.providers.joining import as_chunks
from router_runtime.registry import ProviderEntry
from router_runtime.transport import Response, Transport

_MAX_ERROR_BYTES, _ERROR_BODY_S = 64 << 10, 1.0
_DRAIN_S = 0.1
_TIMEOUTS: dict[TimeoutKind, type[CallTimeout]] = {
    "first_token": FirstTokenTimeout,
    "idle": BetweenTokensTimeout,
    "total": TotalTimeout,
}


class Exchange:
    """One HTTP exchange of one attempt. Use from one task; always ``aclose``.

    Args:
        transport: Of the running loop.
        adapter: Reads the answer.
        call: What to send.
        provider: Its limits of time.
        first_s: Seconds until a whole answer, or the first content of a stream, must be there.
        deadline: Loop time at which the whole call ends.
        max_bytes: Bytes that the answer may have.
        slot: Of the provider, taken; it is given back at the end.
    """

    def __init__(
        self,
        transport: Transport,
        adapter: Adapter,
        call: HttpCall,
        provider: ProviderEntry,
        *,
        first_s: float,
        deadline: float,
        max_bytes: int,
        slot: asyncio.Semaphore | None = None,
    ) -> None:
        self._transport, self._adapter, self._call, self._provider = transport, adapter, call, provider
        self._loop = asyncio.get_running_loop()
        self._watch = Watchdog(deadline)
        self._first_due = self._loop.time() + first_s
        self._left, self._slot = max_bytes, slot
        self._response: Response | None = None
        self._decoder: StreamDecoder | None = None
        self._error: ProviderError | None = None
        self._ended = self._at_end = self._whole = False
        self._undecided = True
        self.status: int | None = None
        self.started_content = False
        """To be set once the reader has seen content: from then on the limit is the one between tokens."""

    @property
    def usage(self) -> Usage | None:
        """What a stream has reported so far: for one that ends early, what it cost at least."""
        return None if self._decoder is None else self._decoder.usage

    async def whole(self) -> ChatResponse:
        """Sends the call and reads the whole answer.

        Raises:
            ProviderError: Where it is no good answer.
        """
        response = await self._open()
        return await self._rest(response, [])

    async def batch(self) -> list[ChatChunk] | None:
        """The chunks of the next bytes, maybe none; None at the good end of the stream.

        Raises:
            ProviderError: Where the stream is no good, after all chunks before the fault were given out.
        """
        if self._error is not None:
            raise self._error
        if self._ended:
            return None
        if self._response is None or self._decoder is None:
            self._response, self._decoder = await self._open(), self._adapter.decoder()
        data = await self._read(self._response)
        if self._undecided:
            if _is_no_stream(data):
                return await self._not_streamed(self._response, data)
            self._undecided = not data.strip()
        chunks = self._decoder.feed(data) if data else []
        if not data or self._decoder.done:
            self._ended = True
            try:
                chunks += self._decoder.close()
            except ProviderError as error:
                self._error = error
        return chunks

    async def _not_streamed(self, response: Response, data: bytes) -> list[ChatChunk]:
        """The chunks of a whole answer: there are servers that do not look at ``stream``."""
        self._first_due = self._loop.time() + self._provider.timeout_s
        return as_chunks(await self._rest(response, [data]))

    async def _rest(self, response: Response, parts: list[bytes]) -> ChatResponse:
        """The whole answer that begins with ``parts``."""
        self._whole = True
        while data := await self._read(response):
            parts.append(data)
        self._ended = True
        return self._adapter.parse(response.status, response.headers, b"".join(parts))

    async def aclose(self) -> None:
        """Ends the exchange; after a good end the last bytes are read, so that the connection can be used again."""
        response, self._response = self._response, None
        try:
            if response is not None and self._ended and not self._at_end and self._error is None:
                with suppress(Expired, TransportFailure):  # nothing is lost but the connection
                    await self._watch.limit(response.read(), self._loop.time() + _DRAIN_S, "idle")
        finally:
            self._watch.close()
            slot, self._slot = self._slot, None
            try:
                if response is not None:
                    await response.aclose()
            finally:
                if slot is not None:
                    slot.release()

    async def _open(self) -> Response:
        call = self._call
        connect_s = self._provider.connect_timeout_s
        opening = self._transport.open(call.method, call.url, call.headers, call.body, connect_s)
        try:
            self._response = await self._watch.limit(opening, self._first_due, "first_token")
        except TransportFailure as failure:
            error: ProviderError = _before_answer(failure)
        except Expired as expired:
            error = _timeout(expired, self._provider)
        else:
            self.status = self._response.status
            if 200 <= self.status < 300:
                return self._response
            error = await self._refusal(self._response)
        raise error

    async def _refusal(self, response: Response) -> ProviderError:
        """What an error status means: by the head of the answer, and as much of its body as comes in a moment."""
        body, due, bound = b"", self._loop.time() + _ERROR_BODY_S, min(self._left, _MAX_ERROR_BYTES)
        with suppress(Expired, TransportFailure):  # a body that stalls or is cut takes nothing from the status
            while len(body) < bound and (data := await self._watch.limit(response.read(), due, "idle")):
                body += data
        return self._adapter.classify(response.status, response.headers, body[:bound])

    async def _read(self, response: Response) -> bytes:
        watch = self._watch
        silent_at = self._loop.time() + self._provider.idle_timeout_s
        if self.started_content or (self._whole and silent_at < self._first_due):
            watch.arm(silent_at, "idle")
        else:
            watch.arm(self._first_due, "first_token")
        try:
            data = await response.read()
        except TransportFailure as failure:
            error: ProviderError = StreamCut(str(failure), status=self.status)
        except asyncio.CancelledError:
            expired = watch.expired()
            if expired is None:
                raise
            error = _timeout(expired, self._provider)
        else:
            self._left -= len(data)
            self._at_end = not data
            if self._left >= 0:
                return data
            error = MalformedAnswer("the answer is larger than its bound", status=self.status)
        finally:
            watch.rest()
        raise error


def _is_no_stream(data: bytes) -> bool:
    """Whether an answer that begins so is JSON or a page: no line of an event stream that means anything does."""
    return data.lstrip()[:1] in (b"{", b"[", b"<")


def _before_answer(failure: TransportFailure) -> ProviderError:
    """The error of an attempt that got no head of an answer."""
    if failure.kind == "connect_timeout":
        return ConnectTimeout(str(failure))
    if failure.kind == "stale":
        return StaleConnection(str(failure))
    if failure.kind in ("protocol", "too_many_headers"):
        return MalformedAnswer(str(failure))
    return ConnectFailed(str(failure))


def _timeout(expired: Expired, provider: ProviderEntry) -> CallTimeout:
    words = {
        "first_token": "no answer came in time",
        "idle": f"silent for more than {provider.idle_timeout_s:g} s",
        "total": "the call's deadline passed",
    }
    return _TIMEOUTS[expired.kind](words[expired.kind])
