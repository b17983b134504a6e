"""What Prometheus is told: counts as they happen, and the state of things at the moment it asks.

Label values come from the registry, from our own words and from error classes, never from a caller, and each label
takes at most :data:`MAX_VALUES` of them; what comes later counts as ``other``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from router_runtime.hooks import (
    AttemptFinished,
    BreakerChanged,
    BudgetRefused,
    DeadlineMissed,
    Decided,
    PredictionFailed,
    RouterEvent,
    StateChanged,
    Swapped,
    SwapRefused,
)
from router_runtime.records import Attempt

if TYPE_CHECKING:
    from router_runtime.gateway.problems import Problem
    from router_runtime.gateway.service import Served

__all__ = ["MAX_VALUES", "Metric", "Metrics", "count", "gauge"]

MAX_VALUES = 200

_M = TypeVar("_M", Counter, Histogram)

_ANSWERS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_DECISIONS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)


class Metrics:
    """The metrics of one gateway process, in a registry of their own.

    Args:
        state: Collects what is read only when Prometheus asks.
    """

    def __init__(self, state: Callable[[], Iterable[Metric]] = tuple) -> None:
        self._registry = CollectorRegistry()
        self._values: dict[str, set[str]] = {}
        self._children: dict[tuple[object, tuple[str, ...]], Counter | Histogram] = {}
        self._requests = self._count("requests", "Requests for an answer", "api", "status")
        self._request_s = self._time("request_seconds", "From the request's body to the answer's end", _ANSWERS, "api")
        self._decisions = self._count("decisions", "Decisions", "model", "strategy")
        self._decision_s = self._time("decision_seconds", "Time that decisions took", _DECISIONS)
        self._missed = self._count("deadline_missed", "Decisions that the static table made, out of time", "step")
        self._failed = self._count("predictions_failed", "Decisions that the static table made, the bundle failing")
        self._attempts = self._count("attempts", "Calls to providers", "provider", "model", "outcome")
        self._attempt_s = self._time("attempt_seconds", "Time that providers took", _ANSWERS, "provider")
        self._first_s = self._time("first_token_seconds", "Time to the first content of streams", _ANSWERS, "provider")
        self._cost = self._count("cost_usd", "US dollars that providers are taken to bill", "provider", "model")
        self._tokens = self._count("tokens", "Tokens as providers counted them", "model", "kind")
        self._problems = self._count("problems", "Errors in place of what was asked", "status", "code")
        self._refusals = self._count("budget_refusals", "Candidates that a budget had too little left for", "account")
        self._breakers = self._count("breaker_changes", "Circuit breakers that opened or closed", "name", "state")
        self._swaps = self._count(
            "swaps", "Registries, bundles and disablements taken over or refused", "what", "result"
        )
        self._lost = self._count("state_lost", "Times that the shared state went away")
        ProcessCollector(registry=self._registry)
        self._registry.register(_Now(state))

    def observe(self, event: RouterEvent) -> None:
        """A router's observer."""
        counter = _COUNTERS.get(type(event))
        if counter is not None:
            counter(self, event)

    def served(self, served: Served) -> None:
        """Counts a request for an answer; see :attr:`router_runtime.gateway.service.Service.on_served`."""
        self._at(self._requests, served.api, str(served.status)).inc()
        self._at(self._request_s, served.api).observe(served.seconds)

    def problem(self, problem: Problem) -> None:
        """Counts an error; see :attr:`router_runtime.gateway.service.Service.on_problem`."""
        self._at(self._problems, str(problem.status), self._known("code", problem.code)).inc()

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)

    def _decided(self, event: Decided) -> None:
        decision = event.decision
        self._at(self._decisions, self._known("model", decision.chosen), self._known("strategy", decision.policy)).inc()
        self._decision_s.observe(decision.elapsed_ms / 1e3)

    def _deadline(self, event: DeadlineMissed) -> None:
        self._at(self._missed, event.step).inc()

    def _prediction(self, _event: PredictionFailed) -> None:
        self._failed.inc()

    def _finished(self, event: AttemptFinished) -> None:
        attempt = event.attempt
        provider, model = self._known("provider", attempt.provider), self._known("model", attempt.model)
        self._at(self._attempts, provider, model, self._known("outcome", attempt.error or "ok")).inc()
        if attempt.latency_ms is not None:
            self._at(self._attempt_s, provider).observe(attempt.latency_ms / 1e3)
        if attempt.first_token_ms is not None:
            self._at(self._first_s, provider).observe(attempt.first_token_ms / 1e3)
        if attempt.cost_usd:
            self._at(self._cost, provider, model).inc(attempt.cost_usd)
        self._count_tokens(attempt, model)

    def _count_tokens(self, attempt: Attempt, model: str) -> None:
        kinds = (("input", attempt.input_tokens), ("output", attempt.output_tokens), ("cached", attempt.cached_tokens))
        for kind, tokens in kinds:
            if tokens:
                self._at(self._tokens, model, kind).inc(tokens)

    def _refused(self, event: BudgetRefused) -> None:
        account = event.error.account
        kind = account if account.startswith("tier:") else account.partition(":")[0]  # users and keys have no end
        self._at(self._refusals, self._known("account", kind)).inc()

    def _breaker(self, event: BreakerChanged) -> None:
        self._at(self._breakers, self._known("name", event.name), event.state).inc()

    def _swapped(self, event: Swapped) -> None:
        self._at(self._swaps, event.what, "taken").inc()

    def _swap_refused(self, event: SwapRefused) -> None:
        self._at(self._swaps, event.what, "refused").inc()

    def _state(self, event: StateChanged) -> None:
        if not event.shared:
            self._lost.inc()

    def _at(self, metric: _M, *labels: str) -> _M:
        """The series of ``labels``, which must be known values; prometheus_client's own look-up takes longer."""
        key = (metric, labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return cast(_M, child)

    def _known(self, label: str, value: str) -> str:
        values = self._values.setdefault(label, set())
        if value not in values:
            if len(values) >= MAX_VALUES:
                return "other"
            values.add(value)
        return value

    def _count(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"pointsman_{name}", words, labels, registry=self._registry)

    def _time(self, name: str, words: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"pointsman_{name}", words, labels, buckets=buckets, registry=self._registry)


_COUNTERS: dict[type, Callable[..., None]] = {
    Decided: Metrics._decided,
    DeadlineMissed: Metrics._deadline,
    PredictionFailed: Metrics._prediction,
    AttemptFinished: Metrics._finished,
    BudgetRefused: Metrics._refused,
    BreakerChanged: Metrics._breaker,
    Swapped: Metrics._swapped,
    SwapRefused: Metrics._swap_refused,
    StateChanged: Metrics._state,
}


class _Now(Collector):
    """Asks when Prometheus asks."""

    def __init__(self, state: Callable[[], Iterable[Metric]]) -> None:
        self._state = state

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that nothing is asked while it is registered."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """What is so now."""
        return self._state()


def gauge(name: str, words: str, rows: Iterable[tuple[dict[str, str], float]]) -> Metric:
    """A gauge ``pointsman_<name>`` as it stands now."""
    metric = Metric(f"pointsman_{name}", words, "gauge")
    for labels, value in list(rows)[:MAX_VALUES]:
        metric.add_sample(f"pointsman_{name}", labels, value)
    return metric


def count(name: str, words: str, rows: Iterable[tuple[dict[str, str], float]]) -> Metric:
    """A counter ``pointsman_<name>_total`` that somebody else keeps."""
    metric = Metric(f"pointsman_{name}", words, "counter")
    for labels, value in list(rows)[:MAX_VALUES]:
        metric.add_sample(f"pointsman_{name}_total", labels, value)
    return metric
