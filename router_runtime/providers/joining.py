"""Chunks of a stream → the whole answer that they make up, or the part of it that has come so far; and the way back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from router_runtime.chat import ChatChunk, ChatResponse, Choice, Message, ToolCall, ToolCallDelta, Usage


@dataclass(slots=True)
class _Call:
    """A tool call that is still growing."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def add(self, delta: ToolCallDelta) -> None:
        self.id = delta.id or self.id
        self.name = delta.name or self.name
        self.arguments.append(delta.arguments)
        self.extra.update(delta.extra)


@dataclass(slots=True)
class _Choice:
    """A choice that is still growing; texts are None until a fragment has come."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    calls: dict[int, _Call] = field(default_factory=dict)
    finish_reason: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    choice_extra: dict[str, Any] = field(default_factory=dict)

    def add(self, chunk: ChatChunk) -> None:
        for name, text in (("content", chunk.content), ("refusal", chunk.refusal), ("reasoning", chunk.reasoning)):
            if text is not None:
                self.texts.setdefault(name, []).append(text)
        for delta in chunk.tool_calls:
            self.calls.setdefault(delta.index, _Call()).add(delta)
        self.finish_reason = chunk.finish_reason or self.finish_reason
        if chunk.extra:
            _extend(self.extra, chunk.extra)
        if chunk.choice_extra:
            self.choice_extra.update(chunk.choice_extra)

    def text(self, name: str) -> str | None:
        return "".join(self.texts[name]) if name in self.texts else None

    def choice(self, index: int) -> Choice:
        calls = tuple(
            ToolCall(call.id, call.name, "".join(call.arguments), call.extra) for _, call in sorted(self.calls.items())
        )
        message = Message(self.text("content") or None, calls, self.text("refusal"), self.text("reasoning"), self.extra)
        return Choice(message, self.finish_reason or "stop", index, self.choice_extra)


def _extend(into: dict[str, Any], more: Any) -> None:
    """Lists grow, anything else is replaced: signed blocks come one by one."""
    for name, value in more.items():
        held = into.get(name)
        into[name] = [*held, *value] if isinstance(held, list) and isinstance(value, list) else value


class Joiner:
    """Collects chunks; :meth:`response` is the answer so far.

    ``text`` and ``usage`` are there at any time, for a stream that is cut: what was shown, and what it cost.
    """

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._id = self._model = ""
        self._created = 0
        self.usage: Usage | None = None

    def add(self, chunk: ChatChunk) -> None:
        """Adds one chunk."""
        self._id, self._model = chunk.id or self._id, chunk.model or self._model
        self._created = chunk.created or self._created
        self.usage = chunk.usage or self.usage
        if not chunk.empty:
            self._choices.setdefault(chunk.index, _Choice()).add(chunk)

    @property
    def model(self) -> str:
        """The model that the stream names."""
        return self._model

    @property
    def text(self) -> str:
        """The first choice's text so far."""
        first = self._choices.get(0)
        return (first.text("content") or "") if first else ""

    def response(self) -> ChatResponse:
        """The answer so far, as if it had not been streamed."""
        choices = tuple(choice.choice(index) for index, choice in sorted(self._choices.items()))
        return ChatResponse(self._id, self._model, choices or (Choice(Message(), "stop"),), self.usage, self._created)


def join(chunks: Iterable[ChatChunk]) -> ChatResponse:
    """The answer that a whole stream makes up."""
    joiner = Joiner()
    for chunk in chunks:
        joiner.add(chunk)
    return joiner.response()


def as_chunks(response: ChatResponse) -> list[ChatChunk]:
    """A whole answer as the stream that :func:`join` makes it of: each choice in one piece, its end, the usage."""

    def chunk(**fields: Any) -> ChatChunk:
        return ChatChunk(response.id, response.model, created=response.created, **fields)

    chunks = []
    for choice in response.choices:
        message = choice.message
        calls = tuple(
            ToolCallDelta(index, call.id, call.name, call.arguments, call.extra)
            for index, call in enumerate(message.tool_calls)
        )
        said = {"content": message.content, "refusal": message.refusal, "reasoning": message.reasoning}
        chunks.append(chunk(role="assistant", index=choice.index, tool_calls=calls, extra=message.extra, **said))
        end = {"finish_reason": choice.finish_reason, "choice_extra": choice.extra}
        chunks.append(chunk(index=choice.index, **end))
    return chunks if response.usage is None else [*chunks, chunk(usage=response.usage)]
