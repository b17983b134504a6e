"""Anthropic Messages.

Reference: https://platform.claude.com/docs/en/api/messages. Leading system messages become ``system``, later ones stay
in place; tool results of one turn share a user message; signed thinking goes back as the model sent it
(``thinking_blocks`` in the assistant's message).

Version 2023-06-01 is asked for, because 2026-10-21 takes no sampling parameters from any model. Models since Claude
Opus 4.7 refuse them anyway: a temperature or top_p of 1, their default, is never sent; name others in the target's
``drop`` to have such models answer without them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from router_runtime.chat import JSON, ChatRequest, ChatResponse
from router_runtime.provider_errors import (
    AuthFailed,
    BadRequest,
    ContentFiltered,
    ContextOverflow,
    ModelNotFound,
    Overloaded,
    ProviderError,
    ServerError,
    UnsupportedByProvider,
)
from router_runtime.providers.anthropic_read import AnthropicStream, read_message
from router_runtime.providers.base import Headers, HttpCall, Target, answer_object
from router_runtime.providers.building import (
    add_turn,
    arguments_object,
    calls_of,
    choice_of,
    data_url,
    fitted,
    foreign_extra,
    functions,
    image_url,
    kept,
    merged,
    part_text,
    parts_of,
    post,
    put,
    role_of,
    schema_of,
    unsupported,
)
from router_runtime.providers.classify import Make, Report, classified, error_object, limited, made, rejected, report_of
from router_runtime.providers.decoding import EventStream

_PROVIDER = "Anthropic"
_VERSION = "2023-06-01"


@dataclass(frozen=True, slots=True)
class Anthropic:
    """The adapter.

    Args:
        name: The registry's word.
        default_max_tokens: This format asks for a bound; every model since Claude 4 can take this one. The target's own
            holds where it is lower.
    """

    name: str = "anthropic"
    default_max_tokens: int = 32_000

    def build(self, request: ChatRequest, target: Target, *, stream: bool) -> HttpCall:
        """The call; see :class:`~router_runtime.providers.base.Adapter`."""
        request = fitted(request, target)
        if request.seed is not None:
            raise unsupported(_PROVIDER, "a seed")
        system, messages = _turns(request)
        limit = request.max_tokens
        if limit is None:
            limit = min(self.default_max_tokens, target.max_output_tokens or self.default_max_tokens)
        body: dict[str, Any] = {"model": target.model, "max_tokens": limit, "messages": messages}
        put(
            body,
            system=system or None,
            tools=[_tool(function) for function in functions(request, _PROVIDER)] or None,
            tool_choice=_tool_choice(request),
            temperature=None if request.temperature == 1 else request.temperature,
            top_p=None if request.top_p == 1 else request.top_p,
            stop_sequences=list(request.stop) or None,
            output_config=_output_config(request),
            thinking={"type": "disabled"} if request.reasoning_effort == "none" else None,
            metadata={"user_id": request.user} if request.user else None,
            stream=True if stream else None,
        )
        auth = {"anthropic-version": _VERSION} | ({"x-api-key": target.api_key} if target.api_key else {})
        path = "/messages" if target.base_url.rstrip("/").endswith("/v1") else "/v1/messages"
        return post(target, path, merged(body, foreign_extra(request, _PROVIDER)), auth, stream=stream)

    def parse(self, status: int, headers: Headers, body: bytes) -> ChatResponse:
        """The whole answer; see :class:`~router_runtime.providers.base.Adapter`."""
        raw = answer_object(self, status, headers, body)
        if raw.get("type") == "error":
            raise self.classify(status, headers, body)
        return read_message(raw)

    def classify(self, status: int, headers: Headers, body: bytes) -> ProviderError:
        """The typed error; see :class:`~router_runtime.providers.base.Adapter`."""
        error = error_object(body)
        details = error.get("details")
        detail = details.get("error_code") if isinstance(details, dict) else None
        return classified(report_of(status, headers, error, detail, error.get("type")), _CODES)

    def decoder(self) -> EventStream:
        """A decoder for one stream."""
        return AnthropicStream(self.classify)


def _invalid(report: Report) -> ProviderError:
    """``invalid_request_error`` also stands for empty credit, spend limits and its output filter: only prose tells."""
    prose = report.message.lower()
    if "credit balance is too low" in prose or "api usage limits" in prose:
        return limited("credit")(report)
    if "deprecated for this model" in prose:
        return made(UnsupportedByProvider)(report)
    if "content filtering" in prose:
        return made(ContentFiltered)(report)
    return rejected(report)


#: https://platform.claude.com/docs/en/api/errors
_CODES: dict[str, Make] = {
    "enforced_spend_limit_reached": limited("credit"),
    "billing_error": limited("credit"),
    "rate_limit_error": limited("request"),
    "overloaded_error": made(Overloaded),
    "api_error": made(ServerError),
    "timeout_error": made(ServerError),
    "conflict_error": made(ServerError),
    "authentication_error": made(AuthFailed),
    "permission_error": made(AuthFailed),
    "not_found_error": made(ModelNotFound),
    "request_too_large": made(ContextOverflow),
    "unsupported_charset_error": made(BadRequest),
    "invalid_request_error": _invalid,
}


def _turns(request: ChatRequest) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(blocks of the leading system messages, turns); neighbouring messages of one role become one turn."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(request.messages):
        place = f"messages[{index}]"
        role = role_of(message, place)
        blocks = [_result(message, place)] if role == "tool" else list(_blocks(message, place))
        if role == "system" and not turns:
            system += blocks
            continue
        if role == "assistant":
            blocks = [*kept(message, "thinking_blocks", place), *blocks, *_calls(message, place)]
        add_turn(turns, "user" if role == "tool" else role, "content", blocks)
    return system, turns


def _blocks(message: JSON, place: str) -> Iterator[dict[str, Any]]:
    """Content blocks; ``cache_control`` marks stay on their parts."""
    for kind, part in parts_of(message, place):
        block = _block(kind, part, place)
        put(block, cache_control=part.get("cache_control"))
        yield block


def _block(kind: str, part: JSON, place: str) -> dict[str, Any]:
    if kind in ("text", "refusal"):
        return {"type": "text", "text": part_text(part, place)}
    if kind == "image_url":
        url = image_url(part, place)
        data = data_url(url, place)
        if data is None:
            return {"type": "image", "source": {"type": "url", "url": url}}
        return {"type": "image", "source": {"type": "base64", "media_type": data[0], "data": data[1]}}
    if kind == "file":
        return _document(part, place)
    raise unsupported(_PROVIDER, f"a part of type {kind[:40]!r} in {place}")


def _document(part: JSON, place: str) -> dict[str, Any]:
    file = part.get("file")
    inline = file.get("file_data") if isinstance(file, dict) else None
    data = data_url(inline, place) if isinstance(inline, str) else None
    if data is None:
        raise unsupported(_PROVIDER, f"a file that is not inline (file_data) in {place}")
    block: dict[str, Any] = {"type": "document", "source": {"type": "base64", "media_type": data[0], "data": data[1]}}
    put(block, title=part["file"].get("filename"))
    return block


def _calls(message: JSON, place: str) -> Iterator[dict[str, Any]]:
    for call_id, name, arguments, _ in calls_of(message, place):
        yield {"type": "tool_use", "id": call_id, "name": name, "input": arguments_object(arguments, place)}


def _result(message: JSON, place: str) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": str(message.get("tool_call_id") or "")}
    content = list(_blocks(message, place))
    return block | ({"content": content} if content else {})


def _tool(function: JSON) -> dict[str, Any]:
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    tool = {"name": function["name"], "input_schema": schema}
    put(tool, description=function.get("description"), strict=function.get("strict"))
    return tool


def _tool_choice(request: ChatRequest) -> dict[str, Any] | None:
    choice = choice_of(request)
    found: dict[str, Any] | None = None
    if choice is not None:
        kind, name = choice
        found = {"type": {"required": "any", "function": "tool"}.get(kind, kind)}
        put(found, name=name)
    if request.parallel_tool_calls is False and request.tools and (found or {}).get("type") != "none":
        found = (found or {"type": "auto"}) | {"disable_parallel_tool_use": True}
    return found


def _output_config(request: ChatRequest) -> dict[str, Any] | None:
    config: dict[str, Any] = {}
    effort = request.reasoning_effort
    if effort and effort != "none":
        config["effort"] = {"minimal": "low"}.get(effort, effort)
    schema = schema_of(request)
    if schema is not None:
        if schema[0] == "json_object":
            raise unsupported(_PROVIDER, "response_format json_object (it takes json_schema)")
        config["format"] = {"type": "json_schema", "schema": schema[1].get("schema") or {"type": "object"}}
    return config or None
