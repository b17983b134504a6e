"""OpenAI's Responses request → a Chat Completions body: the inverse of the provider's adapter.

Reference: https://platform.openai.com/docs/api-reference/responses. The gateway keeps no conversations: each request
brings its whole input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router_runtime.gateway.reading import items, maybe_items, maybe_obj, obj, refuse, text

#: What needs state or tools that the gateway has not.
_REFUSED = {
    "previous_response_id": "left out: the gateway keeps no conversations; send the whole input",
    "conversation": "left out: the gateway keeps no conversations; send the whole input",
    "prompt": "left out: the gateway keeps no prompt templates",
    "background": "false: the gateway runs nothing in the background",
    "max_tool_calls": "left out: the gateway runs no tools",
}
_DIRECT = {
    "temperature": "temperature",
    "top_p": "top_p",
    "parallel_tool_calls": "parallel_tool_calls",
    "max_output_tokens": "max_tokens",
    "user": "user",
    "metadata": "metadata",
    "pointsman": "pointsman",
}
_READ = frozenset({"model", "input", "instructions", "tools", "tool_choice", "text", "reasoning", "stream", "include"})
_READ |= frozenset({"store", "truncation", "service_tier", "stream_options", "prompt_cache_key", "safety_identifier"})
_READ |= frozenset({"prompt_cache_retention"}) | frozenset(_DIRECT) | _REFUSED.keys()


def chat_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the same request in Chat Completions' shape.

    Raises:
        GatewayRefusal: 400: a field has the wrong shape, or asks for what the gateway has not.
    """
    for name, expected in _REFUSED.items():
        if body.get(name):
            raise refuse(name, expected)
    chat: dict[str, Any] = {name: value for name, value in body.items() if name not in _READ}
    chat |= {"model": body.get("model"), "messages": _messages(body)}
    chat |= {ours: body[theirs] for theirs, ours in _DIRECT.items() if body.get(theirs) is not None}
    tools = maybe_items(body.get("tools"), "tools")
    if tools:
        chat["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    if body.get("tool_choice") is not None:
        chat["tool_choice"] = _choice(body["tool_choice"])
    effort = maybe_obj(body.get("reasoning"), "reasoning").get("effort")
    if effort is not None:
        chat["reasoning_effort"] = text(effort, "reasoning.effort")
    return chat | _text_options(maybe_obj(body.get("text"), "text"))


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if body.get("instructions") is not None:
        found.append({"role": "system", "content": text(body["instructions"], "instructions")})
    given = body.get("input")
    if isinstance(given, str):
        return [*found, {"role": "user", "content": given}]
    rows = items(given, "input")
    if not rows:
        raise refuse("input", "a text or a list of at least one item")
    for index, item in enumerate(rows):
        _add(found, item, f"input[{index}]")
    return found


def _add(found: list[dict[str, Any]], item: Mapping[str, Any], place: str) -> None:
    """Adds one item; reasoning, words and calls of one turn share the assistant's message."""
    kind = item.get("type", "message")
    if kind == "message":
        role = item.get("role")
        if role not in ("user", "system", "developer", "assistant"):
            raise refuse(f"{place}.role", "user, system, developer or assistant")
        content = _content(item.get("content"), f"{place}.content")
        if role == "assistant":
            _turn(found, "content")["content"] = content
        else:
            found.append({"role": role, "content": content})
    elif kind == "function_call":
        function = {
            "name": text(item.get("name"), f"{place}.name"),
            "arguments": text(item.get("arguments"), f"{place}.arguments"),
        }
        call = {"id": text(item.get("call_id"), f"{place}.call_id"), "type": "function", "function": function}
        _turn(found).setdefault("tool_calls", []).append(call)
    elif kind == "function_call_output":
        output = item.get("output")
        content = output if isinstance(output, str) else _content(output, f"{place}.output")
        call_id = text(item.get("call_id"), f"{place}.call_id")
        found.append({"role": "tool", "tool_call_id": call_id, "content": content})
    elif kind == "reasoning":
        if item.get("encrypted_content"):  # only this the model can read again
            _turn(found, "content").setdefault("reasoning_items", []).append(dict(item))
    else:
        raise refuse(f"{place}.type", "message, function_call, function_call_output or reasoning")


def _turn(found: list[dict[str, Any]], fresh: str = "") -> dict[str, Any]:
    """The assistant's message that is being put together; a new one where the last has ``fresh`` already."""
    if not found or found[-1]["role"] != "assistant" or found[-1].get(fresh) is not None:
        found.append({"role": "assistant", "content": None})
    return found[-1]


def _content(content: Any, place: str) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    return [_part(part, f"{place}[{index}]") for index, part in enumerate(items(content, place))]


def _part(part: Mapping[str, Any], place: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": text(part.get("text"), f"{place}.text")}
    if kind == "refusal":
        return {"type": "refusal", "refusal": text(part.get("refusal"), f"{place}.refusal")}
    if kind == "input_image":
        image = {"url": text(part.get("image_url"), f"{place}.image_url")}
        if part.get("detail") is not None:
            image["detail"] = text(part["detail"], f"{place}.detail")
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        return {"type": "file", "file": {k: part[k] for k in ("file_data", "file_id", "filename") if part.get(k)}}
    raise refuse(f"{place}.type", "input_text, output_text, refusal, input_image or input_file")


def _tool(tool: Mapping[str, Any], place: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise refuse(f"{place}.type", "function: the gateway runs no tools")
    function: dict[str, Any] = {"name": text(tool.get("name"), f"{place}.name")}
    function |= {name: tool[name] for name in ("description", "parameters", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    given = obj(choice, "tool_choice")
    if given.get("type") != "function":
        raise refuse("tool_choice", "auto, none, required or a function")
    return {"type": "function", "function": {"name": text(given.get("name"), "tool_choice.name")}}


def _text_options(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if given.get("verbosity") is not None:
        found["verbosity"] = given["verbosity"]
    form = maybe_obj(given.get("format"), "text.format")
    if form.get("type") == "json_schema":
        definition = {k: form[k] for k in ("name", "schema", "strict", "description") if form.get(k) is not None}
        found["response_format"] = {"type": "json_schema", "json_schema": definition}
    elif form.get("type") == "json_object":
        found["response_format"] = {"type": "json_object"}
    elif form.get("type", "text") != "text":
        raise refuse("text.format.type", "text, json_object or json_schema")
    return found
