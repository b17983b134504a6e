"""Google Gemini ``generateContent`` and ``streamGenerateContent?alt=sse``.

Reference: https://ai.google.dev/api/generate-content. Gemini matches tool results to calls by name, so results look up
the name of the call that they answer; thought signatures travel in a tool call's
``extra_content.google.thought_signature`` (the words of Google's OpenAI-compatible endpoint).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from router_runtime.chat import JSON, ChatRequest, ChatResponse
from router_runtime.errors import RequestError
from router_runtime.provider_errors import ProviderError
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
    merged,
    part_text,
    parts_of,
    plain_text,
    post,
    put,
    role_of,
    schema_of,
    unsupported,
)
from router_runtime.providers.decoding import EventStream
from router_runtime.providers.gemini_errors import classify
from router_runtime.providers.gemini_read import GeminiStream, read_answer

_PROVIDER = "Gemini"
_CARRIED = frozenset({"frequency_penalty", "presence_penalty"})
_VERSIONS = ("/v1", "/v1beta", "/v1alpha")


@dataclass(frozen=True, slots=True)
class Gemini:
    """The adapter."""

    name: str = "gemini"

    def build(self, request: ChatRequest, target: Target, *, stream: bool) -> HttpCall:
        """The call; see :class:`~router_runtime.providers.base.Adapter`."""
        request = fitted(request, target)
        system, contents = _turns(request)
        body: dict[str, Any] = {"contents": contents}
        declared = [_declaration(function) for function in functions(request, _PROVIDER)]
        put(
            body,
            systemInstruction={"parts": system} if system else None,
            tools=[{"functionDeclarations": declared}] if declared else None,
            toolConfig=_tool_config(request),
            generationConfig=_generation_config(request) or None,
        )
        extra = foreign_extra(request, _PROVIDER, taken=_CARRIED)
        auth = {"x-goog-api-key": target.api_key} if target.api_key else {}
        return post(target, _path(target, stream), merged(body, extra), auth, stream=stream)

    def parse(self, status: int, headers: Headers, body: bytes) -> ChatResponse:
        """The whole answer; see :class:`~router_runtime.providers.base.Adapter`."""
        raw = answer_object(self, status, headers, body)
        return read_answer(raw)

    def classify(self, status: int, headers: Headers, body: bytes) -> ProviderError:
        """The typed error; see :class:`~router_runtime.providers.base.Adapter`."""
        return classify(status, headers, body)

    def decoder(self) -> EventStream:
        """A decoder for one stream."""
        return GeminiStream()


def _path(target: Target, stream: bool) -> str:
    version = "" if target.base_url.rstrip("/").endswith(_VERSIONS) else "/v1beta"
    model = target.model if target.model.startswith(("models/", "tunedModels/")) else f"models/{target.model}"
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"{version}/{quote(model, safe='/')}:{method}"


def _turns(request: ChatRequest) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(parts of the leading system messages, contents); neighbouring messages of one role become one content.

    Raises:
        UnsupportedByProvider: A system message after the conversation began: there is no place for it here.
    """
    system: list[dict[str, Any]] = []
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}  # of calls, by id
    for index, message in enumerate(request.messages):
        place = f"messages[{index}]"
        role = role_of(message, place)
        if role == "system":
            if contents:
                raise unsupported(_PROVIDER, f"a system message in the middle of the conversation ({place})")
            system += [{"text": text} for text in (plain_text(message, place, _PROVIDER),) if text]
            continue
        if role == "assistant":
            names |= {call_id: name for call_id, name, _, _ in calls_of(message, place)}
            add_turn(contents, "model", "parts", [*_parts(message, place), *_calls(message, place)])
        else:
            parts = [_result(message, place, names)] if role == "tool" else list(_parts(message, place))
            add_turn(contents, "user", "parts", parts)
    return system, contents


