"""Documented error answers → the error tree."""

import json

import pytest

from router_runtime.provider_errors import (
    AuthFailed,
    BadRequest,
    ContentFiltered,
    ContextOverflow,
    ModelNotFound,
    Overloaded,
    RateLimited,
    Redirected,
    ServerError,
    UnsupportedByProvider,
    safe_detail,
)
from router_runtime.providers.catalog import adapter
from router_runtime.providers.retry_after import duration, retry_after

NOW = "Sun, 22 Nov 2026 20:00:00 GMT"


def classify(name, status, error, headers=None):
    return adapter(name).classify(status, headers or {}, json.dumps(error).encode())


def openai(message="", code=None, kind=None):
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(kind, message="", **more):
    return {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_1"}


def google(code, status, message="", *details):
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


def quota(*ids, **more):
    violations = [{"quotaId": quota_id, **more} for quota_id in ids]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "22.5s"}
REASON = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
VLLM = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."


@pytest.mark.parametrize(
    ("name", "status", "error", "kind"),
    [
        ("openai", 400, openai("too long", "context_length_exceeded", "invalid_request_error"), ContextOverflow),
        ("openai", 400, openai("Missing messages", None, "invalid_request_error"), BadRequest),
        ("openai", 401, openai("You didn't provide an API key", None, "invalid_request_error"), AuthFailed),
        ("openai", 401, openai("Incorrect", "invalid_api_key", "invalid_request_error"), AuthFailed),
        ("openai", 403, openai("Country not supported", "unsupported_country_region_territory"), AuthFailed),
        ("openai", 404, openai("no model", "model_not_found", "invalid_request_error"), ModelNotFound),
        ("openai", 400, openai("flagged", "content_policy_violation"), ContentFiltered),
        ("openai", 400, openai("filtered", "content_filter"), ContentFiltered),
        ("openai", 500, openai("oops", None, "server_error"), ServerError),
        ("openai", 503, openai("busy", None, "server_error"), Overloaded),
        ("openai-responses", 400, openai("flagged", "invalid_prompt"), ContentFiltered),
        ("openai-compatible", 400, {"object": "error", "message": VLLM, "code": 400}, ContextOverflow),
        ("openai-compatible", 400, openai("n_ctx", 400, "exceed_context_size_error"), ContextOverflow),
        ("openai-compatible", 404, {"error": "model 'x' not found, try pulling it first"}, ModelNotFound),
        ("deepseek", 422, openai("bad"), BadRequest),
        ("deepseek", 503, openai("busy"), Overloaded),
        ("openrouter", 403, {"error": {"code": 403, "metadata": {"reasons": ["violence"]}}}, ContentFiltered),
        ("openrouter", 408, {"error": {"code": 408, "message": "timed out"}}, ServerError),
        ("openrouter", 200, {"error": {"code": 502, "message": "upstream"}}, ServerError),
        ("anthropic", 529, anthropic("overloaded_error", "Overloaded"), Overloaded),
        ("anthropic", 200, anthropic("overloaded_error", "Overloaded"), Overloaded),
        ("anthropic", 500, anthropic("api_error"), ServerError),
        ("anthropic", 401, anthropic("authentication_error"), AuthFailed),
        ("anthropic", 403, anthropic("permission_error"), AuthFailed),
        ("anthropic", 404, anthropic("not_found_error", "model: x"), ModelNotFound),
        ("anthropic", 413, anthropic("request_too_large"), ContextOverflow),
        ("anthropic", 400, anthropic("invalid_request_error", "prompt is too long: 2 > 1"), ContextOverflow),
        ("anthropic", 400, anthropic("invalid_request_error", "Output blocked by content filtering"), ContentFiltered),
        ("anthropic", 400, anthropic("invalid_request_error", "max_tokens: required"), BadRequest),
        (
            "anthropic",
            400,
            anthropic("invalid_request_error", "`temperature` is deprecated for this model."),
            UnsupportedByProvider,
        ),
        ("gemini", 400, google(400, "INVALID_ARGUMENT", "API key not valid", REASON), AuthFailed),
        ("gemini", 400, google(400, "INVALID_ARGUMENT", "bad schema"), BadRequest),
        (
            "gemini",
            400,
            google(400, "INVALID_ARGUMENT", "The input token count (2) exceeds the maximum number of tokens"),
            ContextOverflow,
        ),
        ("gemini", 403, google(403, "PERMISSION_DENIED"), AuthFailed),
        ("gemini", 404, google(404, "NOT_FOUND"), ModelNotFound),
        ("gemini", 500, google(500, "INTERNAL"), ServerError),
        ("gemini", 503, google(503, "UNAVAILABLE"), Overloaded),
        ("gemini", 504, google(504, "DEADLINE_EXCEEDED"), ServerError),
        ("anthropic", 307, {}, Redirected),
    ],
)
def test_documented_errors(name, status, error, kind):
    found = classify(name, status, error)
    assert type(found) is kind
    assert (found.fall_through, found.billed) == (True, False)
    assert found.retry_same == (kind in (Overloaded, ServerError))


