"""A provider's error answer → one class of the error tree. What the formats share; each adapter adds its own tables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from router_runtime.provider_errors import (
    AuthFailed,
    BadRequest,
    ContentFiltered,
    ContextOverflow,
    ModelNotFound,
    Overloaded,
    ProviderError,
    RateLimited,
    Redirected,
    Scope,
    ServerError,
    UnsupportedByProvider,
)
from router_runtime.providers.retry_after import retry_after


@dataclass(frozen=True, slots=True)
class Report:
    """An error as a provider told it.

    Args:
        status: HTTP status; 200 for an error inside a good answer.
        codes: The provider's codes and types, the most specific first.
        message: Its prose.
        wait: Seconds that it asks to wait, or None.
    """

    status: int
    codes: tuple[str, ...] = ()
    message: str = ""
    wait: float | None = None


Make = Callable[[Report], ProviderError]

_REASONS: dict[type[ProviderError], str] = {
    AuthFailed: "the provider refused the key; check the environment variable that the registry names for it",
    BadRequest: "the provider does not take this request",
    ContentFiltered: "the provider's filter blocked the prompt",
    ContextOverflow: "the request is too long for the model",
    ModelNotFound: "the provider knows no such model; check the model's upstream id in the registry",
    Overloaded: "the provider is overloaded",
    Redirected: "the provider answered with a redirect, which is never followed; check base_url",
    ServerError: "the provider failed",
    UnsupportedByProvider: "this model no longer takes a parameter of the request; the target's drop leaves it out",
}
_LIMITS: dict[Scope, str] = {
    "request": "the provider's rate limit is reached",
    "daily": "the provider's daily quota is used up",
    "credit": "credit or a spend limit at the provider is exhausted; top up or raise the limit there",
}

#: How servers word an overflow that has no code of its own (OpenAI, vLLM, DeepSeek, Anthropic, Gemini, Ollama, …).
_OVERFLOW = re.compile(
    r"maximum context length|context (?:length|window|size|limit)|prompt is too long|"
    r"input token count.{0,40}exceeds|too many (?:input )?tokens|input is too long",
    re.IGNORECASE,
)
_DAILY = re.compile(r"\bper day\b|\(?\b[RT]PD\b\)?|per-day|daily (?:limit|quota)", re.IGNORECASE)


def made(kind: type[ProviderError]) -> Make:
    """Makes errors of ``kind`` out of reports."""

    def make(report: Report) -> ProviderError:
        code = report.codes[0] if report.codes else None
        return kind(_REASONS[kind], status=report.status, code=code, retry_after=report.wait, detail=report.message)

    return make


def limited(scope: Scope) -> Make:
    """Makes :class:`RateLimited` errors of ``scope``."""

    def make(report: Report) -> ProviderError:
        code = report.codes[0] if report.codes else None
        return RateLimited(
            _LIMITS[scope],
            scope=scope,
            status=report.status,
            code=code,
            retry_after=report.wait,
            detail=report.message,
        )

    return make


def by_words(report: Report) -> ProviderError:
    """A rate limit whose scope only the prose tells."""
    return limited("daily" if _DAILY.search(report.message) else "request")(report)


def rejected(report: Report) -> ProviderError:
    """A 4xx that no code explains: an overflow where the prose says so."""
    return made(ContextOverflow if _OVERFLOW.search(report.message) else BadRequest)(report)


_BY_STATUS: dict[int, Make] = {
    401: made(AuthFailed),
    402: limited("credit"),
    403: made(AuthFailed),
    404: made(ModelNotFound),
    408: made(ServerError),
    409: made(ServerError),
    413: made(ContextOverflow),
    425: made(ServerError),
    429: by_words,
    503: made(Overloaded),
    529: made(Overloaded),
}


def classified(report: Report, table: Mapping[str, Make]) -> ProviderError:
    """By the provider's codes where ``table`` knows one, else by status."""
    for code in report.codes:
        if code in table:
            return table[code](report)
    if report.status in _BY_STATUS:
        return _BY_STATUS[report.status](report)
    if 300 <= report.status < 400:
        return made(Redirected)(report)
    if 400 <= report.status < 500:
        return rejected(report)
    return made(ServerError)(report)  # 5xx, and errors inside a 200 that say no more


def error_object(body: bytes) -> dict[str, Any]:
    """The object under ``error`` of an error body, or an empty one; prose alone becomes its ``message``."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {"message": body[:2000].decode("utf-8", "replace")}
    if isinstance(found, list) and found:  # Gemini without alt=sse wraps everything in a list
        found = found[0]
    if not isinstance(found, dict):
        return {}
    error = found.get("error", found)
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else found


def report_of(status: int, headers: Mapping[str, str], error: Mapping[str, Any], *codes: Any) -> Report:
    """A :class:`Report` of an error object; ``codes`` that are not text are left out."""
    lowered = {name.lower(): value for name, value in headers.items()}
    message = error.get("message")
    return Report(
        status,
        tuple(code for code in codes if isinstance(code, str) and code),
        message if isinstance(message, str) else "",
        retry_after(lowered),
    )
