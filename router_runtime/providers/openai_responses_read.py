"""OpenAI Responses → the normalised answer, whole or streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from router_runtime.chat import JSON, ChatChunk, ChatResponse, Choice, Message, ToolCall, ToolCallDelta, Usage
from router_runtime.provider_errors import MalformedAnswer, ProviderError, ServerError
from router_runtime.providers.base import Headers
from router_runtime.providers.decoding import EventStream
from router_runtime.providers.reading import count, load_object, obj, objs, rest, text, word
from router_runtime.streaming import ServerEvent

Classify = Callable[[int, Headers, bytes], ProviderError]

_KEPT = frozenset({"service_tier"})  # of the top level: the rest repeats the request
_USAGE = frozenset({"input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details"})


def read_response(raw: JSON) -> ChatResponse:
    """A ``response`` object.

    Raises:
        MalformedAnswer: It is none, or one that has not ended.
        ServerError: It was cancelled, or failed without saying why.
    """
    if not isinstance(raw.get("output"), list):
        raise MalformedAnswer("the answer has no output")
    message = _message(objs(raw.get("output"), "output"))
    reason, native = _reason(raw, bool(message.tool_calls))
    return ChatResponse(
        word(raw.get("id")),
        word(raw.get("model")),
        (Choice(message, reason, 0, native),),
        read_usage(raw.get("usage")),
        count(raw.get("created_at")),
        {name: raw[name] for name in sorted(_KEPT) if raw.get(name) is not None},
    )


def _reason(raw: JSON, calls: bool) -> tuple[str, dict[str, Any]]:
    status = raw.get("status")
    if status in ("failed", "cancelled"):
        raise ServerError("the provider failed", code=word(status))
    if status == "incomplete":
        why = word(obj(raw.get("incomplete_details"), "incomplete_details").get("reason"))
        return ("content_filter" if why == "content_filter" else "length"), {"native_finish_reason": why}
    if status not in ("completed", None):
        raise MalformedAnswer("the answer has not ended")
    return ("tool_calls" if calls else "stop"), {}


def _message(output: list[dict[str, Any]]) -> Message:
    texts: list[str] = []
    refusals: list[str] = []
    calls: list[ToolCall] = []
    extra: dict[str, list[Any]] = {}
    for item in output:
        kind = item.get("type")
        if kind == "message":
            _content(item, texts, refusals, extra)
        elif kind == "function_call":
            arguments = text(item.get("arguments"), "arguments") or ""
            calls.append(ToolCall(word(item.get("call_id")), word(item.get("name")), arguments))
        elif kind == "reasoning":
            extra.setdefault("reasoning_items", []).append(item)
        else:
            extra.setdefault("output_items", []).append(item)
    reasoning = "\n".join(summary for item in extra.get("reasoning_items", ()) if (summary := _summary(item)))
    return Message("".join(texts) or None, tuple(calls), "".join(refusals) or None, reasoning or None, extra)


def _content(item: JSON, texts: list[str], refusals: list[str], extra: dict[str, list[Any]]) -> None:
    for part in objs(item.get("content"), "output[].content"):
        if part.get("type") == "output_text":
            texts.append(text(part.get("text"), "output_text") or "")
            if isinstance(part.get("annotations"), list) and part["annotations"]:
                extra.setdefault("annotations", []).extend(part["annotations"])
        elif part.get("type") == "refusal":
            refusals.append(text(part.get("refusal"), "refusal") or "")


def _summary(item: JSON) -> str:
    parts = objs(item.get("content"), "reasoning") or objs(item.get("summary"), "reasoning")
    return "\n".join(text(part.get("text"), "reasoning") or "" for part in parts)


def read_usage(raw: Any) -> Usage | None:
    """``usage`` in this format's words; None where there is none."""
    if not isinstance(raw, dict) or not raw:
        return None
    cached, thought = raw.get("input_tokens_details"), raw.get("output_tokens_details")
    cached = cached if isinstance(cached, dict) else {}
    thought = thought if isinstance(thought, dict) else {}
    return Usage(
        count(raw.get("input_tokens")),
        count(raw.get("output_tokens")),
        count(cached.get("cached_tokens")),
        count(cached.get("cache_write_tokens")),
        count(thought.get("reasoning_tokens")),
        rest(raw, _USAGE),
    )