def _parts(message: JSON, place: str) -> Iterator[dict[str, Any]]:
    for kind, part in parts_of(message, place):
        if kind in ("text", "refusal"):
            yield {"text": part_text(part, place)}
        elif kind == "image_url":
            yield _media(image_url(part, place), place)
        elif kind == "input_audio" and isinstance(part.get("input_audio"), Mapping):
            audio = part["input_audio"]
            yield {"inlineData": {"mimeType": f"audio/{audio.get('format', 'wav')}", "data": audio.get("data")}}
        elif kind == "file" and isinstance(part.get("file"), Mapping) and part["file"].get("file_data"):
            yield _media(str(part["file"]["file_data"]), place)
        else:
            raise unsupported(_PROVIDER, f"a part of type {kind[:40]!r} in {place}")


def _media(url: str, place: str) -> dict[str, Any]:
    """Inline data, or a file by its URI (the provider fetches it, and finds its type itself)."""
    data = data_url(url, place)
    if data is not None:
        return {"inlineData": {"mimeType": data[0], "data": data[1]}}
    return {"fileData": {"fileUri": url}}


def _calls(message: JSON, place: str) -> Iterator[dict[str, Any]]:
    for call_id, name, arguments, call in calls_of(message, place):
        found: dict[str, Any] = {"name": name, "args": arguments_object(arguments, place)}
        put(found, id=call_id or None)
        part: dict[str, Any] = {"functionCall": found}
        put(part, thoughtSignature=_signature(call))
        yield part


def _signature(call: JSON) -> Any:
    content = call.get("extra_content")
    google = content.get("google") if isinstance(content, Mapping) else None
    return google.get("thought_signature") if isinstance(google, Mapping) else None


def _result(message: JSON, place: str, names: Mapping[str, str]) -> dict[str, Any]:
    call_id = str(message.get("tool_call_id") or "")
    name = names.get(call_id) or message.get("name")
    if not isinstance(name, str):
        raise RequestError(f"{place} answers the tool call {call_id[:40]!r}, which no message before it makes")
    text = plain_text(message, place, _PROVIDER)
    response: dict[str, Any] = {"name": name, "response": _result_object(text)}
    put(response, id=call_id or None)
    return {"functionResponse": response}


def _result_object(text: str) -> dict[str, Any]:
    """Results are objects here: one that is an object goes as it is, anything else under ``result``."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"result": text}


def _declaration(function: JSON) -> dict[str, Any]:
    found = {"name": function["name"]}
    put(found, description=function.get("description"), parametersJsonSchema=function.get("parameters"))
    return found


def _tool_config(request: ChatRequest) -> dict[str, Any] | None:
    if request.parallel_tool_calls is False and request.tools:
        raise unsupported(_PROVIDER, "parallel_tool_calls=false")
    choice = choice_of(request)
    if choice is None:
        return None
    kind, name = choice
    config: dict[str, Any] = {"mode": {"auto": "AUTO", "none": "NONE"}.get(kind, "ANY")}
    put(config, allowedFunctionNames=[name] if name else None)
    return {"functionCallingConfig": config}


def _generation_config(request: ChatRequest) -> dict[str, Any]:
    config: dict[str, Any] = {}
    put(
        config,
        temperature=request.temperature,
        topP=request.top_p,
        maxOutputTokens=request.max_tokens,
        stopSequences=list(request.stop) or None,
        seed=request.seed,
        frequencyPenalty=request.extra.get("frequency_penalty"),
        presencePenalty=request.extra.get("presence_penalty"),
    )
    effort = request.reasoning_effort
    if effort == "none":
        config["thinkingConfig"] = {"thinkingBudget": 0}
    elif effort:
        config["thinkingConfig"] = {"thinkingLevel": effort.upper()}
    schema = schema_of(request)
    if schema is not None:
        config["responseMimeType"] = "application/json"
        put(config, responseJsonSchema=schema[1].get("schema"))
    return config