@pytest.mark.parametrize(
    ("name", "status", "error", "scope"),
    [
        ("openai", 429, openai("Rate limit reached on requests per min (RPM)", "rate_limit_exceeded"), "request"),
        ("openai", 429, openai("Limit on requests per day (RPD): 200", "rate_limit_exceeded", "requests"), "daily"),
        ("openai", 429, openai("Slow down", "slow_down", "rate_limit_error"), "request"),
        ("openai", 429, openai("quota", "insufficient_quota", "insufficient_quota"), "credit"),
        ("openai", 429, openai("quota", None, "insufficient_quota"), "credit"),
        ("openai", 429, openai("none left", "credit_balance_exhausted", "insufficient_quota"), "credit"),
        ("openai", 429, openai("cap", "project_spend_limit_exceeded", "insufficient_quota"), "credit"),
        ("deepseek", 402, openai("Insufficient Balance", "invalid_request_error", "unknown_error"), "credit"),
        ("deepseek", 429, openai("too fast"), "request"),
        ("openrouter", 402, {"error": {"code": 402, "message": "more credits"}}, "credit"),
        (
            "openrouter",
            402,
            {"error": {"code": 402, "metadata": {"error_type": "in_flight_budget_exhausted"}}},
            "request",
        ),
        ("openrouter", 429, {"error": {"code": 429, "message": "free-models-per-day"}}, "daily"),
        ("anthropic", 429, anthropic("rate_limit_error"), "request"),
        (
            "anthropic",
            429,
            anthropic("rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}),
            "credit",
        ),
        ("anthropic", 402, anthropic("billing_error"), "credit"),
        ("anthropic", 400, anthropic("invalid_request_error", "Your credit balance is too low"), "credit"),
        ("anthropic", 400, anthropic("invalid_request_error", "reached your specified API usage limits"), "credit"),
        ("gemini", 429, google(429, "RESOURCE_EXHAUSTED", "", quota("RequestsPerMinutePerProject"), RETRY), "request"),
        (
            "gemini",
            429,
            google(429, "RESOURCE_EXHAUSTED", "", quota("PerMinute", "RequestsPerDayPerProject-FreeTier"), RETRY),
            "daily",
        ),
        ("gemini", 429, google(429, "RESOURCE_EXHAUSTED", "", quota("PerDay", quotaValue="0"), RETRY), "credit"),
        ("gemini", 402, google(402, "RESOURCE_EXHAUSTED"), "credit"),
    ],
)
def test_not_every_rate_limit_may_be_retried(name, status, error, scope):
    found = classify(name, status, error)
    assert isinstance(found, RateLimited)
    assert (found.scope, found.retry_same, found.billed) == (scope, scope == "request", False)


def test_gemini_says_how_long_in_its_body_and_a_day_lasts_until_midnight_pacific():
    minute = google(429, "RESOURCE_EXHAUSTED", "", quota("RequestsPerMinute"), RETRY)
    assert classify("gemini", 429, minute).retry_after == 22.5
    day = google(429, "RESOURCE_EXHAUSTED", "", quota("RequestsPerDay"), RETRY)
    assert classify("gemini", 429, day, {"Date": NOW}).retry_after == 12 * 3600
    assert classify("gemini", 429, day).retry_after is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Sun, 22 Nov 2026 20:01:30 GMT", "date": NOW}, 90.0),
        ({"retry-after": "Sun, 22 Nov 2026 19:00:00 GMT", "date": NOW}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2026 20:01:30 GMT"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "999999999999"}, 31 * 86400.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30.5s"}, 90.5),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "1m"}, None),
        (
            {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-11-22T20:00:12Z"}
            | {"date": NOW},
            12.0,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795377645000", "date": NOW}, 45.0),
    ],
)
def test_how_long_to_wait(headers, seconds):
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(("text", "seconds"), [("120ms", 0.12), ("6m0s", 360), ("1h", 3600), ("", None), ("1x", None)])
def test_durations(text, seconds):
    assert duration(text) == seconds


def test_detail_is_one_short_line_without_long_opaque_words():
    assert safe_detail("a\nb  sk-abcdefghijklmnopqrstuvwxyz0123 c") == "a b … c"
    assert len(safe_detail("word " * 500)) <= 300
