"""One normalised shape of request, answer and stream chunk: OpenAI's Chat Completions.

Frozen types that the provider adapters translate to and from. What a provider says beyond this shape is kept in
``extra`` and comes out again in :meth:`to_openai`, so that nothing is lost on the way through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from router_runtime.errors import RequestError

JSON = Mapping[str, Any]

#: OpenAI's words; providers' own words stand beside them as ``native_finish_reason``.
FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter")

#: Named fields of a request with the types that their JSON may have; null leaves each of them out.
_TYPES: dict[str, tuple[type, ...]] = {
    "tool_choice": (str, Mapping),
    "parallel_tool_calls": (bool,),
    "response_format": (Mapping,),
    "temperature": (int, float),
    "top_p": (int, float),
    "seed": (int,),
    "reasoning_effort": (str,),
    "user": (str,),
    "metadata": (Mapping,),
    "max_tokens": (int,),
}
_OURS = {"messages", "model", "stream", "stream_options", "tools", "stop", "max_tokens", "max_completion_tokens"}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is asked of a model, whichever it is; no model name and no credentials.

    Args:
        messages: OpenAI's: ``role`` is system, developer, user, assistant or tool; ``content`` is text or parts.
        tools: OpenAI's ``{"type": "function", "function": {...}}``.
        tool_choice: ``"auto"``, ``"none"``, ``"required"`` or a named function.
        parallel_tool_calls: None leaves it to the provider.
        response_format: ``{"type": "text" | "json_object" | "json_schema", ...}``.
        temperature, top_p, seed: Sampling; None leaves it to the provider.
        max_tokens: Upper bound of completion tokens, reasoning included.
        stop: Stop sequences.
        reasoning_effort: OpenAI's words, e.g. ``"low"``.
        user: The caller's end-user id, as the provider may see it.
        metadata: Passed to providers that take it.
        extra: Anything else, passed through to the top level of the provider's body as it stands.
    """

    messages: tuple[JSON, ...] = field(repr=False)  # prompts do not belong into logs
    tools: tuple[JSON, ...] = field(default=(), repr=False)
    tool_choice: str | JSON | None = None
    parallel_tool_calls: bool | None = None
    response_format: JSON | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    metadata: JSON | None = field(default=None, repr=False)
    extra: JSON = field(default_factory=dict, repr=False)

    @classmethod
    def from_openai(cls, body: JSON) -> ChatRequest:
        """Reads the body of a Chat Completions call; ``model`` and ``stream`` are the caller's and are left out.

        Raises:
            RequestError: Where a field has the wrong shape.
        """
        named = {name: body[name] for name in _TYPES if name in body}
        if (limit := body.get("max_completion_tokens")) is not None:
            named["max_tokens"] = limit
        return cls(
            messages=read_messages(body.get("messages")),
            tools=_mappings(body.get("tools"), "tools"),
            stop=_stops(body.get("stop")),
            extra={k: v for k, v in body.items() if k not in _OURS and k not in _TYPES},
            **{name: _typed(name, value) for name, value in named.items()},
        )


def _typed(name: str, value: Any) -> Any:
    """``value`` where it has a type that ``name`` may have."""
    kinds = _TYPES[name]
    if value is None or (isinstance(value, kinds) and (kinds == (bool,) or not isinstance(value, bool))):
        return value
    raise RequestError(f"{name} is {type(value).__name__}, expected {' or '.join(kind.__name__ for kind in kinds)}")


def read_messages(messages: Any) -> tuple[JSON, ...]:
    """A prompt, or OpenAI's list of messages, as a non-empty tuple of mappings.

    Raises:
        RequestError: Where it is neither.
    """
    if isinstance(messages, str):
        return ({"role": "user", "content": messages},)
    found = _mappings(messages, "messages")
    if not found:
        raise RequestError("messages is empty, expected at least one message")
    for index, message in enumerate(found):
        if not isinstance(message.get("role"), str):
            raise RequestError(f"messages[{index}] has no role")
    return found


