"""What all adapters share when they build a call: JSON bytes, URLs, headers, extras, and reading OpenAI's parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from router_runtime.chat import JSON, ChatRequest
from router_runtime.errors import RequestError
from router_runtime.provider_errors import UnsupportedByProvider
from router_runtime.providers.base import HttpCall, Target


def post(target: Target, path: str, body: JSON, auth: Mapping[str, str], *, stream: bool) -> HttpCall:
    """A POST of ``body``; the target's own headers win over ours.

    Raises:
        RequestError: ``body`` holds something that JSON does not know.
    """
    try:
        data = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        raise RequestError("the request holds a value that is not JSON (bytes, a date, NaN, a loop?)") from None
    headers = {"content-type": "application/json", "accept": "text/event-stream" if stream else "application/json"}
    headers.update(auth)
    headers.update({name.lower(): value for name, value in target.headers.items()})
    # Lone surrogates, which JSON's \\ud800 lets in, cannot be sent as UTF-8: they become "?".
    return HttpCall("POST", target.base_url.rstrip("/") + path, headers, data.encode("utf-8", "replace"))


def fitted(request: ChatRequest, target: Target) -> ChatRequest:
    """``request`` without what ``target`` drops, and asking for no longer an answer than it gives."""
    most, asked = target.max_output_tokens, request.max_tokens
    if most is not None and asked is not None and asked > most:
        request = replace(request, max_tokens=most)
    if not target.drop:
        return request
    empty: dict[str, Any] = {"tools": (), "stop": ()}
    gone: dict[str, Any] = {name: empty.get(name) for name in _DROPPABLE & target.drop}
    extra = {name: value for name, value in request.extra.items() if name not in target.drop}
    return replace(request, extra=extra, **gone)


def merged(body: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """``body`` with the caller's extras: objects merge, lists add up, anything else is replaced."""
    for name, value in extra.items():
        held = body.get(name)
        if isinstance(held, dict) and isinstance(value, Mapping):
            body[name] = merged(dict(held), value)
        elif isinstance(held, list) and isinstance(value, list):
            body[name] = [*held, *value]
        else:
            body[name] = value
    return body


def put(body: dict[str, Any], **values: Any) -> None:
    """Sets those ``values`` that are not None."""
    body.update({name: value for name, value in values.items() if value is not None})


_DROPPABLE = frozenset(f.name for f in fields(ChatRequest)) - {"messages", "extra"}

