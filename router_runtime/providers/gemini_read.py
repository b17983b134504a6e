"""Gemini's candidates → the normalised answer, whole or streamed."""

from __future__ import annotations

import json
from typing import Any

from router_runtime.chat import JSON, ChatChunk, ChatResponse, Choice, Message, ToolCall, ToolCallDelta, Usage
from router_runtime.provider_errors import MalformedAnswer
from router_runtime.providers.decoding import EventStream
from router_runtime.providers.gemini_errors import classify
from router_runtime.providers.reading import count, load_object, obj, objs, rest, text, word
from router_runtime.streaming import ServerEvent

#: Reasons that say that the model's tool call or answer is broken: there is nothing to show.
_BROKEN = frozenset(
    {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE"}
    | {"MISSING_THOUGHT_SIGNATURE"}
)
_REASONS = {"STOP": "stop", "MAX_TOKENS": "length", "CONTINUATION": "length", "FINISH_REASON_UNSPECIFIED": "stop"}
_CANDIDATE = frozenset({"content", "finishReason", "index"})
_USAGE = frozenset(
    {"promptTokenCount", "candidatesTokenCount", "totalTokenCount", "thoughtsTokenCount", "cachedContentTokenCount"}
)


def read_answer(raw: JSON) -> ChatResponse:
    """A ``GenerateContentResponse``; a blocked prompt is an answer whose finish reason is ``content_filter``.

    Raises:
        MalformedAnswer: It is none, or the model's tool call is broken.
    """
    candidates = objs(raw.get("candidates"), "candidates")
    blocked = _blocked(raw)
    if not candidates and blocked is None:
        raise MalformedAnswer("the answer has no candidates")
    choices = tuple(_choice(candidate, place) for place, candidate in enumerate(candidates))
    if not choices:
        choices = (Choice(Message(), "content_filter", 0, {"native_finish_reason": blocked}),)
    return ChatResponse(
        word(raw.get("responseId")), word(raw.get("modelVersion")), choices, read_usage(raw.get("usageMetadata"))
    )


def _blocked(raw: JSON) -> str | None:
    """Why the prompt was blocked, or None."""
    reason = obj(raw.get("promptFeedback"), "promptFeedback").get("blockReason")
    return word(reason) or None


def _choice(candidate: JSON, place: int) -> Choice:
    parts = objs(obj(candidate.get("content"), "content").get("parts"), "parts")
    message = _message(parts)
    reason, native = finish_reason(candidate, bool(message.tool_calls))
    index = candidate.get("index")
    return Choice(message, reason, count(index) if index is not None else place, rest(candidate, _CANDIDATE) | native)


def finish_reason(candidate: JSON, calls: bool) -> tuple[str, dict[str, Any]]:
    """(OpenAI's reason, Gemini's own word); what is neither an end nor a limit is a filter's doing.

    Raises:
        MalformedAnswer: The reason says that the model's tool call is broken.
    """
    native = word(candidate.get("finishReason"))
    if native in _BROKEN:
        raise MalformedAnswer("the model made a tool call or an answer that cannot be used", code=native)
    ours = _REASONS.get(native or "STOP", "content_filter")
    if ours == "stop" and calls:
        ours = "tool_calls"
    return ours, ({"native_finish_reason": native} if native and native != "STOP" else {})


def _message(parts: list[dict[str, Any]], first: int = 0) -> Message:
    """The parts' message; ``first`` is the number of tool calls that a stream has brought before."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    others: list[Any] = []
    for part in parts:
        if "functionCall" in part:
            calls.append(_call(part, first + len(calls)))
        elif "text" in part:
            (thoughts if part.get("thought") else texts).append(text(part["text"], "text") or "")
        else:
            others.append(part)
    extra = {"native_parts": others} if others else {}
    return Message("".join(texts) or None, tuple(calls), None, "".join(thoughts) or None, extra)


def _call(part: JSON, place: int) -> ToolCall:
    """A call; Gemini gives ids only where it needs them, OpenAI's clients always do."""
    call = obj(part.get("functionCall"), "functionCall")
    name = word(call.get("name"))
    arguments = json.dumps(obj(call.get("args"), "args"), ensure_ascii=False)
    signature = part.get("thoughtSignature")
    extra = {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}
    return ToolCall(word(call.get("id")) or f"call_{place}_{name}", name, arguments, extra)


def read_usage(raw: Any) -> Usage | None:
    """``usageMetadata``; here thoughts are counted beside the candidates' tokens, not among them."""
    if not isinstance(raw, dict) or not raw:
        return None
    thoughts = count(raw.get("thoughtsTokenCount"))
    return Usage(
        count(raw.get("promptTokenCount")) + count(raw.get("toolUsePromptTokenCount")),
        count(raw.get("candidatesTokenCount")) + thoughts,
        count(raw.get("cachedContentTokenCount")),
        0,
        thoughts,
        rest(raw, _USAGE),
    )


class GeminiStream(EventStream):
    """Whole ``GenerateContentResponse`` objects, each with the next parts; a finish reason ends the stream."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0
        self._opened = False

    def take(self, event: ServerEvent) -> list[ChatChunk]:
        """The chunks of one event."""
        raw = load_object(event.data, "an event")
        if raw.get("error"):
            raise classify(200, {}, event.data.encode("utf-8", "replace"))
        self.id, self.model = word(raw.get("responseId")) or self.id, word(raw.get("modelVersion")) or self.model
        self.usage = read_usage(raw.get("usageMetadata")) or self.usage
        candidates = objs(raw.get("candidates"), "candidates")
        blocked = _blocked(raw)
        if not candidates and blocked is not None:
            native = {"native_finish_reason": blocked}
            return [ChatChunk(self.id, self.model, finish_reason="content_filter", choice_extra=native), *self.end()]
        # One candidate per stream: the adapter refuses n > 1.
        return self._candidate(candidates[0]) if candidates else []

    def _candidate(self, candidate: JSON) -> list[ChatChunk]:
        message = _message(objs(obj(candidate.get("content"), "content").get("parts"), "parts"), self._calls)
        deltas = tuple(
            ToolCallDelta(index, call.id, call.name, call.arguments, call.extra)
            for index, call in enumerate(message.tool_calls, self._calls)
        )
        self._calls += len(deltas)
        ended = bool(candidate.get("finishReason"))
        reason, native = finish_reason(candidate, self._calls > 0) if ended else (None, {})
        chunk = ChatChunk(
            self.id,
            self.model,
            message.content,
            deltas,
            reasoning=message.reasoning,
            finish_reason=reason,
            role=None if self._opened else "assistant",
            extra=message.extra,
            choice_extra=rest(candidate, _CANDIDATE) | native,
        )
        self._opened = True
        return [chunk, *self.end()] if ended else [] if chunk.empty else [chunk]
