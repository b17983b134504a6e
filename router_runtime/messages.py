"""Callers' messages → one frozen :class:`Request`, the only thing that features and filters read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router_runtime.errors import RequestError

Messages = str | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Request:
    """What a decision may look at.

    Args:
        text: All text of the conversation in order, turns joined by newlines.
        system_chars: Characters of the system (or developer) prompt.
        turns: Number of messages.
        assistant_turns: Those of the assistant.
        tool_results: Those of role ``tool``, or blocks of type ``tool_result``.
        tools: Number of tools offered.
        tool_calls: The assistant's turns with calls of tools, or blocks of type ``tool_use``.
        argument_chars: Characters of those calls' arguments, which models read but which are no part of ``text``.
        images, audio, files: Number of such parts.
        json_output: Whether structured output was asked for.
        intent: The declared intent, or None.
    """

    text: str
    system_chars: int = 0
    turns: int = 1
    assistant_turns: int = 0
    tool_results: int = 0
    tools: int = 0
    images: int = 0
    audio: int = 0
    files: int = 0
    json_output: bool = False
    intent: str | None = None
    tool_calls: int = 0
    argument_chars: int = 0


_MAX_DEPTH = 8
_PART_FIELDS = {
    "image": "images",
    "image_url": "images",
    "input_image": "images",
    "input_audio": "audio",
    "audio": "audio",
    "file": "files",
    "input_file": "files",
    "document": "files",
    "tool_result": "tool_results",
    "tool_use": "tool_calls",
}


def read_request(
    messages: Messages,
    *,
    tools: Sequence[Any] | None = None,
    response_format: Any = None,
    intent: str | None = None,
) -> Request:
    """Reads messages in OpenAI's or Anthropic's shape, or a bare prompt.

    Args:
        messages: A prompt, or a list of ``{"role": …, "content": str | [parts]}``.
        tools: Tools offered to the model.
        response_format: Anything but None and ``{"type": "text"}`` counts as structured output.
        intent: Declared intent.

    Raises:
        RequestError: Where messages or tools are no list, a message is not a mapping, or its content is neither text
            nor a list of parts.
    """
    json_output = response_format is not None and not (
        isinstance(response_format, Mapping) and response_format.get("type") == "text"
    )
    n_tools = len(_listed(tools, "tools")) if tools else 0
    if isinstance(messages, str):
        return Request(text=messages, tools=n_tools, json_output=json_output, intent=intent)
    counts = dict.fromkeys(("images", "audio", "files", "tool_results", "tool_calls", "argument_chars"), 0)
    texts: list[str] = []
    system_chars = assistant_turns = 0
    for index, message in enumerate(_listed(messages, "messages")):
        if not isinstance(message, Mapping):
            raise RequestError(f"messages[{index}] is {type(message).__name__}, expected a mapping of role and content")
        text = _content_text(message.get("content"), index, counts)
        role = message.get("role")
        if role in ("system", "developer"):
            system_chars += len(text)
        elif role == "assistant":
            assistant_turns += 1
            if calls := message.get("tool_calls"):
                counts["tool_calls"] += 1
                counts["argument_chars"] += _argument_chars(calls)
        elif role == "tool":
            counts["tool_results"] += 1
        texts.append(text)
    return Request(
        text="\n".join(texts),
        system_chars=system_chars,
        turns=len(texts),
        assistant_turns=assistant_turns,
        tools=n_tools,
        json_output=json_output,
        intent=intent,
        **counts,
    )


def _listed(value: Any, name: str) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise RequestError(f"{name} is {type(value).__name__}, expected a list")
    return value


def _content_text(content: Any, index: int, counts: dict[str, int]) -> str:
    """Text of one message; counts its other parts into ``counts``."""
    if content is None:  # an assistant turn that only calls tools
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(_texts(content, index, counts, 0))


def _texts(content: Any, index: int, counts: dict[str, int], depth: int) -> Iterator[str]:
    """The texts of a list of parts, those inside tool results and documents too."""
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise RequestError(f"messages[{index}].content is {type(content).__name__}, expected text or a list of parts")
    if depth > _MAX_DEPTH:
        raise RequestError(f"messages[{index}].content holds parts inside parts, deeper than {_MAX_DEPTH}")
    for part in content:
        if not isinstance(part, str | Mapping):
            raise RequestError(f"messages[{index}].content holds {type(part).__name__}, expected parts with a type")
        inner = part if isinstance(part, str) else _inner(part, counts)
        if isinstance(inner, str):
            yield inner
        elif inner is not None:
            yield from _texts(inner, index, counts, depth + 1)


def _inner(part: Mapping[str, Any], counts: dict[str, int]) -> Any:
    """The text of a part, or the parts inside it; None where it holds nothing to read. Counts what it is."""
    kind, source, text = str(part.get("type")), part.get("source"), part.get("text")
    field = _PART_FIELDS.get(kind)
    if field is not None:
        counts[field] += 1
    if kind == "tool_use":
        counts["argument_chars"] += len(str(part.get("input", "")))
    if kind == "tool_result":
        return part.get("content")
    if kind == "document" and isinstance(source, Mapping):
        return {"text": source.get("data"), "content": source.get("content")}.get(str(source.get("type")))
    return text if isinstance(text, str) else None


def _argument_chars(calls: Any) -> int:
    """Characters of the arguments in OpenAI's list of calls; what is not of its shape has none."""
    found = 0
    for call in calls if isinstance(calls, Sequence) else ():
        inner = call.get("function") if isinstance(call, Mapping) else None
        given = inner.get("arguments") if isinstance(inner, Mapping) else None
        found += len(given) if isinstance(given, str) else 0
    return found
