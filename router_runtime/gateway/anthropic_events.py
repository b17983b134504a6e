"""Chunks → Anthropic's event stream: ``message_start``, blocks, ``message_delta``, ``message_stop``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from router_runtime.chat import ChatChunk, ToolCallDelta, Usage
from router_runtime.gateway.anthropic_words import stop_of, usage_of
from router_runtime.gateway.formats import Head
from router_runtime.gateway.problems import Problem, anthropic_error
from router_runtime.gateway.wire import to_json
from router_runtime.provider_errors import MalformedAnswer


def event(kind: str, **fields: Any) -> bytes:
    """One named event."""
    return b"event: " + kind.encode() + b"\ndata: " + to_json({"type": kind, **fields}) + b"\n\n"


class MessageEncoder:
    """One stream. A block is open until another kind of content comes.

    Args:
        head: Of the answer.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._index = -1
        self._kind: str | None = None  # of the open block: text, thinking, or "tool <n>"
        self._usage = Usage(input_tokens=head.input_tokens)
        self._reason: str | None = None
        self._extra: dict[str, Any] = {}
        self._before_text = b""
        self._calls = -1  # index of the last tool call that began

    def begin(self) -> bytes:
        """See :class:`~router_runtime.gateway.formats.Encoder`."""
        message: dict[str, Any] = {
            "id": f"msg_{self._head.decision_id}",
            "type": "message",
            "role": "assistant",
            "content": [],
        }
        message |= {"model": self._head.model, "stop_reason": None, "stop_sequence": None}
        return event("message_start", message=message | {"usage": usage_of(self._usage)})

    def feed(self, chunks: Sequence[ChatChunk]) -> bytes:
        """See :class:`~router_runtime.gateway.formats.Encoder`."""
        return b"".join([self._chunk(chunk) for chunk in chunks if chunk.index == 0])

    def end(self) -> bytes:
        """See :class:`~router_runtime.gateway.formats.Encoder`."""
        delta = event("message_delta", delta=stop_of(self._reason, self._extra), usage=usage_of(self._usage))
        return self._close() + delta + event("message_stop")

    def failed(self, problem: Problem) -> bytes:
        """An ``error`` event."""
        return event("error", error=anthropic_error(problem)["error"])

    def _chunk(self, chunk: ChatChunk) -> bytes:
        data = b""
        if chunk.reasoning:
            data += self._thinking(chunk.reasoning)
        words = chunk.content or chunk.refusal or ""
        if words and not (words.isspace() and self._in_call):  # blanks between a call's fragments would end it
            data += self._text(words)
        for call in chunk.tool_calls:
            data += self._call(call)
        for block in chunk.extra.get("thinking_blocks", ()):
            data += self._signed(block)
        if chunk.finish_reason:
            self._reason, self._extra = chunk.finish_reason, dict(chunk.choice_extra)
        if chunk.usage is not None:
            self._usage = chunk.usage
        return data

    @property
    def _in_call(self) -> bool:
        return self._kind is not None and self._kind.startswith("tool ")

    def _text(self, words: str) -> bytes:
        opened = self._open("text", {"type": "text", "text": ""})
        if opened:
            self._before_text = (
                b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
                b'"delta":{"type":"text_delta","text":' % self._index
            )
        return opened + self._before_text + json.dumps(words).encode() + b"}}\n\n"

    def _thinking(self, words: str) -> bytes:
        opened = self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        return opened + self._delta({"type": "thinking_delta", "thinking": words})

    def _signed(self, block: Any) -> bytes:
        """A thinking block that has ended, with the signature that the model wants back."""
        if block.get("type") == "thinking" and self._kind == "thinking":
            return self._delta({"type": "signature_delta", "signature": block.get("signature", "")}) + self._close()
        return self._open("block", dict(block)) + self._close()

    def _call(self, call: ToolCallDelta) -> bytes:
        kind, ended = f"tool {call.index}", call.index == self._calls and self._kind != f"tool {call.index}"
        if call.index < self._calls or ended:
            raise MalformedAnswer("fragments of tool calls come interleaved, which Anthropic's format cannot carry")
        self._calls = call.index
        start = {"type": "tool_use", "id": call.id or "", "name": call.name or "", "input": {}}
        data = self._open(kind, start)
        if call.arguments:
            data += self._delta({"type": "input_json_delta", "partial_json": call.arguments})
        return data

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return event("content_block_delta", index=self._index, delta=delta)

    def _open(self, kind: str, start: dict[str, Any]) -> bytes:
        """Begins a block where another kind is open; nothing where this one is."""
        if self._kind == kind:
            return b""
        closed = self._close()
        self._kind, self._index = kind, self._index + 1
        return closed + event("content_block_start", index=self._index, content_block=start)

    def _close(self) -> bytes:
        if self._kind is None:
            return b""
        self._kind = None
        return event("content_block_stop", index=self._index)
