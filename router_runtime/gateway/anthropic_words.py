"""Our finish reasons and counts in Anthropic's words."""

from __future__ import annotations

from typing import Any

from router_runtime.chat import JSON, Usage

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_THEIRS = frozenset({*_REASONS.values(), "stop_sequence", "pause_turn", "model_context_window_exceeded"})


def stop_of(finish_reason: str | None, extra: JSON) -> dict[str, Any]:
    """``stop_reason`` and ``stop_sequence``; an Anthropic model's own words stand where there are any."""
    native = extra.get("native_finish_reason")
    reason = native if native in _THEIRS else _REASONS.get(finish_reason or "stop", "end_turn")
    sequence = extra.get("stop_sequence")
    return {"stop_reason": reason, "stop_sequence": sequence if isinstance(sequence, str) else None}


def usage_of(usage: Usage) -> dict[str, Any]:
    """Here ``input_tokens`` leaves out what was read from or written to the cache."""
    fresh = max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens)
    return {
        "input_tokens": fresh,
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
    }
