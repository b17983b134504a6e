"""OpenAI Responses: the same models as Chat Completions behind items instead of messages.

Reference: https://platform.openai.com/docs/api-reference/responses. Calls are stateless (``store: false``); reasoning
items go back in the next turn where the caller asks for them:
``extra={"include": ["reasoning.encrypted_content"]}``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from router_runtime.chat import JSON, ChatRequest, ChatResponse
from router_runtime.errors import RequestError
from router_runtime.provider_errors import ProviderError
from router_runtime.providers.base import Headers, HttpCall, Target, answer_object
from router_runtime.providers.building import (
    calls_of,
    choice_of,
    fitted,
    functions,
    image_url,
    kept,
    merged,
    part_text,
    parts_of,
    post,
    put,
    schema_of,
    unsupported,
)
from router_runtime.providers.classify import classified, error_object, report_of
from router_runtime.providers.decoding import EventStream
from router_runtime.providers.openai_errors import OPENAI_CODES, inner_status
from router_runtime.providers.openai_responses_read import ResponsesStream, read_response

_PROVIDER = "OpenAI's Responses format"
#: Chat Completions' parameters that this format does not have.
_MISSING = frozenset(
    {"n", "logprobs", "logit_bias", "frequency_penalty", "presence_penalty", "prediction", "audio", "functions"}
) | {"function_call", "web_search_options"}


@dataclass(frozen=True, slots=True)
class OpenAIResponses:
    """The adapter."""

    name: str = "openai-responses"

    def build(self, request: ChatRequest, target: Target, *, stream: bool) -> HttpCall:
        """The call; see :class:`~router_runtime.providers.base.Adapter`."""
        request = fitted(request, target)
        _refuse(request)
        items = [item for index, message in enumerate(request.messages) for item in _items(message, index)]
        body: dict[str, Any] = {"model": target.model, "input": items, "store": False}
        put(
            body,
            tools=[_tool(function) for function in functions(request, _PROVIDER)] or None,
            tool_choice=_tool_choice(request),
            parallel_tool_calls=request.parallel_tool_calls,
            text=_text(request),
            temperature=request.temperature,
            top_p=request.top_p,
            max_output_tokens=request.max_tokens,
            reasoning={"effort": request.reasoning_effort} if request.reasoning_effort else None,
            user=request.user,
            metadata=request.metadata,
            stream=True if stream else None,
        )
        extra = {k: v for k, v in request.extra.items() if k not in _MISSING and k != "verbosity"}
        auth = {"authorization": f"Bearer {target.api_key}"} if target.api_key else {}
        return post(target, "/responses", merged(body, extra), auth, stream=stream)

    def parse(self, status: int, headers: Headers, body: bytes) -> ChatResponse:
        """The whole answer; see :class:`~router_runtime.providers.base.Adapter`."""
        raw = answer_object(self, status, headers, body)
        return read_response(raw)

    def classify(self, status: int, headers: Headers, body: bytes) -> ProviderError:
        """The typed error; see :class:`~router_runtime.providers.base.Adapter`."""
        error = error_object(body)
        codes = (error.get("code"), error.get("type"))
        return classified(report_of(inner_status(status, error), headers, error, *codes), OPENAI_CODES)

    def decoder(self) -> EventStream:
        """A decoder for one stream."""
        return ResponsesStream(self.classify)


def _refuse(request: ChatRequest) -> None:
    for name in sorted(_MISSING & request.extra.keys()):
        if request.extra[name] and not (name == "n" and request.extra[name] == 1):
            raise unsupported(_PROVIDER, f"the parameter {name}")
    if request.stop:
        raise unsupported(_PROVIDER, "stop sequences")
    if request.seed is not None:
        raise unsupported(_PROVIDER, "a seed")


def _items(message: JSON, index: int) -> Iterator[dict[str, Any]]:
    """The input items of one message."""
    place, role = f"messages[{index}]", message.get("role")
    if role == "tool":
        output = [_part(kind, part, place) for kind, part in parts_of(message, place)]
        alone = output[0]["text"] if len(output) == 1 and output[0]["type"] == "input_text" else output
        yield {"type": "function_call_output", "call_id": str(message.get("tool_call_id") or ""), "output": alone or ""}
    elif role == "assistant":
        yield from kept(message, "reasoning_items", place)
        content = [_said(part, place) for _, part in parts_of(message, place)]
        if content:
            yield {"type": "message", "role": "assistant", "content": content}
        for call_id, name, arguments, _ in calls_of(message, place):
            yield {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments or "{}"}
    elif role in ("system", "developer", "user"):
        content = [_part(kind, part, place) for kind, part in parts_of(message, place)]
        yield {"type": "message", "role": role, "content": content}
    else:
        raise RequestError(f"{place}.role is {str(role)[:40]!r}, expected system, developer, user, assistant or tool")


def _said(part: JSON, place: str) -> dict[str, Any]:
    if part.get("type") == "refusal":
        return {"type": "refusal", "refusal": part_text(part, place)}
    return {"type": "output_text", "text": part_text(part, place)}


def _part(kind: str, part: JSON, place: str) -> dict[str, Any]:
    if kind == "text":
        return {"type": "input_text", "text": part_text(part, place)}
    if kind == "image_url":
        image = part.get("image_url")
        detail = image.get("detail") if isinstance(image, dict) else None
        return {"type": "input_image", "image_url": image_url(part, place), "detail": detail or "auto"}
    if kind == "file" and isinstance(part.get("file"), dict):
        return {"type": "input_file", **part["file"]}
    if kind in ("input_text", "input_image", "input_file"):
        return dict(part)
    raise unsupported(_PROVIDER, f"a part of type {kind[:40]!r} in {place}")


def _tool(function: JSON) -> dict[str, Any]:
    """Chat Completions' functions are not strict unless they say so; here they would be."""
    tool = {"type": "function", "name": function["name"], "parameters": function.get("parameters")}
    put(tool, description=function.get("description"))
    return tool | {"strict": bool(function.get("strict"))}


def _tool_choice(request: ChatRequest) -> str | dict[str, Any] | None:
    choice = choice_of(request)
    if choice is None:
        return None
    word, name = choice
    return {"type": "function", "name": name} if word == "function" else word


def _text(request: ChatRequest) -> dict[str, Any] | None:
    text: dict[str, Any] = {}
    put(text, verbosity=request.extra.get("verbosity"))
    schema = schema_of(request)
    if schema is not None:
        text["format"] = {"type": schema[0], **schema[1]}
    return text or None