class ResponsesStream(EventStream):
    """Typed events; ``response.completed``, ``.incomplete`` or ``.failed`` ends the stream."""

    def __init__(self, classify: Classify) -> None:
        super().__init__()
        self._classify = classify
        self._calls: dict[int, int] = {}  # output_index → our index of the tool call
        self._spoke = False  # a text or refusal delta has come

    def take(self, event: ServerEvent) -> list[ChatChunk]:
        """The chunks of one event."""
        if event.data == "[DONE]":  # some gateways append Chat Completions' ending
            return []
        raw = load_object(event.data, "an event")
        kind = word(raw.get("type"))
        if kind in ("error", "response.failed") or (raw.get("error") and not kind):
            raise self._failure(raw, event)
        if kind in ("response.completed", "response.incomplete"):
            return self._ended(obj(raw.get("response"), "response"))
        if kind == "response.created":
            response = obj(raw.get("response"), "response")
            self.id, self.model = word(response.get("id")), word(response.get("model"))
            self.created = count(response.get("created_at"))
            return [self._chunk(role="assistant")]
        return self._delta(kind, raw)

    def _failure(self, raw: JSON, event: ServerEvent) -> ProviderError:
        response = obj(raw.get("response"), "response")
        self.usage = read_usage(response.get("usage"))
        body = json.dumps({"error": response["error"]}) if response.get("error") else event.data
        return self._classify(200, {}, body.encode("utf-8", "replace"))

    def _chunk(self, **fields: Any) -> ChatChunk:
        return ChatChunk(self.id, self.model, created=self.created, **fields)

    def _delta(self, kind: str, raw: JSON) -> list[ChatChunk]:
        if kind == "response.output_text.delta":
            self._spoke = True
            return [self._chunk(content=text(raw.get("delta"), "delta"))]
        if kind == "response.refusal.delta":
            self._spoke = True
            return [self._chunk(refusal=text(raw.get("delta"), "delta"))]
        if kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            return [self._chunk(reasoning=text(raw.get("delta"), "delta"))]
        if kind == "response.function_call_arguments.delta":
            index = self._calls.get(count(raw.get("output_index")))
            if index is None:
                raise MalformedAnswer("a fragment of a tool call that has not begun")
            fragment = text(raw.get("delta"), "delta") or ""
            return [self._chunk(tool_calls=(ToolCallDelta(index, arguments=fragment),))]
        if kind in ("response.output_item.added", "response.output_item.done"):
            return self._item(count(raw.get("output_index")), obj(raw.get("item"), "item"))
        return []

    def _item(self, place: int, item: JSON) -> list[ChatChunk]:
        """A tool call begins; one that only its ``done`` event tells of comes whole."""
        if item.get("type") != "function_call" or place in self._calls:
            return []
        self._calls[place] = len(self._calls)
        arguments = text(item.get("arguments"), "arguments") or ""
        call = ToolCallDelta(self._calls[place], word(item.get("call_id")), word(item.get("name")), arguments)
        return [self._chunk(tool_calls=(call,))]

    def _ended(self, response: JSON) -> list[ChatChunk]:
        whole = read_response(response)
        self.model = whole.model or self.model
        self.usage = whole.usage
        choice = whole.choices[0]
        last = self._chunk(
            content=None if self._spoke else choice.message.content,
            refusal=None if self._spoke else choice.message.refusal,
            finish_reason=choice.finish_reason,
            extra=choice.message.extra,
            choice_extra=choice.extra,
        )
        return [last, *self.end()]
