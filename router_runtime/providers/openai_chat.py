"""OpenAI Chat Completions, and the many servers that speak it: DeepSeek, OpenRouter, vLLM, Ollama, llama.cpp, ….

Reference: https://platform.openai.com/docs/api-reference/chat. Our normalised shape is this one, so most goes through.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from router_runtime.chat import (
    JSON,
    ChatChunk,
    ChatRequest,
    ChatResponse,
    Choice,
    Message,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from router_runtime.provider_errors import MalformedAnswer, ProviderError
from router_runtime.providers.base import Headers, HttpCall, Target, answer_object
from router_runtime.providers.building import fitted, merged, post, put
from router_runtime.providers.classify import classified, error_object, report_of
from router_runtime.providers.decoding import EventStream
from router_runtime.providers.openai_errors import OPENAI_CODES, inner_status
from router_runtime.providers.reading import count, load_object, obj, objs, rest, text, word
from router_runtime.streaming import ServerEvent

#: What other wire formats leave in a message for its next turn; it means nothing here.
_FOREIGN = frozenset({"thinking_blocks", "reasoning_items"})
_USAGE = frozenset({"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"}) | {
    "completion_tokens_details"
}
_BODY = frozenset({"id", "object", "created", "model", "choices", "usage"})
_CHOICE = frozenset({"index", "message", "delta", "finish_reason"})
_MESSAGE = frozenset({"role", "content", "refusal", "tool_calls", "reasoning_content", "reasoning"})
_CALL = frozenset({"id", "type", "function", "index"})
_KNOWN_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})


@dataclass(frozen=True, slots=True)
class OpenAIChat:
    """The adapter; its fields are the dialect.

    Args:
        name: The registry's word.
        limit_field: Where ``max_tokens`` goes; OpenAI's reasoning models refuse the old name.
        dropped: Message fields that this server refuses or does not know.
        done_required: Whether ``data: [DONE]`` must end a stream; else a finish reason is enough.
    """

    name: str = "openai"
    limit_field: str = "max_completion_tokens"
    dropped: frozenset[str] = _FOREIGN | {"reasoning_content"}
    done_required: bool = True

    def build(self, request: ChatRequest, target: Target, *, stream: bool) -> HttpCall:
        """The call; see :class:`~router_runtime.providers.base.Adapter`."""
        request = fitted(request, target)
        body: dict[str, Any] = {"model": target.model, "messages": [self._message(m) for m in request.messages]}
        put(
            body,
            tools=list(request.tools) or None,
            tool_choice=request.tool_choice,
            parallel_tool_calls=request.parallel_tool_calls,
            response_format=request.response_format,
            temperature=request.temperature,
            top_p=request.top_p,
            stop=list(request.stop) or None,
            seed=request.seed,
            reasoning_effort=request.reasoning_effort,
            user=request.user,
            metadata=request.metadata,
            **{self.limit_field: request.max_tokens},
        )
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        auth = {"authorization": f"Bearer {target.api_key}"} if target.api_key else {}
        return post(target, "/chat/completions", merged(body, request.extra), auth, stream=stream)

    def _message(self, message: JSON) -> JSON:
        return message if self.dropped.isdisjoint(message) else rest(message, self.dropped)

    def parse(self, status: int, headers: Headers, body: bytes) -> ChatResponse:
        """The whole answer; see :class:`~router_runtime.providers.base.Adapter`."""
        raw = answer_object(self, status, headers, body)
        choices = tuple(_choice(choice) for choice in objs(raw.get("choices"), "choices"))
        if not choices:
            raise MalformedAnswer("the answer has no choices")
        return ChatResponse(
            word(raw.get("id")),
            word(raw.get("model")),
            choices,
            read_usage(raw.get("usage")),
            count(raw.get("created")),
            rest(raw, _BODY),
        )

    def classify(self, status: int, headers: Headers, body: bytes) -> ProviderError:
        """The typed error; see :class:`~router_runtime.providers.base.Adapter`."""
        error = error_object(body)
        more = error.get("metadata") if isinstance(error.get("metadata"), dict) else {}
        codes = (error.get("code"), error.get("type"), *((more or {}).get(k) for k in ("error_type", "code")))
        if status == 403 and more and more.get("reasons"):  # OpenRouter: flagged by its moderation
            codes = ("content_filter", *codes)
        return classified(report_of(inner_status(status, error), headers, error, *codes), OPENAI_CODES)

    def decoder(self) -> EventStream:
        """A decoder for one stream."""
        return _Stream(self)


def _choice(raw: JSON) -> Choice:
    message = obj(raw.get("message"), "choices[].message")
    calls = tuple(_call(call) for call in objs(message.get("tool_calls"), "tool_calls"))
    reason, native = finish_reason(raw.get("finish_reason"), bool(calls))
    found = Message(
        _content(message.get("content")),
        calls,
        text(message.get("refusal"), "refusal"),
        _reasoning(message),
        rest(message, _MESSAGE),
    )
    return Choice(found, reason, count(raw.get("index")), rest(raw, _CHOICE) | native)


def _content(value: Any) -> str | None:
    """Text, or the texts of parts (Mistral's servers answer so)."""
    if not isinstance(value, list):
        return text(value, "content")
    return "".join(text(part.get("text"), "content[].text") or "" for part in objs(value, "content"))


def _reasoning(message: JSON) -> str | None:
    """``reasoning_content`` (DeepSeek, llama.cpp) or ``reasoning`` (OpenRouter, vLLM, Ollama)."""
    found = message.get("reasoning_content")
    return text(found if found is not None else message.get("reasoning"), "reasoning")


def _call(raw: JSON) -> ToolCall:
    function = obj(raw.get("function"), "tool_calls[].function")
    arguments = function.get("arguments")
    if isinstance(arguments, dict):  # Ollama's older servers send the object itself
        arguments = json.dumps(arguments)
    return ToolCall(
        word(raw.get("id")), word(function.get("name")), text(arguments, "arguments") or "", rest(raw, _CALL)
    )


def finish_reason(raw: Any, calls: bool) -> tuple[str, dict[str, Any]]:
    """(our reason, the provider's own word where it differs).

    Raises:
        ProviderError: The reason is itself an error: OpenRouter's ``error``, DeepSeek's
            ``insufficient_system_resource``.
    """
    if raw in ("error", "insufficient_system_resource"):
        error = {"message": "", "code": "overloaded" if raw != "error" else "server_error"}
        raise classified(report_of(200, {}, error, error["code"]), OPENAI_CODES)
    if not isinstance(raw, str) or not raw:
        return ("tool_calls" if calls else "stop"), {}
    if raw in _KNOWN_REASONS:
        return raw, {}
    ours = {"function_call": "tool_calls", "max_tokens": "length"}.get(raw, "stop")
    return ours, {"native_finish_reason": raw}


def read_usage(raw: Any) -> Usage | None:
    """``usage`` with the dialects' words for cached tokens; None where there is none."""
    if not isinstance(raw, dict) or not raw:
        return None
    prompt, completion = raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")
    prompt = prompt if isinstance(prompt, dict) else {}
    completion = completion if isinstance(completion, dict) else {}
    return Usage(
        count(raw.get("prompt_tokens")),
        count(raw.get("completion_tokens")),
        count(prompt.get("cached_tokens")) or count(raw.get("prompt_cache_hit_tokens")),
        count(prompt.get("cache_write_tokens")),
        count(completion.get("reasoning_tokens")),
        rest(raw, _USAGE),
    )


class _Stream(EventStream):
    """``data: {chunk}`` …, then ``data: [DONE]``."""

    def __init__(self, adapter: OpenAIChat) -> None:
        super().__init__()
        self._adapter = adapter
        self._reasons = 0
        self._calls: dict[int, _Calls] = {}

    def take(self, event: ServerEvent) -> list[ChatChunk]:
        if event.data == "[DONE]":
            return self.end()
        raw = load_object(event.data, "a chunk")
        if raw.get("error"):
            raise self._adapter.classify(200, {}, event.data.encode("utf-8", "replace"))
        self._head(raw)
        choices = objs(raw.get("choices"), "choices")
        if len(choices) == 1 and (plain := _plain_text(choices[0])) is not None:
            return self.plain(event, "content", plain)
        return [self._chunk(choice) for choice in choices]

    def _head(self, raw: JSON) -> None:
        if raw.get("id") != self.id:
            self.id = word(raw.get("id")) or self.id
        if raw.get("model") != self.model:
            self.model = word(raw.get("model")) or self.model
        if not self.created:
            self.created = count(raw.get("created"))
        if raw.get("usage"):
            self.usage = read_usage(raw["usage"]) or self.usage

    def _chunk(self, choice: JSON) -> ChatChunk:
        delta = obj(choice.get("delta"), "choices[].delta")
        calls = objs(delta.get("tool_calls"), "tool_calls")
        reason = choice.get("finish_reason")
        native: dict[str, Any] = {}
        if reason:
            self._reasons += 1
            reason, native = finish_reason(reason, bool(calls))
        role = delta.get("role")
        return ChatChunk(
            self.id,
            self.model,
            _content(delta.get("content")),
            self._fragments(count(choice.get("index")), calls) if calls else (),
            text(delta.get("refusal"), "refusal"),
            _reasoning(delta),
            reason or None,
            role="assistant" if role else None,
            index=count(choice.get("index")),
            created=self.created,
            extra=rest(delta, _MESSAGE),
            choice_extra=rest(choice, _CHOICE) | native,
        )

    def _fragments(self, choice: int, calls: list[dict[str, Any]]) -> tuple[ToolCallDelta, ...]:
        known = self._calls.setdefault(choice, _Calls())
        return tuple(known.fragment(call, place) for place, call in enumerate(calls))

    def complete(self) -> bool:
        return self._reasons > 0 and not self._adapter.done_required


def _plain_text(choice: JSON) -> str | None:
    """The text of a chunk that holds nothing else: nearly all do."""
    delta = choice.get("delta")
    if not isinstance(delta, dict) or len(delta) != 1 or choice.get("finish_reason") or choice.get("index"):
        return None
    found = delta.get("content")
    if len(choice) > 3 and (len(choice) > 4 or choice.get("logprobs", "") is not None):
        return None
    return found if isinstance(found, str) else None


class _Calls:
    """The tool calls of one choice. Some servers give all of them the same index, or none (Ollama, Gemini)."""

    def __init__(self) -> None:
        self._ids: dict[int, str] = {}  # our index → id
        self._ours: dict[int, int] = {}  # the server's index → ours of the call that it stands for now

    def fragment(self, raw: JSON, place: int) -> ToolCallDelta:
        """A fragment; ``place`` in its list stands for an index that is missing."""
        function = obj(raw.get("function"), "tool_calls[].function")
        index, call = raw.get("index"), text(raw.get("id"), "tool_calls[].id")
        name = text(function.get("name"), "tool_calls[].function.name")
        ours = self._index(count(index) if isinstance(index, int) else place, call or "", begins=bool(name))
        return ToolCallDelta(ours, call, name, text(function.get("arguments"), "arguments") or "", rest(raw, _CALL))

    def _index(self, theirs: int, call: str, *, begins: bool) -> int:
        ours = self._ours.get(theirs)
        if ours is None:
            ours = theirs if theirs not in self._ids else self._free()
        elif begins and call and self._ids[ours] not in ("", call):  # another call under an index that is taken
            ours = self._free()
        self._ours[theirs] = ours
        self._ids[ours] = call or self._ids.get(ours, "")
        return ours

    def _free(self) -> int:
        return max(self._ids) + 1
