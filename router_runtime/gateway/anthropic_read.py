"""Anthropic's Messages request → a Chat Completions body: the inverse of the provider's adapter.

Reference: https://platform.claude.com/docs/en/api/messages. Signed thinking, which the model wants back, becomes
``thinking_blocks`` of its message; tool results become messages of role ``tool``, before what the user says with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from router_runtime.gateway.reading import items, maybe_items, maybe_obj, obj, refuse, text

#: Fields that change the answer and that the gateway cannot carry to another provider.
_REFUSED = ("mcp_servers", "container", "context_management")
_DIRECT = {"max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "stop_sequences": "stop"}
_READ = frozenset(
    {"model", "messages", "system", "tools", "tool_choice", "stream", "metadata", "thinking", "pointsman"}
)
_READ |= frozenset({"output_config", "output_format", "service_tier", "cache_control", "betas", "inference_geo"})
_READ |= frozenset(_DIRECT) | frozenset(_REFUSED)
_LOW, _MEDIUM = 4_096, 16_384


def chat_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the same request in Chat Completions' shape.

    Raises:
        GatewayRefusal: 400: a field has the wrong shape, or cannot be carried.
    """
    for name in _REFUSED:
        if body.get(name):
            raise refuse(name, "left out: the gateway does not carry it")
    if not isinstance(body.get("max_tokens"), int) or isinstance(body["max_tokens"], bool) or body["max_tokens"] < 1:
        raise refuse("max_tokens", "a whole number of 1 or more")
    chat: dict[str, Any] = {name: value for name, value in body.items() if name not in _READ}
    chat |= {"model": body.get("model"), "pointsman": body.get("pointsman"), "messages": _messages(body)}
    chat |= {ours: body[theirs] for theirs, ours in _DIRECT.items() if body.get(theirs) is not None}
    chat |= _tools(body)
    chat |= _thought(body)
    user = maybe_obj(body.get("metadata"), "metadata").get("user_id")
    if isinstance(user, str) and user:
        chat["user"] = user[:512]
    return chat


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    system = body.get("system")
    if system is not None and system != "":
        found.append({"role": "system", "content": _content(system, "system")})
    messages = items(body.get("messages"), "messages")
    if not messages:
        raise refuse("messages", "a list of at least one message")
    for index, message in enumerate(messages):
        place, role = f"messages[{index}]", message.get("role")
        if role == "assistant":
            found.append(_assistant(message.get("content"), place))
        elif role in ("user", "system"):
            found += _user(message.get("content"), place, role)
        else:
            raise refuse(f"{place}.role", "user or assistant")
    return found


def _content(content: Any, place: str) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    return [_part(block, f"{place}[{i}]") for i, block in enumerate(items(content, place))]


def _user(content: Any, place: str, role: str) -> Iterator[dict[str, Any]]:
    """Tool results first, then the rest."""
    place += ".content"
    if isinstance(content, str):
        yield {"role": role, "content": content}
        return
    rest = []
    for index, block in enumerate(items(content, place)):
        if block.get("type") == "tool_result":
            yield _result(block, f"{place}[{index}]")
        else:
            rest.append(_part(block, f"{place}[{index}]"))
    if rest:
        yield {"role": role, "content": rest}


def _result(block: Mapping[str, Any], place: str) -> dict[str, Any]:
    content = _content(block.get("content") or "", f"{place}.content")
    message = {"role": "tool", "tool_call_id": text(block.get("tool_use_id"), f"{place}.tool_use_id")}
    if block.get("is_error") and isinstance(content, str):
        content = f"Error: {content}"  # OpenAI's shape has no place for the mark
    return message | {"content": content}


def _assistant(content: Any, place: str) -> dict[str, Any]:
    place += ".content"
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    parts, calls, thoughts = [], [], []
    for index, block in enumerate(items(content, place)):
        kind, where = block.get("type"), f"{place}[{index}]"
        if kind == "tool_use":
            arguments = json.dumps(obj(block.get("input"), f"{where}.input"), ensure_ascii=False)
            function = {"name": text(block.get("name"), f"{where}.name"), "arguments": arguments}
            calls.append({"id": text(block.get("id"), f"{where}.id"), "type": "function", "function": function})
        elif kind in ("thinking", "redacted_thinking"):
            if block.get("signature") or kind == "redacted_thinking":  # unsigned: another provider's, not to go back
                thoughts.append(dict(block))
        else:
            parts.append(_part(block, where))
    message: dict[str, Any] = {"role": "assistant", "content": parts or None}
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        message["thinking_blocks"] = thoughts
    return message


