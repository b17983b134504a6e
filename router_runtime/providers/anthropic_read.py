"""Anthropic's message → the normalised answer, whole or streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from router_runtime.chat import JSON, ChatChunk, ChatResponse, Choice, Message, ToolCall, ToolCallDelta, Usage
from router_runtime.provider_errors import MalformedAnswer, ProviderError
from router_runtime.providers.base import Headers
from router_runtime.providers.decoding import EventStream
from router_runtime.providers.reading import count, load_json, load_object, obj, objs, rest, text, word
from router_runtime.streaming import ServerEvent

Classify = Callable[[int, Headers, bytes], ProviderError]

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_USAGE = frozenset(
    {"input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens_details"}
)


def read_message(raw: JSON) -> ChatResponse:
    """A ``message`` object.

    Raises:
        MalformedAnswer: It is none.
    """
    if not isinstance(raw.get("content"), list):
        raise MalformedAnswer("the answer has no content")
    reason, native = finish_reason(raw)
    message = _message(objs(raw.get("content"), "content"), _explanation(raw))
    return ChatResponse(
        word(raw.get("id")), word(raw.get("model")), (Choice(message, reason, 0, native),), read_usage(raw.get("usage"))
    )


def finish_reason(raw: JSON) -> tuple[str, dict[str, Any]]:
    """(OpenAI's reason, Anthropic's own words) of a message or of a ``message_delta``."""
    native = word(raw.get("stop_reason"))
    extra = {"native_finish_reason": native} if native else {}
    for name in ("stop_sequence", "stop_details"):
        if raw.get(name) is not None:
            extra[name] = raw[name]
    return _REASONS.get(native, "stop"), extra


def _explanation(raw: JSON) -> str | None:
    """Why the model refused, where it says so."""
    if raw.get("stop_reason") != "refusal":
        return None
    return text(obj(raw.get("stop_details"), "stop_details").get("explanation"), "explanation")


def _message(blocks: list[dict[str, Any]], refusal: str | None) -> Message:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    extra: dict[str, list[Any]] = {}
    for block in blocks:
        kind = block.get("type")
        if kind == "text":
            texts.append(text(block.get("text"), "text") or "")
            if block.get("citations"):
                extra.setdefault("citations", []).extend(objs(block["citations"], "citations"))
        elif kind == "tool_use":
            arguments = json.dumps(obj(block.get("input"), "input"), ensure_ascii=False)
            calls.append(ToolCall(word(block.get("id")), word(block.get("name")), arguments))
        elif kind in ("thinking", "redacted_thinking"):
            extra.setdefault("thinking_blocks", []).append(block)
            thoughts.append(text(block.get("thinking"), "thinking") or "")
        else:
            extra.setdefault("native_blocks", []).append(block)
    return Message("".join(texts) or None, tuple(calls), refusal, "".join(thoughts) or None, extra)


def read_usage(raw: Any) -> Usage | None:
    """``usage``; here ``input_tokens`` leaves out what was read from or written to the cache."""
    if not isinstance(raw, dict) or not raw:
        return None
    read, written = count(raw.get("cache_read_input_tokens")), count(raw.get("cache_creation_input_tokens"))
    details = raw.get("output_tokens_details")
    thought = details.get("thinking_tokens") if isinstance(details, dict) else 0
    return Usage(
        count(raw.get("input_tokens")) + read + written,
        count(raw.get("output_tokens")),
        read,
        written,
        count(thought),
        rest(raw, _USAGE),
    )


class _Block:
    """A content block that is still arriving."""

    def __init__(self, start: JSON, call: int | None) -> None:
        self.start = dict(start)
        self.call = call  # our index of the tool call
        self.input: list[str] = []

    def ended(self) -> dict[str, Any] | None:
        """What goes back in the next turn: signed thinking, and blocks that have no place in OpenAI's shape."""
        kind = self.start.get("type")
        if kind in ("text", "tool_use"):
            return None
        if self.input:
            self.start["input"] = load_json("".join(self.input), "a block's input")
        return {"thinking_blocks" if kind in ("thinking", "redacted_thinking") else "native_blocks": [self.start]}


