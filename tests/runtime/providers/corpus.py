"""Answers in the shapes that the providers' public API references document, written by us: whole and streamed.

A case says what both must come to: text, tool calls, finish reason, usage.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from router_runtime.chat import Usage

WEATHER = {"city": "Zürich", "unit": "celsius"}
TIME = {"zone": "Europe/Zurich"}


@dataclass(frozen=True)
class Case:
    """One answer of one wire format."""

    adapter: str
    name: str
    whole: dict[str, Any]
    stream: bytes
    text: str | None
    usage: Usage
    model: str
    finish_reason: str = "stop"
    calls: tuple[tuple[str, str, dict[str, Any]], ...] = ()
    refusal: str | None = None
    reasoning: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return json.dumps(self.whole).encode()


def data_only(*events: Any, done: bool = True) -> bytes:
    """``data:`` lines alone, as Chat Completions and Gemini send them."""
    texts = [json.dumps(event, ensure_ascii=False) for event in events] + (["[DONE]"] if done else [])
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def named(*events: dict[str, Any], end: str = "\n") -> bytes:
    """``event:`` and ``data:``, as Anthropic and Responses send them."""
    return "".join(
        f"event: {event['type']}{end}data: {json.dumps(event, ensure_ascii=False)}{end}{end}" for event in events
    ).encode()


# -- Chat Completions ----------------------------------------------------------------------------------------------

_CHAT_USAGE = {
    "prompt_tokens": 31,
    "completion_tokens": 17,
    "total_tokens": 48,
    "prompt_tokens_details": {"cached_tokens": 16},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
_USAGE = Usage(31, 17, 16, 0, 5)


def _chat(message: dict[str, Any], reason: str, usage: dict[str, Any], model: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1780000000, "model": model}
    return {**head, "choices": [choice], "usage": usage, "service_tier": "default", "system_fingerprint": "fp_1"}


def _chat_chunk(model: str, delta: dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1780000000, "model": model}
    return {**head, "choices": [choice], **more}


def _chat_usage(model: str, usage: dict[str, Any]) -> dict[str, Any]:
    return {**_chat_chunk(model, {}), "choices": [], "usage": usage}


def _call(call_id: str, name: str, arguments: str, **more: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


_GPT = "gpt-5.5-2026-04-14"
CHAT_TEXT = Case(
    "openai",
    "text",
    _chat({"content": "Grüezi 🏔 dort.", "refusal": None, "annotations": []}, "stop", _CHAT_USAGE, _GPT),
    data_only(
        _chat_chunk(_GPT, {"role": "assistant", "content": "", "refusal": None}),
        *(_chat_chunk(_GPT, {"content": text}) for text in ("Grü", "ezi ", "🏔", " dort.")),
        _chat_chunk(_GPT, {}, "stop"),
        _chat_usage(_GPT, _CHAT_USAGE),
    ),
    "Grüezi 🏔 dort.",
    _USAGE,
    _GPT,
)
_TWO_CALLS = (("call_a", "weather", WEATHER), ("call_b", "time", TIME))
CHAT_TOOLS = Case(
    "openai",
    "tools",
    _chat(
        {
            "content": None,
            "tool_calls": [
                _call("call_a", "weather", json.dumps(WEATHER)),
                _call("call_b", "time", json.dumps(TIME)),
            ],
        },
        "tool_calls",
        _CHAT_USAGE,
        _GPT,
    ),
    data_only(
        _chat_chunk(_GPT, {"role": "assistant", "content": None}),
        _chat_chunk(_GPT, {"tool_calls": [_call("call_a", "weather", "", index=0)]}),
        _chat_chunk(_GPT, {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": "Z\\u00fcr'}}]}),
        _chat_chunk(_GPT, {"tool_calls": [{"index": 0, "function": {"arguments": 'ich", "unit": "celsius"}'}}]}),
        _chat_chunk(_GPT, {"tool_calls": [_call("call_b", "time", '{"zone": ', index=1)]}),
        _chat_chunk(_GPT, {"tool_calls": [{"index": 1, "function": {"arguments": '"Europe/Zurich"}'}}]}),
        _chat_chunk(_GPT, {}, "tool_calls"),
        _chat_usage(_GPT, _CHAT_USAGE),
    ),
    None,
    _USAGE,
    _GPT,
    "tool_calls",
    _TWO_CALLS,
)
CHAT_REFUSAL = Case(
    "openai",
    "refusal",
    _chat({"content": None, "refusal": "I can't help with that."}, "stop", _CHAT_USAGE, _GPT),
    data_only(
        _chat_chunk(_GPT, {"role": "assistant", "content": None, "refusal": ""}),
        _chat_chunk(_GPT, {"refusal": "I can't help"}),
        _chat_chunk(_GPT, {"refusal": " with that."}),
        _chat_chunk(_GPT, {}, "stop"),
        _chat_usage(_GPT, _CHAT_USAGE),
    ),
    None,
    _USAGE,
    _GPT,
    refusal="I can't help with that.",
)
_DEEPSEEK_USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_cache_hit_tokens": 12,
    "prompt_cache_miss_tokens": 8,
    "completion_tokens_details": {"reasoning_tokens": 4},
}
_FLASH = "deepseek-v4-flash"
DEEPSEEK_REASONING = Case(
    "deepseek",
    "reasoning",
    _chat({"content": "391", "reasoning_content": "17 × 23 = 391"}, "stop", _DEEPSEEK_USAGE, _FLASH),
    b": keep-alive\n\n"
    + data_only(
        _chat_chunk(_FLASH, {"role": "assistant", "content": None, "reasoning_content": "17 × 23"}),
        _chat_chunk(_FLASH, {"content": None, "reasoning_content": " = 391"}),
        _chat_chunk(_FLASH, {"content": "391", "reasoning_content": None}),
        _chat_chunk(_FLASH, {"content": ""}, "stop", usage=_DEEPSEEK_USAGE),
    ),
    "391",
    Usage(20, 9, 12, 0, 4, {"prompt_cache_hit_tokens": 12, "prompt_cache_miss_tokens": 8}),
    _FLASH,
    reasoning="17 × 23 = 391",
)
_ROUTED = "anthropic/claude-opus-4.7"
_OPENROUTER_USAGE = {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10, "cost": 0.00027}
OPENROUTER_TEXT = Case(
    "openrouter",
    "text",
    {**_chat({"content": "Hello.", "reasoning": "Greet."}, "stop", _OPENROUTER_USAGE, _ROUTED), "provider": "X"},
    b": OPENROUTER PROCESSING\n\n"
    + data_only(
        _chat_chunk(_ROUTED, {"role": "assistant", "content": "", "reasoning": "Greet."}, provider="X"),
        _chat_chunk(_ROUTED, {"role": "assistant", "content": "Hello."}),
        _chat_chunk(_ROUTED, {"role": "assistant", "content": ""}, "stop"),
        _chat_usage(_ROUTED, _OPENROUTER_USAGE),
    ),
    "Hello.",
    Usage(8, 2, extra={"cost": 0.00027}),
    _ROUTED,
    reasoning="Greet.",
)

# -- Responses -----------------------------------------------------------------------------------------------------

_RESPONSES_USAGE = {
    "input_tokens": 31,
    "input_tokens_details": {"cached_tokens": 16},
    "output_tokens": 17,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 48,
}


def _response(output: list[Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1780000000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": _GPT,
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": _RESPONSES_USAGE,
        **more,
    }


def _item_text(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]}


def _item_call(place: int, call_id: str, name: str, arguments: str) -> dict[str, Any]:
    head = {"type": "function_call", "id": f"fc_{place}", "status": "completed"}
    return {**head, "call_id": call_id, "name": name, "arguments": arguments}


def _events(*events: tuple[str, dict[str, Any]]) -> bytes:
    """Named events with their running number."""
    return named(*({"type": kind, "sequence_number": n, **fields} for n, (kind, fields) in enumerate(events)))


_OPEN = ("response.created", {"response": _response([], "in_progress", usage=None)})
_PLACE = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
_THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Say hello."}],
    "encrypted_content": "gAAA",
}
_SPOKEN = _response([_THOUGHT, _item_text("Grüezi dort.")])
RESPONSES_TEXT = Case(
    "openai-responses",
    "text",
    _SPOKEN,
    _events(
        _OPEN,
        ("response.in_progress", {"response": _response([], "in_progress", usage=None)}),
        ("response.output_item.added", {"output_index": 0, "item": {**_THOUGHT, "summary": []}}),
        (
            "response.reasoning_summary_text.delta",
            {"item_id": "rs_1", "output_index": 0, "summary_index": 0, "delta": "Say hello."},
        ),
        ("response.output_item.done", {"output_index": 0, "item": _THOUGHT}),
        ("response.output_item.added", {"output_index": 1, "item": {**_item_text(""), "content": []}}),
        ("response.content_part.added", {**_PLACE, "part": {"type": "output_text", "text": "", "annotations": []}}),
        ("response.output_text.delta", {**_PLACE, "delta": "Grüezi ", "logprobs": []}),
        ("response.output_text.delta", {**_PLACE, "delta": "dort.", "logprobs": []}),
        ("response.output_text.done", {**_PLACE, "text": "Grüezi dort.", "logprobs": []}),
        ("response.output_item.done", {"output_index": 1, "item": _item_text("Grüezi dort.")}),
        ("response.completed", {"response": _SPOKEN}),
    ),
    "Grüezi dort.",
    _USAGE,
    _GPT,
    reasoning="Say hello.",
    extra={"reasoning_items": [_THOUGHT]},
)
_CALLS_OUT = [
    _item_call(0, "call_a", "weather", json.dumps(WEATHER)),
    _item_call(1, "call_b", "time", json.dumps(TIME)),
]
RESPONSES_TOOLS = Case(
    "openai-responses",
    "tools",
    _response(_CALLS_OUT),
    _events(
        _OPEN,
        ("response.output_item.added", {"output_index": 0, "item": {**_CALLS_OUT[0], "arguments": ""}}),
        ("response.output_item.added", {"output_index": 1, "item": {**_CALLS_OUT[1], "arguments": ""}}),
        (
            "response.function_call_arguments.delta",
            {"item_id": "fc_0", "output_index": 0, "delta": '{"city": "Zürich", '},
        ),
        (
            "response.function_call_arguments.delta",
            {"item_id": "fc_1", "output_index": 1, "delta": json.dumps(TIME)},
        ),
        (
            "response.function_call_arguments.delta",
            {"item_id": "fc_0", "output_index": 0, "delta": '"unit": "celsius"}'},
        ),
        ("response.output_item.done", {"output_index": 0, "item": _CALLS_OUT[0]}),
        ("response.output_item.done", {"output_index": 1, "item": _CALLS_OUT[1]}),
        ("response.completed", {"response": _response(_CALLS_OUT)}),
    ),
    None,
    _USAGE,
    _GPT,
    "tool_calls",
    _TWO_CALLS,
)
_CUT_SHORT = _response([_item_text("One, two")], "incomplete", incomplete_details={"reason": "max_output_tokens"})
RESPONSES_LENGTH = Case(
    "openai-responses",
    "length",
    _CUT_SHORT,
    _events(
        _OPEN,
        ("response.output_text.delta", {**_PLACE, "output_index": 0, "delta": "One, two", "logprobs": []}),
        ("response.incomplete", {"response": _CUT_SHORT}),
    ),
    "One, two",
    _USAGE,
    _GPT,
    "length",
)

# -- Anthropic -----------------------------------------------------------------------------------------------------

_OPUS = "claude-opus-4-7-20260401"
_ANTHROPIC_USAGE = {
    "input_tokens": 11,
    "cache_creation_input_tokens": 4,
    "cache_read_input_tokens": 16,
    "output_tokens": 17,
    "output_tokens_details": {"thinking_tokens": 5},
}
_ANTHROPIC = Usage(31, 17, 16, 4, 5)


def _message(content: list[Any], reason: str | None, usage: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": _OPUS, "content": content}
    return {**head, "stop_reason": reason, "stop_sequence": None, "usage": usage, **more}


def _start() -> dict[str, Any]:
    return {"type": "message_start", "message": _message([], None, {**_ANTHROPIC_USAGE, "output_tokens": 1})}


def _block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _stop(reason: str, **more: Any) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None, **more}
    usage = {"output_tokens": 17, "output_tokens_details": {"thinking_tokens": 5}}
    return [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


_SIGNED = {"type": "thinking", "thinking": "Which city?", "signature": "EqQB"}
ANTHROPIC_TEXT = Case(
    "anthropic",
    "text",
    _message([_SIGNED, {"type": "text", "text": "Grüezi dort.", "citations": None}], "end_turn", _ANTHROPIC_USAGE),
    named(
        _start(),
        {"type": "ping"},
        *_block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Which "},
            {"type": "thinking_delta", "thinking": "city?"},
            {"type": "signature_delta", "signature": "EqQB"},
        ),
        *_block(
            1,
            {"type": "text", "text": ""},
            {"type": "text_delta", "text": "Grüezi "},
            {"type": "text_delta", "text": "dort."},
        ),
        *_stop("end_turn"),
    ),
    "Grüezi dort.",
    _ANTHROPIC,
    _OPUS,
    reasoning="Which city?",
    extra={"thinking_blocks": [_SIGNED]},
)


def _use(call_id: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": given}


ANTHROPIC_TOOLS = Case(
    "anthropic",
    "tools",
    _message(
        [{"type": "text", "text": "Let me look."}, _use("call_a", "weather", WEATHER), _use("call_b", "time", TIME)],
        "tool_use",
        _ANTHROPIC_USAGE,
    ),
    named(
        _start(),
        *_block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Let me look."}),
        *_block(
            1,
            _use("call_a", "weather", {}),
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"city": "Zür'},
            {"type": "input_json_delta", "partial_json": 'ich", "unit": "celsius"}'},
        ),
        *_block(2, _use("call_b", "time", {}), {"type": "input_json_delta", "partial_json": json.dumps(TIME)}),
        *_stop("tool_use"),
        end="\r\n",
    ),
    "Let me look.",
    _ANTHROPIC,
    _OPUS,
    "tool_calls",
    _TWO_CALLS,
)
_REFUSED = {"type": "refusal", "category": "bio", "explanation": "This request may enable harm."}
ANTHROPIC_REFUSAL = Case(
    "anthropic",
    "refusal",
    _message([], "refusal", _ANTHROPIC_USAGE, stop_details=_REFUSED),
    named(_start(), *_stop("refusal", stop_details=_REFUSED)),
    None,
    _ANTHROPIC,
    _OPUS,
    "content_filter",
    refusal="This request may enable harm.",
)

# -- Gemini --------------------------------------------------------------------------------------------------------

_PRO = "gemini-3.1-pro"
_GEMINI_USAGE = {
    "promptTokenCount": 31,
    "candidatesTokenCount": 12,
    "thoughtsTokenCount": 5,
    "cachedContentTokenCount": 16,
    "totalTokenCount": 48,
}


def _gemini(parts: list[Any], reason: str | None = None, usage: dict[str, Any] | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if reason:
        candidate["finishReason"] = reason
    counts = usage or {"promptTokenCount": 31, "totalTokenCount": 31}
    return {"candidates": [candidate], "usageMetadata": counts, "modelVersion": _PRO, "responseId": "r1"}


GEMINI_TEXT = Case(
    "gemini",
    "text",
    _gemini([{"text": "Greet.", "thought": True}, {"text": "Grüezi dort."}], "STOP", _GEMINI_USAGE),
    data_only(
        _gemini([{"text": "Greet.", "thought": True}]),
        _gemini([{"text": "Grüezi "}]),
        _gemini([{"text": "dort."}], "STOP", _GEMINI_USAGE),
        done=False,
    ).replace(b"\n", b"\r\n"),
    "Grüezi dort.",
    _USAGE,
    _PRO,
    reasoning="Greet.",
)
_SIGNED_CALL = {"functionCall": {"id": "call_a", "name": "weather", "args": WEATHER}, "thoughtSignature": "Q2lR"}
_PLAIN_CALL = {"functionCall": {"id": "call_b", "name": "time", "args": TIME}}
GEMINI_TOOLS = Case(
    "gemini",
    "tools",
    _gemini([_SIGNED_CALL, _PLAIN_CALL], "STOP", _GEMINI_USAGE),
    data_only(
        _gemini([_SIGNED_CALL]), _gemini([_PLAIN_CALL]), _gemini([{"text": ""}], "STOP", _GEMINI_USAGE), done=False
    ),
    None,
    _USAGE,
    _PRO,
    "tool_calls",
    _TWO_CALLS,
)
_BLOCKED = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 31}}
GEMINI_BLOCKED = Case(
    "gemini",
    "blocked",
    {**_BLOCKED, "modelVersion": _PRO},
    data_only({**_BLOCKED, "modelVersion": _PRO}, done=False),
    None,
    Usage(31),
    _PRO,
    "content_filter",
)

CASES = [case for case in globals().values() if isinstance(case, Case)]