def _part(block: Mapping[str, Any], place: str) -> dict[str, Any]:
    kind = block.get("type")
    if kind == "text":
        part: dict[str, Any] = {"type": "text", "text": text(block.get("text"), f"{place}.text")}
    elif kind == "image":
        part = {"type": "image_url", "image_url": {"url": _url(block, place)}}
    elif kind == "document":
        part = _document(block, place)
    else:
        raise refuse(place, "a block of type text, image, document, tool_use or tool_result")
    if block.get("cache_control") is not None:
        part["cache_control"] = block["cache_control"]
    return part


def _url(block: Mapping[str, Any], place: str) -> str:
    source = obj(block.get("source"), f"{place}.source")
    if source.get("type") == "url":
        return text(source.get("url"), f"{place}.source.url")
    if source.get("type") == "base64":
        media, data = text(source.get("media_type"), f"{place}.source.media_type"), source.get("data")
        return f"data:{media};base64,{text(data, f'{place}.source.data')}"
    raise refuse(f"{place}.source", "of type base64 or url")


def _document(block: Mapping[str, Any], place: str) -> dict[str, Any]:
    source = obj(block.get("source"), f"{place}.source")
    if source.get("type") == "text":
        return {"type": "text", "text": text(source.get("data"), f"{place}.source.data")}
    if source.get("type") != "base64":
        raise refuse(f"{place}.source", "of type base64 or text")
    title = block.get("title")
    file = {"file_data": _url(block, place), "filename": title if isinstance(title, str) else "document.pdf"}
    return {"type": "file", "file": file}


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    tools = maybe_items(body.get("tools"), "tools")
    if tools:
        found["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    choice = body.get("tool_choice")
    if choice is not None:
        choice = obj(choice, "tool_choice")
        found["tool_choice"] = _choice(choice)
        if choice.get("disable_parallel_tool_use"):
            found["parallel_tool_calls"] = False
    return found


def _tool(tool: Mapping[str, Any], place: str) -> dict[str, Any]:
    if tool.get("type", "custom") != "custom":
        raise refuse(place, "a tool of your own (name, description, input_schema)")
    function: dict[str, Any] = {"name": text(tool.get("name"), f"{place}.name")}
    function["parameters"] = obj(tool.get("input_schema", {"type": "object"}), f"{place}.input_schema")
    function |= {name: tool[name] for name in ("description", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _choice(choice: Mapping[str, Any]) -> Any:
    kind = text(choice.get("type"), "tool_choice.type")
    if kind == "tool":
        return {"type": "function", "function": {"name": text(choice.get("name"), "tool_choice.name")}}
    words = {"auto": "auto", "any": "required", "none": "none"}
    if kind not in words:
        raise refuse("tool_choice.type", "auto, any, tool or none")
    return words[kind]


def _thought(body: Mapping[str, Any]) -> dict[str, Any]:
    """Effort of thinking, and structured output."""
    found: dict[str, Any] = {}
    thinking = maybe_obj(body.get("thinking"), "thinking")
    config = maybe_obj(body.get("output_config"), "output_config")
    if thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int):
            raise refuse("thinking.budget_tokens", "a whole number")
        found["reasoning_effort"] = "low" if budget <= _LOW else "medium" if budget <= _MEDIUM else "high"
    elif thinking.get("type") == "disabled":
        found["reasoning_effort"] = "none"
    if config.get("effort") is not None:
        found["reasoning_effort"] = text(config["effort"], "output_config.effort")
    form = config.get("format", body.get("output_format"))
    if form is not None:
        schema = obj(obj(form, "output_config.format").get("schema"), "output_config.format.schema")
        definition = {"name": "answer", "schema": schema, "strict": True}
        found["response_format"] = {"type": "json_schema", "json_schema": definition}
    return found
