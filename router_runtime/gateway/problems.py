"""Errors as HTTP: one status, word and sentence for each, then in OpenAI's or in Anthropic's shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from router_runtime.errors import (
    AllAttemptsFailed,
    BudgetExceeded,
    ConfigError,
    GatewayRefusal,
    MemoryRefused,
    NoCandidateError,
    PointsmanError,
    RequestError,
    StoreError,
    StreamInterrupted,
    UnknownModelError,
)
from router_runtime.health import UNHEALTHY
from router_runtime.provider_errors import (
    BadRequest,
    CallTimeout,
    ContentFiltered,
    ContextOverflow,
    Overloaded,
    ProviderError,
    RateLimited,
    Refused,
    UnsupportedByProvider,
)


class Problem(NamedTuple):
    """What went wrong, for a client.

    Args:
        status: HTTP status.
        code: A word for programs.
        message: One line.
        retry_after: Seconds, or None.
        param: The field that is meant.
    """

    status: int
    code: str
    message: str
    retry_after: float | None = None
    param: str | None = None


def problem_of(error: PointsmanError, now: float) -> Problem:
    """The problem of ``error``; ``now`` is UTC seconds since the epoch."""
    for kind, make in _MAKERS:
        if isinstance(error, kind):
            return make(error, now)
    return Problem(500, "internal_error", "the gateway failed")


def _refusal(error: Any, _now: float) -> Problem:
    return Problem(error.status, error.code, str(error), error.retry_after, error.param)


def _budget(error: Any, now: float) -> Problem:
    return Problem(429, "budget_exceeded", str(error), max(1.0, error.resets_at - now))


def _no_candidate(error: Any, _now: float) -> Problem:
    reasons = list(error.filtered.values())
    if any(reason == UNHEALTHY or reason.startswith("disabled") for reason in reasons):
        return Problem(503, "no_model_available", str(error), 5.0)
    named = [reason for reason in reasons if reason != "not among the models asked for"]
    if named and all(reason.startswith("not in the tier") for reason in named):
        return Problem(403, "model_not_allowed", str(error), None, "model")
    return Problem(400, "no_model_fits", str(error))


_THE_REQUESTS_FAULT = (BadRequest, UnsupportedByProvider, ContentFiltered, Refused)


def _exhausted(error: Any, now: float) -> Problem:
    """The status that tells a client whether another try may help."""
    errors = [failure.error for failure in error.failures]
    ours = [one for one in errors if isinstance(one, _THE_REQUESTS_FAULT)]
    if errors and len(ours) == len(errors):
        return Problem(400, _word(ours), str(error))
    others = [one for one in errors if not isinstance(one, _THE_REQUESTS_FAULT)]
    if all(isinstance(one, RateLimited | BudgetExceeded) for one in others) and others:
        return Problem(429, "rate_limit_exceeded", str(error), _soonest(others, now))
    if any(isinstance(one, CallTimeout) for one in others):
        return Problem(504, "timeout", str(error))
    if any(isinstance(one, Overloaded | RateLimited) for one in others):
        return Problem(503, "overloaded", str(error), _soonest(others, now))
    return Problem(502, "all_providers_failed", str(error))


def _word(errors: list[Any]) -> str:
    if any(isinstance(one, ContextOverflow) for one in errors):
        return "context_length_exceeded"
    return "content_filter" if any(isinstance(one, ContentFiltered | Refused) for one in errors) else "invalid_request"


def _soonest(errors: list[Any], now: float) -> float:
    waits = [
        one.resets_at - now if isinstance(one, BudgetExceeded) else getattr(one, "retry_after", None) for one in errors
    ]
    known = [wait for wait in waits if wait is not None and wait >= 0]
    return min(known) if known else 1.0


def _plain(status: int, code: str) -> Callable[[Any, float], Problem]:
    return lambda error, _now: Problem(status, code, str(error))


_MAKERS: tuple[tuple[type[PointsmanError], Callable[[Any, float], Problem]], ...] = (
    (GatewayRefusal, _refusal),
    (UnknownModelError, lambda error, _now: Problem(404, "model_not_found", str(error), None, "model")),
    (ConfigError, _plain(400, "invalid_request")),
    (RequestError, _plain(400, "invalid_request")),
    (MemoryRefused, _plain(403, "memory_refused")),
    (NoCandidateError, _no_candidate),
    (BudgetExceeded, _budget),
    (AllAttemptsFailed, _exhausted),
    (ProviderError, _plain(502, "provider_failed")),
    (StreamInterrupted, _plain(502, "stream_interrupted")),
    (StoreError, lambda error, _now: Problem(503, "store_unavailable", str(error), 5.0)),
)

_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def openai_error(problem: Problem) -> dict[str, Any]:
    """OpenAI's ``{"error": {...}}``."""
    usual = "invalid_request_error" if problem.status < 500 else "server_error"
    kind = "insufficient_quota" if problem.code == "budget_exceeded" else _OPENAI_TYPES.get(problem.status, usual)
    return {"error": {"message": problem.message, "type": kind, "param": problem.param, "code": problem.code}}


def anthropic_error(problem: Problem) -> dict[str, Any]:
    """Anthropic's ``{"type": "error", "error": {...}}``."""
    usual = "invalid_request_error" if problem.status < 500 else "api_error"
    kind = _ANTHROPIC_TYPES.get(problem.status, usual)
    return {"type": "error", "error": {"type": kind, "message": problem.message}}


def error_body(problem: Problem, path: str) -> dict[str, Any]:
    """In the shape that clients of ``path`` expect."""
    return anthropic_error(problem) if path.startswith("/v1/messages") else openai_error(problem)


def error_headers(problem: Problem) -> list[tuple[bytes, bytes]]:
    """``Retry-After`` where the problem says when to come again, in whole seconds."""
    if problem.retry_after is None:
        return []
    return [(b"retry-after", str(max(1, math.ceil(problem.retry_after))).encode())]
