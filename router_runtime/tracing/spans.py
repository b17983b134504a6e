"""A span for each decision and each attempt, made from the router's events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider, get_current_span
from opentelemetry.trace import get_tracer_provider as usual_provider

from router_runtime.hooks import AttemptFinished, AttemptStarted, BudgetRefused, Decided, RouterEvent
from router_runtime.records import Attempt
from router_runtime.tracing import names

_NS = 1_000_000_000


class Spans:
    """A router's observer: ``router.listen(Spans().observe)``.

    Spans hang under the caller's current one. An attempt's is open while the provider works, so that what happens
    inside it (an instrumented HTTP client) hangs where it belongs only by time, not by parent.

    Args:
        provider: Makes the tracer; None = OpenTelemetry's global one.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self.tracer: Tracer = (provider or usual_provider()).get_tracer("router_runtime")
        self._open: dict[tuple[str, int], Span] = {}

    def observe(self, event: RouterEvent) -> None:
        """Takes one event."""
        take = _TAKERS.get(type(event))
        if take is not None:
            take(self, event)

    def _decided(self, event: Decided) -> None:
        decision = event.decision
        start = int(decision.time * _NS)
        attributes: dict[str, Any] = {
            names.DECISION: decision.id,
            names.CHOSEN: decision.chosen,
            names.STRATEGY: decision.policy,
            names.PROPENSITY: decision.propensity,
            names.CANDIDATES: len(decision.candidates),
            names.BUNDLE: decision.bundle_version,
            names.TIER: decision.tier,
            names.INTENT: decision.intent,
            names.ARM: decision.arm,
            names.CONVERSATION: decision.session,
        }
        span = self.tracer.start_span("route", attributes=_given(attributes), start_time=start)
        span.end(start + int(decision.elapsed_ms * 1e6))

    def _started(self, event: AttemptStarted) -> None:
        attributes: dict[str, Any] = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: event.provider,
            names.REQUEST_MODEL: event.model,
            names.DECISION: event.decision_id,
            names.ATTEMPT: event.index,
            names.REASON: event.reason,
            names.WAIT_S: event.wait_s,
        }
        span = self.tracer.start_span(f"{names.CHAT} {event.model}", kind=SpanKind.CLIENT, attributes=attributes)
        self._open[event.decision_id, event.index] = span

    def _finished(self, event: AttemptFinished) -> None:
        attempt = event.attempt
        span = self._open.pop((attempt.decision_id, attempt.index), None)
        if span is None:
            return
        span.set_attributes(_given(_outcome(attempt)))
        if attempt.error is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def _refused(self, event: BudgetRefused) -> None:
        account = event.error.account
        kind = account if account.startswith("tier:") else account.partition(":")[0]
        attributes = {names.REQUEST_MODEL: event.model, names.PROVIDER: event.provider, names.ACCOUNT: kind}
        get_current_span().add_event("budget refused", attributes)


_TAKERS: dict[type, Callable[..., None]] = {
    Decided: Spans._decided,
    AttemptStarted: Spans._started,
    AttemptFinished: Spans._finished,
    BudgetRefused: Spans._refused,
}


def _outcome(attempt: Attempt) -> dict[str, Any]:
    first_ms = attempt.first_token_ms
    return {
        names.RESPONSE_MODEL: attempt.response_model,
        names.FINISH_REASONS: None if attempt.finish_reason is None else (attempt.finish_reason,),
        names.FIRST_CHUNK_S: None if first_ms is None else first_ms / 1e3,
        names.INPUT_TOKENS: attempt.input_tokens,
        names.OUTPUT_TOKENS: attempt.output_tokens,
        names.CACHED_TOKENS: attempt.cached_tokens,
        names.REASONING_TOKENS: attempt.reasoning_tokens,
        names.STATUS: attempt.status,
        names.ERROR: attempt.error,
        names.COST_USD: attempt.cost_usd,
        names.BILLED: attempt.billed,
    }


def _given(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not known."""
    return {name: value for name, value in attributes.items() if value is not None}
