"""What all stream decoders share: event framing, one error that waits, and the terminal event."""

from __future__ import annotations

from abc import ABC, abstractmethod

from router_runtime.chat import ChatChunk, Usage
from router_runtime.provider_errors import ProviderError, StreamCut
from router_runtime.providers.alike import AlikeText
from router_runtime.streaming import EventDecoder, ServerEvent, too_large


class EventStream(ABC):
    """A :class:`~router_runtime.providers.base.StreamDecoder` over server-sent events.

    Subclasses turn one event into chunks in :meth:`take` and call :meth:`end` at the terminal event. ``usage`` is what
    is known so far; it goes out once, in the last chunk, because there are clients that add up every report.
    """

    def __init__(self) -> None:
        self._events = EventDecoder()
        self._alike = AlikeText()
        self._error: ProviderError | None = None
        self.finished = False
        self.id = self.model = ""
        self.created = 0
        self.usage: Usage | None = None

    @abstractmethod
    def take(self, event: ServerEvent) -> list[ChatChunk]:
        """The chunks of one event; raises ProviderError where it is an error or malformed."""

    def end(self) -> list[ChatChunk]:
        """The terminal event came: the usage report, if there is one."""
        self.finished = True
        if self.usage is None:
            return []
        return [ChatChunk(self.id, self.model, usage=self.usage, created=self.created)]

    @property
    def done(self) -> bool:
        """True once nothing more is to be read."""
        return self.finished or self._error is not None

    def feed(self, data: bytes) -> list[ChatChunk]:
        """The chunks that ``data`` completes; an error waits for :meth:`close`."""
        chunks: list[ChatChunk] = []
        if self.done:
            return chunks
        try:
            self._feed(data, chunks)
        except ProviderError as error:
            self._error = error
        return chunks

    def _feed(self, data: bytes, chunks: list[ChatChunk]) -> None:
        texts = self._alike.read_all(data) if self._events.between else None
        if texts is not None:
            named = (self.id, self.model)
            chunks += [ChatChunk(*named, text, created=self.created) for text in texts]
            return
        events = self._events.usual(data)
        if events is None:
            self._feed_lines(data, chunks)
            return
        for name, content in events:
            if self.finished:
                return
            text = content.decode("utf-8", "replace")
            piece = self._alike.read(text)
            if piece is None:
                self._take(ServerEvent(name.decode("utf-8", "replace"), text), chunks)
            else:
                chunks.append(ChatChunk(self.id, self.model, piece, created=self.created))

    def _feed_lines(self, data: bytes, chunks: list[ChatChunk]) -> None:
        for line in self._events.lines(data):
            event = self._events.line(line)
            if event is not None:
                self._take(event, chunks)
                if self.finished:
                    return
        if self._events.overflow:
            raise too_large(self._events.bound)

    def _take(self, event: ServerEvent, chunks: list[ChatChunk]) -> None:
        self._alike.forget()
        chunks += self.take(event)

    def plain(self, event: ServerEvent, key: str, text: str) -> list[ChatChunk]:
        """The chunk of an event that says nothing but ``text``, which stands under ``key`` in its JSON.

        Events that are alike are then read without :meth:`take`, so nothing else may come of one.
        """
        self._alike.learn(event.data, key, text)
        return [ChatChunk(self.id, self.model, text, created=self.created)]

    def close(self) -> list[ChatChunk]:
        """Raises the error that waits, or StreamCut where the terminal event never came."""
        if self._error is not None:
            raise self._error
        if self.finished:
            return []
        if not self.complete():
            raise StreamCut("the stream ended without its terminal event")
        return self.end()

    def complete(self) -> bool:
        """Whether a stream that ended without its terminal event may still count as whole; no by default."""
        return False