def _mappings(value: Any, name: str) -> tuple[JSON, ...]:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise RequestError(f"{name} is {type(value).__name__}, expected a list of objects")
    for index, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise RequestError(f"{name}[{index}] is {type(item).__name__}, expected an object")
    return tuple(value)


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(stops, list | tuple) or not all(isinstance(stop, str) for stop in stops):
        raise RequestError("stop is neither text nor a list of texts")
    return tuple(stops)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one attempt as the provider counted them.

    Args:
        input_tokens: All prompt tokens, cached ones included.
        output_tokens: All completion tokens, reasoning included.
        cached_tokens: Prompt tokens read from the provider's cache.
        cache_write_tokens: Prompt tokens written to it.
        reasoning_tokens: Completion tokens spent on reasoning.
        extra: Other counts of the provider, e.g. OpenRouter's ``cost``.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    extra: JSON = field(default_factory=dict)

    def to_openai(self) -> dict[str, Any]:
        """OpenAI's ``usage`` object."""
        prompt = {"cached_tokens": self.cached_tokens}
        if self.cache_write_tokens:
            prompt["cache_write_tokens"] = self.cache_write_tokens
        return {
            **self.extra,
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "prompt_tokens_details": prompt,
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function; ``arguments`` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str
    extra: JSON = field(default_factory=dict)

    def to_openai(self) -> dict[str, Any]:
        """OpenAI's ``tool_calls`` item."""
        function = {"name": self.name, "arguments": self.arguments}
        return {**self.extra, "id": self.id, "type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Message:
    """The assistant's turn.

    Args:
        content: The text, or None where there is none.
        tool_calls: In order.
        refusal: Why the model declined, in its words; None where it did not.
        reasoning: Visible reasoning (``reasoning_content`` in OpenAI's dialects).
        extra: What the provider needs back in the next turn (signed thinking, …), and other fields of the message.
    """

    content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    reasoning: str | None = None
    extra: JSON = field(default_factory=dict)

    def to_openai(self) -> dict[str, Any]:
        """OpenAI's message, ready to be sent back in the next turn."""
        message: dict[str, Any] = {**self.extra, "role": "assistant", "content": self.content}
        if self.refusal is not None:
            message["refusal"] = self.refusal
        if self.reasoning is not None:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [call.to_openai() for call in self.tool_calls]
        return message


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer; ``finish_reason`` is one of :data:`FINISH_REASONS`, ``extra`` holds ``native_finish_reason``."""

    message: Message
    finish_reason: str
    index: int = 0
    extra: JSON = field(default_factory=dict)

    def to_openai(self) -> dict[str, Any]:
        """OpenAI's ``choices`` item."""
        message = self.message.to_openai()
        return {**self.extra, "index": self.index, "message": message, "finish_reason": self.finish_reason}


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """A whole answer.

    Args:
        id: The provider's id of the answer.
        model: The model that the response names; upstreams rename and reroute.
        choices: At least one.
        usage: None where the provider did not say.
        created: UTC seconds; 0 where the provider did not say.
        extra: Other fields of the top level.
    """

    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    created: int = 0
    extra: JSON = field(default_factory=dict)

    @property
    def message(self) -> Message:
        """The first choice's message."""
        return self.choices[0].message

    @property
    def text(self) -> str:
        """The first choice's text, empty where it has none."""
        return self.message.content or ""

    @property
    def finish_reason(self) -> str:
        """The first choice's finish reason."""
        return self.choices[0].finish_reason

    def to_openai(self) -> dict[str, Any]:
        """A ``chat.completion`` object that OpenAI's clients parse."""
        body: dict[str, Any] = {**self.extra, "id": self.id, "object": "chat.completion", "created": self.created}
        body |= {"model": self.model, "choices": [choice.to_openai() for choice in self.choices]}
        if self.usage is not None:
            body["usage"] = self.usage.to_openai()
        return body


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A fragment of a tool call: ``id`` and ``name`` come with the first, ``arguments`` adds up."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    extra: JSON = field(default_factory=dict)

    def to_openai(self) -> dict[str, Any]:
        """OpenAI's ``delta.tool_calls`` item."""
        function: dict[str, Any] = {"arguments": self.arguments}
        if self.name is not None:
            function["name"] = self.name
        head = {"id": self.id, "type": "function"} if self.id is not None else {}
        return {**self.extra, "index": self.index, **head, "function": function}


@dataclass(slots=True)
class ChatChunk:
    """One step of a stream; ``index`` is the choice that it belongs to.

    A chunk with ``usage`` and nothing else stands, as OpenAI's does, for no choice. To be read only: it is not frozen
    because making a frozen one takes four times as long, and a stream has hundreds.
    """

    id: str
    model: str
    content: str | None = None
    tool_calls: tuple[ToolCallDelta, ...] = ()
    refusal: str | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    role: str | None = None
    index: int = 0
    created: int = 0
    extra: JSON = field(default_factory=dict)  # of the delta
    choice_extra: JSON = field(default_factory=dict)  # of the choice: native_finish_reason, logprobs

    @property
    def visible(self) -> bool:
        """Whether a reader has now seen something: from here on, another model cannot silently take over."""
        return bool(self.content or self.tool_calls or self.refusal or self.reasoning)

    @property
    def empty(self) -> bool:
        """Whether it says nothing about a choice (a bare usage report, or nothing at all)."""
        return not (self.visible or self.role or self.finish_reason or self.extra or self.choice_extra) and (
            self.content is None
        )

    def delta(self) -> dict[str, Any]:
        """OpenAI's ``delta`` object."""
        delta: dict[str, Any] = dict(self.extra)
        parts = {"role": self.role, "content": self.content, "refusal": self.refusal}
        parts["reasoning_content"] = self.reasoning
        delta.update({name: part for name, part in parts.items() if part is not None})
        if self.tool_calls:
            delta["tool_calls"] = [call.to_openai() for call in self.tool_calls]
        return delta

    def to_openai(self) -> dict[str, Any]:
        """A ``chat.completion.chunk`` object that OpenAI's clients parse."""
        choices = []
        if not self.empty:
            choice = {"index": self.index, "delta": self.delta(), "finish_reason": self.finish_reason}
            choices = [{**self.choice_extra, **choice}]
        body = {"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model}
        body["choices"] = choices
        if self.usage is not None:
            body["usage"] = self.usage.to_openai()
        return body
