"""Chunks → the typed events of OpenAI's Responses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from router_runtime.chat import ChatChunk, ToolCallDelta, Usage
from router_runtime.gateway.formats import Head
from router_runtime.gateway.problems import Problem
from router_runtime.gateway.responses_words import (
    call_item,
    ending,
    message_item,
    reasoning_item,
    skeleton,
    text_part,
    usage_of,
)
from router_runtime.gateway.wire import to_json

Kind = Literal["text", "refusal", "reasoning", "call"]


@dataclass(slots=True)
class _Item:
    """An output item that is still arriving."""

    kind: Kind
    id: str
    index: int
    words: list[str] = field(default_factory=list)
    call_id: str = ""
    name: str = ""

    @property
    def text(self) -> str:
        return "".join(self.words)

    def done(self) -> dict[str, Any]:
        """As it stands in ``output``."""
        if self.kind == "call":
            return call_item(self.id, self.call_id, self.name, self.text)
        if self.kind == "reasoning":
            return reasoning_item(self.id, self.text)
        if self.kind == "refusal":
            return message_item(self.id, None, self.text)
        return message_item(self.id, self.text)


_PREFIX = {"text": "msg", "refusal": "msg", "reasoning": "rs", "call": "fc"}
_DELTA = {
    "text": "response.output_text.delta",
    "refusal": "response.refusal.delta",
    "reasoning": "response.reasoning_summary_text.delta",
    "call": "response.function_call_arguments.delta",
}


class ResponseEncoder:
    """One stream. Text and reasoning are open until something else comes, calls until the end.

    Args:
        head: Of the answer.
        asked: The request, which the response repeats in part.
    """

    def __init__(self, head: Head, asked: Mapping[str, Any]) -> None:
        self._head, self._asked = head, asked
        self._sequence = 0
        self._items: list[_Item] = []
        self._open: _Item | None = None
        self._calls: dict[int, _Item] = {}
        self._finished: dict[int, dict[str, Any]] = {}
        self._usage = Usage(input_tokens=head.input_tokens)
        self._reason: str | None = None
        self._delta_before = b""

    def begin(self) -> bytes:
        """See :class:`~router_runtime.gateway.formats.Encoder`."""
        body = self._skeleton()
        return self._event("response.created", response=body) + self._event("response.in_progress", response=body)

    def feed(self, chunks: Sequence[ChatChunk]) -> bytes:
        """See :class:`~router_runtime.gateway.formats.Encoder`."""
        return b"".join([self._chunk(chunk) for chunk in chunks if chunk.index == 0])

    def end(self) -> bytes:
        """See :class:`~router_runtime.gateway.formats.Encoder`."""
        data = self._close()
        for call in self._calls.values():
            data += self._finish(call)
        body = self._skeleton() | {"usage": usage_of(self._usage)} | ending(self._reason)
        body["output"] = [self._finished[index] for index in sorted(self._finished)]
        return data + self._event(f"response.{body['status']}", response=body)

    def failed(self, problem: Problem) -> bytes:
        """``error``, then ``response.failed``."""
        code = "rate_limit_exceeded" if problem.status == 429 else "server_error"
        error = {"code": code, "message": problem.message}
        data = self._event("error", code=problem.code, message=problem.message, param=problem.param)
        return data + self._event("response.failed", response=self._skeleton() | {"status": "failed", "error": error})

    def _skeleton(self) -> dict[str, Any]:
        return skeleton(self._asked, self._head.decision_id, self._head.model, self._head.created)

    def _event(self, kind: str, **fields: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: " + kind.encode() + b"\ndata: " + to_json(body) + b"\n\n"

    def _chunk(self, chunk: ChatChunk) -> bytes:
        data = b""
        if chunk.reasoning:
            data += self._words("reasoning", chunk.reasoning)
        if chunk.content:
            data += self._words("text", chunk.content)
        if chunk.refusal:
            data += self._words("refusal", chunk.refusal)
        for call in chunk.tool_calls:
            data += self._call(call)
        self._reason = chunk.finish_reason or self._reason
        self._usage = chunk.usage or self._usage
        return data

    def _words(self, kind: Kind, words: str) -> bytes:
        data = b""
        if self._open is None or self._open.kind != kind:
            data = self._close() + self._begin_item(kind)
        assert self._open is not None
        self._open.words.append(words)
        self._sequence += 1
        return data + self._delta_before + b'%d,"delta":%s}\n\n' % (self._sequence - 1, json.dumps(words).encode())

    def _begin_item(self, kind: Kind) -> bytes:
        item = self._open = self._new(kind)
        where = _where(item)
        head = to_json({"type": _DELTA[kind], **where} | ({"logprobs": []} if kind == "text" else {}))
        name = _DELTA[kind].encode()
        self._delta_before = b"event: " + name + b"\ndata: " + head[:-1] + b',"sequence_number":'
        if kind == "reasoning":
            added = self._event("response.output_item.added", output_index=item.index, item=_empty(item))
            part = {"type": "summary_text", "text": ""}
            return added + self._event("response.reasoning_summary_part.added", **where, part=part)
        shell = {**message_item(item.id, None), "status": "in_progress"}
        part = text_part("") if kind == "text" else {"type": "refusal", "refusal": ""}
        added = self._event("response.output_item.added", output_index=item.index, item=shell)
        return added + self._event("response.content_part.added", **where, part=part)

    def _new(self, kind: Kind) -> _Item:
        place = len(self._items)
        item = _Item(kind, f"{_PREFIX[kind]}_{self._head.decision_id}_{place}", place)
        self._items.append(item)
        return item

    def _call(self, call: ToolCallDelta) -> bytes:
        item, data = self._calls.get(call.index), b""
        if item is None:
            data = self._close()
            item = self._calls[call.index] = self._new("call")
            item.call_id, item.name = call.id or "", call.name or ""
            shell = call_item(item.id, item.call_id, item.name, "", "in_progress")
            data += self._event("response.output_item.added", output_index=item.index, item=shell)
        if call.arguments:
            item.words.append(call.arguments)
            where = {"item_id": item.id, "output_index": item.index}
            data += self._event(_DELTA["call"], **where, delta=call.arguments)
        return data

    def _close(self) -> bytes:
        """Ends the open text or reasoning."""
        item, self._open = self._open, None
        return b"" if item is None else self._finish(item)

    def _finish(self, item: _Item) -> bytes:
        done = self._finished[item.index] = item.done()
        where, words = _where(item), item.text
        if item.kind == "text":
            data = self._event("response.output_text.done", **where, text=words, logprobs=[])
            data += self._event("response.content_part.done", **where, part=done["content"][0])
        elif item.kind == "refusal":
            data = self._event("response.refusal.done", **where, refusal=words)
            data += self._event("response.content_part.done", **where, part=done["content"][0])
        elif item.kind == "reasoning":
            data = self._event("response.reasoning_summary_text.done", **where, text=words)
            data += self._event("response.reasoning_summary_part.done", **where, part=done["summary"][0])
        else:
            data = self._event("response.function_call_arguments.done", **where, arguments=words, name=item.name)
        return data + self._event("response.output_item.done", output_index=item.index, item=done)


def _where(item: _Item) -> dict[str, Any]:
    where: dict[str, Any] = {"item_id": item.id, "output_index": item.index}
    places = {"text": "content_index", "refusal": "content_index", "reasoning": "summary_index"}
    return where | ({places[item.kind]: 0} if item.kind in places else {})


def _empty(item: _Item) -> dict[str, Any]:
    return {"type": "reasoning", "id": item.id, "summary": []}
