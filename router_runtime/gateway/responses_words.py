"""The objects of OpenAI's Responses: the response itself, its items, its counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from router_runtime.chat import Usage

#: What a response repeats of its request, with what stands there where the request says nothing.
_ECHOED: dict[str, Any] = {
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "max_output_tokens": None,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "text": {"format": {"type": "text"}},
    "truncation": "disabled",
    "user": None,
}


def skeleton(asked: Mapping[str, Any], decision: str, model: str, created: int) -> dict[str, Any]:
    """A response without output: ``in_progress``."""
    body = {"id": f"resp_{decision}", "object": "response", "created_at": created, "status": "in_progress"}
    body |= {"error": None, "incomplete_details": None, "model": model, "output": [], "usage": None, "store": False}
    for name, usual in _ECHOED.items():
        given = asked.get(name)
        body[name] = usual if given is None else given
    return body


def ending(finish_reason: str | None) -> dict[str, Any]:
    """Status and details of a response that has ended."""
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    if finish_reason in reasons:
        return {"status": "incomplete", "incomplete_details": {"reason": reasons[finish_reason]}}
    return {"status": "completed"}


def usage_of(usage: Usage) -> dict[str, Any]:
    """``usage`` in this format's words."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def text_part(words: str, annotations: Sequence[Any] = ()) -> dict[str, Any]:
    """A part of a message."""
    return {"type": "output_text", "text": words, "annotations": list(annotations), "logprobs": []}


def message_item(
    item_id: str, words: str | None, refusal: str | None = None, annotations: Sequence[Any] = ()
) -> dict[str, Any]:
    """What the assistant said, or why it did not."""
    parts: list[dict[str, Any]] = [] if words is None else [text_part(words, annotations)]
    if refusal is not None:
        parts.append({"type": "refusal", "refusal": refusal})
    return {"type": "message", "id": item_id, "status": "completed", "role": "assistant", "content": parts}


def call_item(item_id: str, call_id: str, name: str, arguments: str, status: str = "completed") -> dict[str, Any]:
    """A call of a function."""
    item = {"type": "function_call", "id": item_id, "call_id": call_id, "name": name}
    return item | {"arguments": arguments, "status": status}


def reasoning_item(item_id: str, words: str) -> dict[str, Any]:
    """Visible reasoning."""
    return {"type": "reasoning", "id": item_id, "summary": [{"type": "summary_text", "text": words}]}
