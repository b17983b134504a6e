"""OpenAI's error codes and those of the servers that speak its formats.

References: OpenAI "Error codes" (``error.code`` decides, ``error.type`` is too coarse: four billing codes share
the type ``insufficient_quota``), DeepSeek "Error Codes" (402 is an empty balance), OpenRouter "Errors", llama.cpp's
server README. ``invalid_request_error`` is not listed: 401 and 404 carry it too, so their status decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router_runtime.provider_errors import (
    AuthFailed,
    ContentFiltered,
    ContextOverflow,
    ModelNotFound,
    Overloaded,
    ProviderError,
    ServerError,
)
from router_runtime.providers.classify import Make, Report, by_words, limited, made

_CREDIT = (
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "insufficient_balance",
    "payment_required",
    "weight_exceeds_budget",
)


def _failed(report: Report) -> ProviderError:
    """``server_error`` also comes with a 503."""
    return made(Overloaded if report.status in (503, 529) else ServerError)(report)


OPENAI_CODES: Mapping[str, Make] = {
    **dict.fromkeys(_CREDIT, limited("credit")),
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "rate_limited", "tokens", "requests"), by_words),
    **dict.fromkeys(("slow_down", "in_flight_budget_exhausted"), limited("request")),
    **dict.fromkeys(
        ("context_length_exceeded", "exceed_context_size_error", "string_above_max_length"), made(ContextOverflow)
    ),
    **dict.fromkeys(
        {"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation", "invalid_prompt"}
        | {"bio_policy", "misalignment_policy_violation", "image_content_policy_violation"},
        made(ContentFiltered),
    ),
    **dict.fromkeys(("invalid_api_key", "invalid_authentication", "authentication_error"), made(AuthFailed)),
    "model_not_found": made(ModelNotFound),
    **dict.fromkeys(("server_error", "internal_error", "internal_server_error"), _failed),
    **dict.fromkeys(("overloaded", "overloaded_error", "server_overloaded", "engine_overloaded"), made(Overloaded)),
}


def inner_status(status: int, error: Mapping[str, Any]) -> int:
    """The status that an error object carries (OpenRouter, vLLM: ``code: 502``) where HTTP said 200."""
    code = error.get("code")
    if 200 <= status < 300 and isinstance(code, int) and 400 <= code < 600:
        return code
    return status
