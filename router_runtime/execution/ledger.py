"""What a call took: every attempt reserved, measured, settled, logged and told to health, exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from router_runtime.budgets import BudgetCounts, Limit, Reservation
from router_runtime.chat import ChatChunk, ChatResponse, Usage
from router_runtime.errors import BudgetExceeded, Failure, PointsmanError, StoreError
from router_runtime.execution.course import Step
from router_runtime.execution.ending import to_end
from router_runtime.execution.retry import RetryBudget
from router_runtime.execution.settings import Route
from router_runtime.health import Health, Scope
from router_runtime.hooks import AttemptFinished, AttemptStarted, BreakerChanged, BudgetRefused, Observer, RouterEvent
from router_runtime.prefixes import PrefixMemory
from router_runtime.pricing import price_at
from router_runtime.provider_errors import (
    AuthFailed,
    BadRequest,
    ConnectFailed,
    ContentFiltered,
    ModelNotFound,
    NoConnectionLeft,
    Overloaded,
    ProviderError,
    RateLimited,
    Redirected,
    Refused,
    StaleConnection,
    TotalTimeout,
    UnsupportedByProvider,
)
from router_runtime.records import Attempt
from router_runtime.registry import Price

_MILLION = Decimal(10) ** 6
_CHARS_PER_TOKEN = 4
_MOST_TOKENS = 10**8
"""Of a prompt or an answer, a hundred times those of today: a larger count is a fault of the server."""
_NOT_THEIR_FAULT = (
    *(UnsupportedByProvider, BadRequest, ContentFiltered, Refused),
    *(StaleConnection, NoConnectionLeft, TotalTimeout),
)
_OWN_HOLDS = (AuthFailed, ModelNotFound, Redirected)
_OWN_HOLD_S = 60.0
_QUOTA_HOLD_S = {"request": 0.0, "daily": 3600.0, "credit": 300.0}


def exact_cost(price: Price, usage: Usage) -> Decimal:
    """Cost in USD as an exact decimal: each token count times its price per million, cached ones at their own."""
    cached = price.input if price.cached_input is None else price.cached_input
    fresh = max(0, usage.input_tokens - usage.cached_tokens)
    parts = ((fresh, price.input), (usage.cached_tokens, cached), (usage.output_tokens, price.output))
    return sum((tokens * Decimal(repr(float(usd))) for tokens, usd in parts), Decimal(0)) / _MILLION


def _believable(usage: Usage | None) -> Usage | None:
    """``usage``, or None where it cannot be true and is as good as none."""
    if usage is None or max(usage.input_tokens, usage.output_tokens, usage.cached_tokens) > _MOST_TOKENS:
        return None
    return usage


@dataclass(slots=True)
class OpenAttempt:
    """An attempt that is under way; ``waited_s`` is the time that the provider took, without the reader's own."""

    route: Route
    index: int
    time: float
    reservation: Reservation
    taken: int = 0
    sent: bool = False
    status: int | None = None
    waited_s: float = 0.0
    first_token_ms: float | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    response_model: str | None = None
    chars: int = 0

    def see_response(self, response: ChatResponse) -> None:
        """Takes what a whole answer says about itself."""
        self.usage, self.response_model = _believable(response.usage), response.model or None
        self.finish_reason = response.finish_reason
        self.chars = len(response.text)

    def see_chunks(self, chunks: Sequence[ChatChunk]) -> None:
        """Takes what chunks of a stream say."""
        for chunk in chunks:
            if chunk.content:
                self.chars += len(chunk.content)
            if chunk.reasoning:
                self.chars += len(chunk.reasoning)
            if chunk.usage is not None:
                self.usage = _believable(chunk.usage)
            if chunk.finish_reason is not None:
                self.finish_reason = chunk.finish_reason
            if self.response_model is None and chunk.model:
                self.response_model = chunk.model

    def see_end(self, reported: Usage | None) -> None:
        """Takes what a stream had reported that ended before its last report: of its answer, at least what was seen."""
        if self.usage is None and (reported := _believable(reported)) is not None:
            self.usage = replace(reported, output_tokens=max(reported.output_tokens, self.seen_tokens))

    @property
    def seen_tokens(self) -> int:
        """Tokens of the text that has come, estimated."""
        return -(-self.chars // _CHARS_PER_TOKEN)


class Ledger:
    """The books of one call.

    Args:
        decision_id: Join key of the attempts.
        limits: Budgets that every attempt must fit in.
        budgets: Their counts; None where there are none.
        health, retry: Told of every outcome.
        log: Takes each finished attempt.
        clock: UTC seconds since the epoch.
        observers: Are told of attempts, refusals and breakers.
        session: Of the conversation, if any.
        prefixes: Is told who now holds the conversation's prompt.
    """

    def __init__(
        self,
        decision_id: str,
        limits: Sequence[Limit],
        budgets: BudgetCounts | None,
        *,
        health: Health,
        retry: RetryBudget,
        log: Callable[[Attempt], object],
        clock: Callable[[], float],
        observers: Sequence[Observer] = (),
        session: str | None = None,
        prefixes: PrefixMemory | None = None,
    ) -> None:
        self._observers, self._session, self._prefixes = observers, session, prefixes
        self._decision_id, self._limits, self._budgets = decision_id, limits, budgets
        self._health, self._retry, self._log, self._clock = health, retry, log, clock
        self._begun = 0
        self.attempts: list[Attempt] = []
        self.failures: list[Failure] = []
        self.cost = Decimal(0)
        self.tokens = 0
        """Of the attempts that are billed: as providers counted them, else as predicted and seen."""

    async def begin(self, step: Step) -> OpenAttempt | None:
        """Reserves the predicted cost and opens an attempt; None where a budget has too little left for it."""
        route, now = step.route, self._clock()
        reservation = Reservation((), 0, 0)
        if self._budgets is not None and self._limits:
            try:
                reservation = await self._reserve(self._budgets, route)
            except BudgetExceeded as refusal:
                self._refuse(route, refusal)
                return None
            except (StoreError, asyncio.CancelledError):
                self._health.released(route.target)
                raise
        self._begun += 1
        self._tell(AttemptStarted(self._decision_id, self._begun - 1, *route.target, step.reason, step.wait_s))
        return OpenAttempt(route, self._begun - 1, now, reservation, step.taken)

    async def _reserve(self, budgets: BudgetCounts, route: Route) -> Reservation:
        """The reservation of an attempt; given back where the call is cancelled while it is being made."""
        expected, loop = route.predicted, asyncio.get_running_loop()
        usd = expected.cost_usd if expected else 0.0
        tokens = round(expected.input_tokens + expected.output_tokens) if expected else 0
        made = loop.run_in_executor(None, budgets.reserve, self._limits, usd, tokens)
        try:
            return await to_end(made)
        except asyncio.CancelledError:
            if made.exception() is None:
                await to_end(loop.run_in_executor(None, budgets.settle, made.result(), 0))
            raise

    def _refuse(self, route: Route, refusal: BudgetExceeded) -> None:
        self._fail(route, refusal)
        self._health.released(route.target)
        self._tell(BudgetRefused(self._decision_id, *route.target, refusal))

    async def end(self, attempt: OpenAttempt, error: ProviderError | None, *, cancelled: bool = False) -> None:
        """Settles, logs and tells health; must be awaited exactly once for each attempt."""
        latency_ms = attempt.waited_s * 1e3
        billed = error.billed if error is not None else attempt.sent
        cost = self._cost(attempt) if billed else Decimal(0)
        name = "Cancelled" if cancelled else None if error is None else type(error).__name__
        usage = attempt.usage
        record = Attempt(
            decision_id=self._decision_id,
            index=attempt.index,
            time=attempt.time,
            model=attempt.route.model.name,
            provider=attempt.route.provider.name,
            status=attempt.status,
            error=name,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            cached_tokens=usage.cached_tokens if usage else None,
            reasoning_tokens=usage.reasoning_tokens if usage else None,
            cost_usd=float(cost),
            billed=billed,
            latency_ms=latency_ms,
            first_token_ms=attempt.first_token_ms,
            finish_reason=attempt.finish_reason,
            response_model=attempt.response_model,
        )
        self.attempts.append(record)
        self.cost += cost
        tokens = self._tokens(attempt) if billed else 0
        self.tokens += tokens
        self._tell_health(attempt, error, latency_ms, cancelled=cancelled)
        if error is not None:
            self._fail(attempt.route, error)
        self._log(record)
        self._tell(AttemptFinished(record))
        if self._budgets is not None and attempt.reservation.rows:
            settle, loop = self._budgets.settle, asyncio.get_running_loop()
            await to_end(loop.run_in_executor(None, settle, attempt.reservation, cost, tokens))

    def _fail(self, route: Route, error: PointsmanError) -> None:
        """Notes a failed attempt, or a candidate that was refused before an attempt."""
        self.failures.append(Failure(route.model.name, route.provider.name, error))

    def _usage(self, attempt: OpenAttempt) -> Usage:
        """As the provider counted; else what was predicted for the prompt and seen of the answer."""
        if attempt.usage is not None:
            return attempt.usage
        expected = attempt.route.predicted
        if expected is None:
            return Usage(output_tokens=attempt.seen_tokens)
        return Usage(round(expected.input_tokens), attempt.seen_tokens or round(expected.output_tokens))

    def _tokens(self, attempt: OpenAttempt) -> int:
        usage = self._usage(attempt)
        return usage.input_tokens + usage.output_tokens

    def _cost(self, attempt: OpenAttempt) -> Decimal:
        return exact_cost(price_at(attempt.route.model, attempt.time), self._usage(attempt))

    def _tell_health(
        self, attempt: OpenAttempt, error: ProviderError | None, latency_ms: float, *, cancelled: bool
    ) -> None:
        target = attempt.route.target
        if cancelled or isinstance(error, _NOT_THEIR_FAULT):
            self._health.released(target)
        elif error is None:
            for name in self._health.succeeded(target, latency_ms):
                self._tell(BreakerChanged(name, "closed"))
            self._retry.succeeded(target[0], attempt.taken)
            if self._prefixes is not None and self._session is not None and attempt.usage is not None:
                model, provider = attempt.route.model.name, attempt.route.provider
                self._prefixes.answered(self._session, model, provider, attempt.usage, self._clock())
        else:
            scope, hold_s = _verdict(error)
            reason = type(error).__name__
            asked = error.retry_after is not None and not isinstance(error, _OWN_HOLDS)
            for name in self._health.failed(target, scope=scope, hold_s=hold_s, asked=asked, reason=reason):
                self._tell(BreakerChanged(name, "open", reason))

    def _tell(self, event: RouterEvent) -> None:
        for observer in self._observers:
            observer(event)


def _verdict(error: ProviderError) -> tuple[Scope, float | None]:
    """(who is concerned, how long to leave it alone)."""
    if isinstance(error, RateLimited):
        scope: Scope = "model" if error.scope == "request" else "provider"
        return scope, error.retry_after if error.retry_after is not None else _QUOTA_HOLD_S[error.scope]
    if isinstance(error, Overloaded | ConnectFailed):
        return "provider", error.retry_after
    hold_s = _OWN_HOLD_S if isinstance(error, _OWN_HOLDS) else error.retry_after
    return ("provider" if isinstance(error, AuthFailed | Redirected) else "model"), hold_s
