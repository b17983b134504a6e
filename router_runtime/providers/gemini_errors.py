"""Google's error answers (google.rpc.Status) → the error tree.

Reference: https://ai.google.dev/gemini-api/docs/troubleshooting and .../rate-limits. A 429 names the quota in
``QuotaFailure.violations[].quotaId``: ``…PerDay…`` holds until midnight Pacific, whatever its ``RetryInfo`` says, and a
limit of 0 means that the tier never had any. ``RetryInfo.retryDelay`` says how long the others last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from router_runtime.provider_errors import (
    AuthFailed,
    BadRequest,
    ModelNotFound,
    Overloaded,
    ProviderError,
    ServerError,
)
from router_runtime.providers.classify import (
    Make,
    by_words,
    classified,
    error_object,
    limited,
    made,
    rejected,
    report_of,
)
from router_runtime.providers.retry_after import duration, until_utc_hour

#: Midnight Pacific is 07:00 or 08:00 UTC: the later one is never too early.
_RESET_HOUR_UTC = 8

_CODES: dict[str, Make] = {
    "API_KEY_INVALID": made(AuthFailed),
    "API_KEY_SERVICE_BLOCKED": made(AuthFailed),
    "UNAUTHENTICATED": made(AuthFailed),
    "PERMISSION_DENIED": made(AuthFailed),
    "NOT_FOUND": made(ModelNotFound),
    "INVALID_ARGUMENT": rejected,
    "FAILED_PRECONDITION": made(BadRequest),
    "OUT_OF_RANGE": rejected,
    "UNAVAILABLE": made(Overloaded),
    "INTERNAL": made(ServerError),
    "DEADLINE_EXCEEDED": made(ServerError),
    "quota_exceeded": limited("daily"),
    "payment_required": limited("credit"),
    "rate_limit_exceeded": limited("request"),
}


def classify(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The typed error of an error answer, or of an error object inside a stream (``status`` 200)."""
    error = error_object(body)
    details = [item for item in error.get("details") or () if isinstance(item, dict)] if _listed(error) else []
    code = error.get("code")
    if 200 <= status < 300 and isinstance(code, int) and 400 <= code < 600:
        status = code
    reasons = [item.get("reason") for item in details]
    report = report_of(status, headers, error, *reasons, error.get("status"), code)
    if status == 429:
        quotas = [str(v.get("quotaId", "")) + str(v.get("quotaMetric", "")) for v in _violations(details)]
        lowered = {name.lower(): value for name, value in headers.items()}
        if _never(details) or "limit: 0," in report.message:
            return limited("credit")(report)
        if any("PerDay" in quota for quota in quotas):
            return limited("daily")(replace(report, wait=until_utc_hour(lowered, _RESET_HOUR_UTC)))
        asked = _retry_delay(details)
        return by_words(replace(report, wait=asked if asked is not None else report.wait))
    return classified(report, {} if status == 402 else _CODES)


def _listed(error: Mapping[str, Any]) -> bool:
    return isinstance(error.get("details"), list)


def _violations(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        violation
        for item in details
        if isinstance(item.get("violations"), list)
        for violation in item["violations"]
        if isinstance(violation, dict)
    ]


def _never(details: list[dict[str, Any]]) -> bool:
    return any(violation.get("quotaValue") == "0" for violation in _violations(details))


def _retry_delay(details: list[dict[str, Any]]) -> float | None:
    for item in details:
        if isinstance(item.get("retryDelay"), str):
            return duration(item["retryDelay"])
    return None