class AnthropicStream(EventStream):
    """``message_start``, blocks, ``message_delta``, ``message_stop``; ``ping`` and unknown events are skipped."""

    def __init__(self, classify: Classify) -> None:
        super().__init__()
        self._classify = classify
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._counts: dict[str, Any] = {}

    def take(self, event: ServerEvent) -> list[ChatChunk]:
        """The chunks of one event."""
        raw = load_object(event.data, "an event")
        kind = word(raw.get("type")) or event.event
        if kind == "error":
            raise self._classify(200, {}, event.data.encode("utf-8", "replace"))
        if kind == "content_block_delta":
            return self._grown(event, raw)
        if kind == "content_block_start":
            return self._start(count(raw.get("index")), obj(raw.get("content_block"), "content_block"))
        if kind == "content_block_stop":
            extra = self._block(raw).ended()
            return [self._chunk(extra=extra)] if extra else []
        if kind == "message_start":
            return self._opened(obj(raw.get("message"), "message"))
        if kind == "message_delta":
            return self._closing(obj(raw.get("delta"), "delta"), raw.get("usage"))
        return self.end() if kind == "message_stop" else []

    def _chunk(self, **fields: Any) -> ChatChunk:
        return ChatChunk(self.id, self.model, **fields)

    def _opened(self, message: JSON) -> list[ChatChunk]:
        self.id, self.model = word(message.get("id")), word(message.get("model"))
        self._count(message.get("usage"))
        return [self._chunk(role="assistant")]

    def _closing(self, delta: JSON, usage: Any) -> list[ChatChunk]:
        self._count(usage)
        if not delta.get("stop_reason"):
            return []
        reason, native = finish_reason(delta)
        return [self._chunk(refusal=_explanation(delta), finish_reason=reason, choice_extra=native)]

    def _count(self, usage: Any) -> None:
        """Counts are cumulative: what a later event leaves out still holds."""
        if isinstance(usage, dict):
            self._counts.update({name: value for name, value in usage.items() if value is not None})
            self.usage = read_usage(self._counts)

    def _block(self, raw: JSON) -> _Block:
        block = self._blocks.get(count(raw.get("index")))
        if block is None:
            raise MalformedAnswer("an event of a content block that has not begun")
        return block

    def _start(self, index: int, start: JSON) -> list[ChatChunk]:
        kind = start.get("type")
        if kind == "tool_use":
            self._blocks[index] = _Block(start, self._calls)
            self._calls += 1
            given = obj(start.get("input"), "input")
            arguments = json.dumps(given, ensure_ascii=False) if given else ""
            call = ToolCallDelta(self._calls - 1, word(start.get("id")), word(start.get("name")), arguments)
            return [self._chunk(tool_calls=(call,))]
        self._blocks[index] = _Block(start, None)
        found = text(start.get("text"), "text") if kind == "text" else None
        return [self._chunk(content=found)] if found else []

    def _grown(self, event: ServerEvent, raw: JSON) -> list[ChatChunk]:
        block, delta = self._block(raw), obj(raw.get("delta"), "delta")
        found = delta.get("text") if delta.get("type") == "text_delta" and raw.get("type") else None
        return self.plain(event, "text", found) if isinstance(found, str) else self._delta(block, delta)

    def _delta(self, block: _Block, delta: JSON) -> list[ChatChunk]:
        kind = delta.get("type")
        if kind == "text_delta":
            return [self._chunk(content=text(delta.get("text"), "text"))]
        if kind == "input_json_delta":
            fragment = text(delta.get("partial_json"), "partial_json") or ""
            if block.call is None:
                block.input.append(fragment)
                return []
            return [self._chunk(tool_calls=(ToolCallDelta(block.call, arguments=fragment),))] if fragment else []
        if kind == "thinking_delta":
            thought = text(delta.get("thinking"), "thinking") or ""
            block.start["thinking"] = word(block.start.get("thinking")) + thought
            return [self._chunk(reasoning=thought)]
        if kind == "signature_delta":
            block.start["signature"] = word(block.start.get("signature")) + (text(delta.get("signature"), "sig") or "")
        elif kind == "citations_delta":
            return [self._chunk(extra={"citations": [obj(delta.get("citation"), "citation")]})]
        return []