#: OpenAI's parameters that change the answer and that only OpenAI's own formats know.
_OPENAI_ONLY = frozenset(
    {"n", "logprobs", "top_logprobs", "logit_bias", "frequency_penalty", "presence_penalty", "prediction", "audio"}
    | {"modalities", "functions", "function_call", "verbosity", "web_search_options", "moderation"}
)
#: OpenAI's parameters that do not change the answer: storage, caching, service level, abuse reports.
_OPENAI_HOUSEKEEPING = frozenset(
    {"store", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier"}
)


def foreign_extra(request: ChatRequest, provider: str, *, taken: frozenset[str] = frozenset()) -> dict[str, Any]:
    """``request.extra`` for a format that is not OpenAI's: its housekeeping is left out.

    Args:
        request: The request.
        provider: For the error.
        taken: Parameters that the format knows, under another name, and that the adapter has carried over itself.

    Raises:
        UnsupportedByProvider: A parameter that changes the answer and that the format cannot carry.
    """
    left = {k: v for k, v in request.extra.items() if k not in taken and k not in _OPENAI_HOUSEKEEPING}
    for name in sorted(_OPENAI_ONLY & left.keys()):
        if left.pop(name) not in _NO_EFFECT.get(name, (None, False, 0, "", [], {})):
            raise unsupported(provider, f"the parameter {name}")
    return left


#: Values beside the usual empty ones at which a parameter changes nothing.
_NO_EFFECT: dict[str, tuple[Any, ...]] = {"n": (None, 1), "modalities": (None, ["text"]), "function_call": (None,)}


def unsupported(provider: str, what: str) -> UnsupportedByProvider:
    """The error of something that a wire format cannot carry."""
    return UnsupportedByProvider(f"{provider} cannot carry {what}; send it to a model of another provider")


def role_of(message: JSON, place: str) -> str:
    """``system`` (as which ``developer`` counts), ``assistant``, ``user`` or ``tool``.

    Raises:
        RequestError: The message has another role.
    """
    role = message.get("role")
    if role in ("system", "developer"):
        return "system"
    if role in ("assistant", "user", "tool"):
        return str(role)
    raise RequestError(f"{place}.role is {str(role)[:40]!r}, expected system, user, assistant or tool")


def add_turn(turns: list[dict[str, Any]], role: str, key: str, blocks: list[dict[str, Any]]) -> None:
    """Puts ``blocks`` at the end of the conversation: neighbouring messages of one role become one turn.

    Args:
        turns: Of the conversation so far.
        role: The format's word.
        key: Under which a turn of the format holds its blocks.
        blocks: Of one message; an empty one begins no turn.
    """
    if turns and turns[-1]["role"] == role:
        turns[-1][key] += blocks
    elif blocks:
        turns.append({"role": role, key: blocks})


def parts_of(message: JSON, place: str) -> Iterator[tuple[str, JSON]]:
    """OpenAI's content as (type, part) pairs; text alone is one ``text`` part, and empty text is none.

    Raises:
        RequestError: The content is neither text nor a list of typed parts.
    """
    content = message.get("content")
    if content is None or content == "":
        if isinstance(message.get("refusal"), str):  # an assistant's turn that declined
            yield "refusal", {"type": "refusal", "refusal": message["refusal"]}
        return
    if isinstance(content, str):
        yield "text", {"type": "text", "text": content}
        return
    if not isinstance(content, list | tuple):
        raise RequestError(f"{place}.content is {type(content).__name__}, expected text or a list of parts")
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if not isinstance(kind, str):
            raise RequestError(f"{place}.content holds a part without a type")
        yield kind, part


def plain_text(message: JSON, place: str, provider: str) -> str:
    """The text of a message that may hold nothing else (system prompts; tool results where images cannot go)."""
    texts = []
    for kind, part in parts_of(message, place):
        if kind not in ("text", "input_text", "output_text", "refusal"):
            raise unsupported(provider, f"a part of type {kind[:40]!r} in {place}")
        texts.append(part_text(part, place))
    return "\n".join(texts)


def part_text(part: JSON, place: str) -> str:
    """The text of a text or refusal part."""
    text = part.get("refusal") if part.get("type") == "refusal" else part.get("text")
    if not isinstance(text, str):
        raise RequestError(f"{place}.content holds a text part without text")
    return text


def image_url(part: JSON, place: str) -> str:
    """The URL of an ``image_url`` part, in OpenAI's two ways to write it."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    if not isinstance(url, str) or not url:
        raise RequestError(f"{place}.content holds an image part without a URL")
    return url


def data_url(url: str, place: str) -> tuple[str, str] | None:
    """(media type, base64 data) of a ``data:`` URL; None for URLs of another scheme.

    Raises:
        RequestError: A data URL that is not base64.
    """
    if not url.startswith("data:"):
        return None
    head, comma, data = url[5:].partition(",")
    media, semicolon, coding = head.rpartition(";")
    if not comma or not semicolon or coding.lower() != "base64":
        raise RequestError(f"{place}.content holds a data URL that is not base64 (data:image/png;base64,…)")
    return media.partition(";")[0] or "text/plain", data


def functions(request: ChatRequest, provider: str) -> Iterator[JSON]:
    """The function objects of the tools.

    Raises:
        UnsupportedByProvider: A tool of another type; a provider's own tools go into ``extra["tools"]``.
        RequestError: A function without a name.
    """
    for index, tool in enumerate(request.tools):
        if tool.get("type", "function") != "function":
            raise unsupported(provider, f"tools[{index}] of type {str(tool.get('type'))[:40]!r}")
        function = tool.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise RequestError(f"tools[{index}] has no function with a name")
        yield function


def calls_of(message: JSON, place: str) -> Iterator[tuple[str, str, str, JSON]]:
    """(id, name, arguments as JSON text, the call) of an assistant's tool calls.

    Raises:
        RequestError: A call without a name or with arguments that are not text.
    """
    for call in kept(message, "tool_calls", place):
        function = call.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        arguments = function.get("arguments", "") if isinstance(function, Mapping) else None
        if not isinstance(name, str) or not isinstance(arguments, str):
            raise RequestError(f"{place}.tool_calls holds a call without a name or without arguments as text")
        yield str(call.get("id") or ""), name, arguments, call


def kept(message: JSON, name: str, place: str) -> list[Any]:
    """A list of objects in an assistant's message: its tool calls, and what it said that goes back as it is.

    Raises:
        RequestError: It is no such list.
    """
    found = message.get(name)
    if found is None:
        return []
    if not isinstance(found, list | tuple) or not all(isinstance(item, Mapping) for item in found):
        raise RequestError(f"{place}.{name} is no list of objects")
    return list(found)


def arguments_object(arguments: str, place: str) -> dict[str, Any]:
    """A call's arguments as the object that formats without text arguments ask for.

    Raises:
        RequestError: They are no JSON object.
    """
    try:
        found = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RequestError(f"{place}.tool_calls holds arguments that are no JSON object")
    return found


def choice_of(request: ChatRequest) -> tuple[str, str | None] | None:
    """``tool_choice`` as ("auto" | "none" | "required" | "function", name); None where it is left open.

    Raises:
        RequestError: It is something else.
    """
    choice = request.tool_choice
    if choice is None:
        return None
    if isinstance(choice, str) and choice in ("auto", "none", "required"):
        return choice, None
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise RequestError("tool_choice is none of auto, none, required and a named function")
    return "function", name


def schema_of(request: ChatRequest) -> tuple[str, JSON] | None:
    """``response_format`` as ("json_object", {}) or ("json_schema", its definition); None for text.

    Raises:
        RequestError: It is something else.
    """
    form = request.response_format
    if form is None or form.get("type") == "text":
        return None
    if form.get("type") == "json_object":
        return "json_object", {}
    definition = form.get("json_schema")
    if form.get("type") != "json_schema" or not isinstance(definition, Mapping):
        raise RequestError("response_format is none of text, json_object and json_schema with a definition")
    return "json_schema", definition
