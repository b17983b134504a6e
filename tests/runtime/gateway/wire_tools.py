"""Tool calls in each wire format, whole and as streams of fragments."""

import json
from typing import Any

from tests.runtime.execution.wires import sse

Calls = list[tuple[str, dict[str, Any]]]


def tools_whole(wire: str, calls: Calls) -> dict[str, Any]:
    return {"openai": _openai, "openai-responses": _responses, "anthropic": _anthropic, "gemini": _gemini}[wire](calls)


def tools_streamed(wire: str, calls: Calls) -> list[bytes]:
    makers = {
        "openai": _openai_parts, "openai-responses": _responses_parts, "anthropic": _anthropic_parts,
        "gemini": lambda made: [sse(_gemini(made))],
    }  # fmt: skip
    return makers[wire](calls)


def _halves(arguments: dict[str, Any]) -> tuple[str, str]:
    text = json.dumps(arguments)
    return text[: len(text) // 2], text[len(text) // 2 :]


def _openai(calls: Calls) -> dict[str, Any]:
    made = [
        {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for i, (name, arguments) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": made}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "up", "choices": [choice], "usage": usage}


def _openai_parts(calls: Calls) -> list[bytes]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return sse({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": [choice]})

    parts = [chunk({"role": "assistant", "content": None})]
    for i, (name, arguments) in enumerate(calls):
        head = {"index": i, "id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": ""}}
        parts.append(chunk({"tool_calls": [head]}))
        parts += [chunk({"tool_calls": [{"index": i, "function": {"arguments": h}}]}) for h in _halves(arguments)]
    return [*parts, chunk({}, "tool_calls"), sse("[DONE]")]


def _responses(calls: Calls) -> dict[str, Any]:
    output = [
        {"type": "function_call", "id": f"fc{i}", "call_id": f"call_{i}", "name": n, "arguments": json.dumps(a)}
        for i, (n, a) in enumerate(calls)
    ]
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    body = {"id": "r1", "object": "response", "created_at": 1, "status": "completed", "model": "up", "error": None}
    return {**body, "output": output, "usage": usage, "incomplete_details": None}


def _responses_parts(calls: Calls) -> list[bytes]:
    def event(kind: str, **data: Any) -> bytes:
        return sse({"type": kind, **data}, kind)

    whole = _responses(calls)
    parts = [event("response.created", response={**whole, "status": "in_progress", "output": [], "usage": None})]
    for i, (item, (_, arguments)) in enumerate(zip(whole["output"], calls, strict=True)):
        parts.append(event("response.output_item.added", output_index=i, item={**item, "arguments": ""}))
        where = {"output_index": i, "item_id": item["id"]}
        halves = _halves(arguments)
        parts += [event("response.function_call_arguments.delta", **where, delta=half) for half in halves]
        parts.append(event("response.output_item.done", output_index=i, item=item))
    return [*parts, event("response.completed", response=whole)]


def _anthropic(calls: Calls) -> dict[str, Any]:
    content = [{"type": "tool_use", "id": f"call_{i}", "name": n, "input": a} for i, (n, a) in enumerate(calls)]
    body = {"id": "a1", "type": "message", "role": "assistant", "model": "up", "content": content}
    return {**body, "stop_reason": "tool_use", "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 5}}


def _anthropic_parts(calls: Calls) -> list[bytes]:
    def event(kind: str, **data: Any) -> bytes:
        return sse({"type": kind, **data}, kind)

    whole = _anthropic(calls)
    parts = [event("message_start", message={**whole, "content": [], "stop_reason": None})]
    for i, (block, (_, arguments)) in enumerate(zip(whole["content"], calls, strict=True)):
        parts.append(event("content_block_start", index=i, content_block={**block, "input": {}}))
        deltas = [{"type": "input_json_delta", "partial_json": half} for half in _halves(arguments)]
        parts += [event("content_block_delta", index=i, delta=delta) for delta in deltas]
        parts.append(event("content_block_stop", index=i))
    delta = {"stop_reason": "tool_use", "stop_sequence": None}
    return [*parts, event("message_delta", delta=delta, usage={"output_tokens": 5}), event("message_stop")]


def _gemini(calls: Calls) -> dict[str, Any]:
    parts = [{"functionCall": {"name": name, "args": arguments}} for name, arguments in calls]
    candidate = {"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "up", "responseId": "g1"}
