"""Answers of the four wire formats, good and bad, as scripts of the local server."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.provider_server import Close, Reset, Script, Sleep, Stall, reply, stream

TEXT = "The points are set."


def sse(data: Any, event: str | None = None) -> bytes:
    head = f"event: {event}\n" if event else ""
    body = data if isinstance(data, str) else json.dumps(data)
    return f"{head}data: {body}\n\n".encode()


@dataclass(frozen=True)
class Wire:
    """How one wire format says things."""

    adapter: str
    good: Callable[[str], dict[str, Any]]
    parts: Callable[[str], list[bytes]]
    """A whole stream; the second event or later carries the text, the last one ends it."""
    empty: dict[str, Any]
    filtered: Callable[[bool], Script]
    overflow: tuple[int, dict[str, Any]]


def _openai(text: str, finish: str = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "up", "choices": [choice], "usage": usage}


def _openai_parts(text: str, finish: str = "stop") -> list[bytes]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        return sse({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": choices})

    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    tail = sse(
        {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": [], "usage": usage}
    )
    words = [chunk({"content": piece}) for piece in _pieces(text)]
    return [chunk({"role": "assistant", "content": ""}), *words, chunk({}, finish), tail, sse("[DONE]")]


def _pieces(text: str) -> list[str]:
    half = len(text) // 2
    return [piece for piece in (text[:half], text[half:]) if piece]


def _responses(text: str, status: str = "completed", **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}] if text else []
    item = {"type": "message", "id": "m1", "status": "completed", "role": "assistant", "content": content}
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    body = {"id": "r1", "object": "response", "created_at": 1, "status": status, "model": "up", "error": None}
    return {**body, "output": [item] if text else [], "usage": usage, "incomplete_details": None, **more}


def _responses_parts(text: str, end: dict[str, Any] | None = None) -> list[bytes]:
    def event(kind: str, **data: Any) -> bytes:
        return sse({"type": kind, **data}, kind)

    begun = {**_responses("", "in_progress"), "usage": None}
    item = {"type": "message", "id": "m1", "status": "in_progress", "role": "assistant", "content": []}
    where = {"item_id": "m1", "output_index": 0, "content_index": 0}
    words = [event("response.output_text.delta", **where, delta=piece) for piece in _pieces(text)]
    last = end or _responses(text)
    return [
        event("response.created", response=begun),
        event("response.output_item.added", output_index=0, item=item),
        *words,
        event(f"response.{last['status']}", response=last),
    ]


def _anthropic(text: str, stop: str = "end_turn") -> dict[str, Any]:
    content = [{"type": "text", "text": text}] if text else []
    usage = {"input_tokens": 10, "output_tokens": 5}
    body = {"id": "a1", "type": "message", "role": "assistant", "model": "up", "content": content}
    return {**body, "stop_reason": stop, "stop_sequence": None, "usage": usage}


def _anthropic_parts(text: str, stop: str = "end_turn") -> list[bytes]:
    def event(kind: str, **data: Any) -> bytes:
        return sse({"type": kind, **data}, kind)

    start = {**_anthropic(""), "stop_reason": None, "usage": {"input_tokens": 10, "output_tokens": 1}}
    words = [
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece}) for piece in _pieces(text)
    ]
    return [
        event("message_start", message=start),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *words,
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 5}),
        event("message_stop"),
    ]


def _gemini(text: str, finish: str | None = "STOP") -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": [{"text": text}] if text else []}}
    if finish:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "up", "responseId": "g1"}


def _gemini_parts(text: str, finish: str = "STOP") -> list[bytes]:
    words = [sse(_gemini(piece, None)) for piece in _pieces(text)]
    return [sse(_gemini("", None)), *words, sse(_gemini("", finish))]


def _filtered_openai(streamed: bool) -> Script:
    return stream(_openai_parts("", "content_filter")) if streamed else reply(_openai("", "content_filter"))


def _filtered_responses(streamed: bool) -> Script:
    end = _responses("", "incomplete", incomplete_details={"reason": "content_filter"})
    return stream(_responses_parts("", end)) if streamed else reply(end)


def _filtered_anthropic(streamed: bool) -> Script:
    return stream(_anthropic_parts("", "refusal")) if streamed else reply(_anthropic("", "refusal"))


def _filtered_gemini(streamed: bool) -> Script:
    return stream(_gemini_parts("", "SAFETY")) if streamed else reply(_gemini("", "SAFETY"))


def _openai_error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": "messages", "code": code}}


_LONG = "This model's maximum context length is 128000 tokens. However, your messages resulted in 140000 tokens."
WIRES = (
    Wire(
        "openai",
        _openai,
        _openai_parts,
        _openai(""),
        _filtered_openai,
        (400, _openai_error("context_length_exceeded", _LONG)),
    ),
    Wire(
        "openai-responses",
        _responses,
        _responses_parts,
        _responses(""),
        _filtered_responses,
        (400, _openai_error("context_length_exceeded", _LONG)),
    ),
    Wire(
        "anthropic",
        _anthropic,
        _anthropic_parts,
        _anthropic(""),
        _filtered_anthropic,
        (
            400,
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "prompt is too long: 208310 tokens > 200000 maximum",
                },
            },
        ),
    ),
    Wire(
        "gemini",
        _gemini,
        _gemini_parts,
        _gemini(""),
        _filtered_gemini,
        (
            400,
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (9).",
                    "status": "INVALID_ARGUMENT",
                }
            },
        ),
    ),
)


def begun(wire: Wire) -> list[bytes]:
    """A stream up to and with the first piece of text."""
    return wire.parts(TEXT)[: len(wire.parts("")) - _CLOSING[wire.adapter] + 1]


_CLOSING = {"openai": 3, "openai-responses": 1, "anthropic": 3, "gemini": 1}


def good(wire: Wire, streamed: bool, text: str = TEXT) -> Script:
    return stream(wire.parts(text)) if streamed else reply(wire.good(text))


def _slow(wire: Wire, streamed: bool) -> Script:
    return [Sleep(30), *good(wire, streamed)]


def _stalled(wire: Wire, streamed: bool) -> Script:
    if streamed:
        return stream(begun(wire), end=False, then=[Stall()])
    return [*_half(wire), Stall()]


def _half(wire: Wire) -> Script:
    whole = good(wire, False)[0]
    return [type(whole)(whole.data[: len(whole.data) - 20])]  # type: ignore[union-attr,call-arg]


def _cut(wire: Wire, streamed: bool) -> Script:
    """A stream that closes in order, its last event missing; a body that is shorter than it said."""
    return stream(begun(wire)) if streamed else [*_half(wire), Close()]


def _malformed(wire: Wire, streamed: bool) -> Script:
    return stream([sse("{not json")]) if streamed else reply("{not json", content_type="application/json")


def _wrong(wire: Wire, streamed: bool) -> Script:
    return stream([sse([1, 2])], then=[Close()]) if streamed else reply([1, 2])


def _empty(wire: Wire, streamed: bool) -> Script:
    return stream(wire.parts("")) if streamed else reply(wire.empty)


def _overflow(wire: Wire, streamed: bool) -> Script:
    return reply(wire.overflow[1], wire.overflow[0])


def _status(code: int) -> Callable[[Wire, bool], Script]:
    return lambda _wire, _streamed: reply({"error": {"message": "no", "type": "x", "code": None}}, code)


FAULTS: dict[str, Callable[[Wire, bool], Script]] = {
    "429": _status(429),
    "500": _status(500),
    "503": _status(503),
    "529": _status(529),
    "reset": lambda _wire, _streamed: [Reset()],
    "slow first token": _slow,
    "stalled": _stalled,
    "cut": _cut,
    "malformed": _malformed,
    "wrong json": _wrong,
    "empty": _empty,
    "content filter": lambda wire, streamed: wire.filtered(streamed),
    "context overflow": _overflow,
}
