"""The engine: one call from its decision to an answer, whatever the providers do."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

from router_runtime.budgets import BudgetCounts, Limit
from router_runtime.chat import ChatRequest, ChatResponse
from router_runtime.errors import AllAttemptsFailed, BudgetExceeded, Failure, PointsmanError, RequestError
from router_runtime.execution.connections import Connections, LoopConnections
from router_runtime.execution.course import Course, Step
from router_runtime.execution.exchange import Exchange
from router_runtime.execution.hedging import first_of
from router_runtime.execution.ledger import Ledger, OpenAttempt
from router_runtime.execution.retry import RetryBudget
from router_runtime.execution.settings import Completion, ExecutionSettings, Route
from router_runtime.health import UNHEALTHY, Health
from router_runtime.hooks import Observer
from router_runtime.prefixes import PrefixMemory
from router_runtime.provider_errors import NoConnectionLeft, ProviderError, ServerError, UnsupportedByProvider
from router_runtime.providers.base import Adapter, HttpCall, Target, answer_problem
from router_runtime.providers.keys import key_of
from router_runtime.records import Attempt, Decision
from router_runtime.registry import ProviderEntry, Registry
from router_runtime.transport import Transport
from router_runtime.transports import open_transport


def _ignore(_attempt: Attempt) -> None:
    """Without a log, attempts are only in the answer."""


@dataclass(frozen=True)
class Engine:
    """Carries out calls; one for each router. Use from any event loop; connections belong to the loop that made them.

    Args:
        adapters: Adapter by the registry's word for it.
        settings: Defaults of every call.
        health: Shared with the router's filter.
        budgets: Counts of spending; None where there are none.
        log: Takes every finished attempt.
        environ: Where keys are read from, by name.
        clock: UTC seconds since the epoch.
        random: Uniform in [0, 1), for jitter.
        connect: Makes the transport of a loop.
        retry: The providers' buckets.
        prefixes: What providers' prompt caches hold of conversations.
        observers: Are told of attempts, refusals and breakers, see :mod:`router_runtime.hooks`.
    """

    adapters: Callable[[str], Adapter]
    settings: ExecutionSettings = field(default_factory=ExecutionSettings)
    health: Health = field(default_factory=Health)
    budgets: BudgetCounts | None = None
    log: Callable[[Attempt], object] = _ignore
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    clock: Callable[[], float] = time.time
    random: Callable[[], float] = random.random
    connect: Callable[[], Transport] = open_transport
    retry: RetryBudget = field(default_factory=RetryBudget)
    prefixes: PrefixMemory = field(default_factory=PrefixMemory, repr=False)
    observers: tuple[Observer, ...] = ()
    _connections: LoopConnections = field(default_factory=LoopConnections, repr=False)

    async def complete(
        self,
        registry: Registry,
        decision: Decision,
        request: ChatRequest,
        *,
        limits: Sequence[Limit] = (),
        settings: ExecutionSettings | None = None,
    ) -> Completion:
        """A whole answer from the first candidate that gives one.

        Raises:
            AllAttemptsFailed: No candidate did; holds every attempt.
            BudgetExceeded: No candidate fits in the budgets.
            RequestError: No candidate's wire format can read the request.
        """
        call = self.call(registry, decision, request, limits, settings or self.settings)
        while (step := await call.next()) is not None:
            answer = await call.answer(step)
            if answer is not None:
                attempts = tuple(call.ledger.attempts)
                return Completion(
                    answer.response, decision, answer.model, attempts, call.ledger.cost, call.ledger.tokens
                )
        raise call.exhausted()

    def call(
        self,
        registry: Registry,
        decision: Decision,
        request: ChatRequest,
        limits: Sequence[Limit],
        settings: ExecutionSettings,
    ) -> Call:
        """The state of one call."""
        return Call(self, routes_of(registry, decision), decision, request, limits, settings)

    def connections(self) -> Connections:
        """The running loop's, made at first use."""
        return self._connections.here(self.connect)

    async def aclose(self) -> None:
        """Closes the running loop's connections; the engine can go on to be used."""
        await self._connections.aclose()

    def target(self, route: Route) -> Target:
        """Where ``route`` leads, with its key.

        Raises:
            AuthFailed: Where the key's variable is not set or holds what cannot be sent; names the variable.
        """
        provider = route.provider
        drop = provider.drop_params | route.model.drop_params
        key = key_of(provider, self.environ)
        model = route.model
        return Target(provider.base_url, model.upstream_id, key, provider.headers, drop, model.max_output_tokens)


def routes_of(registry: Registry, decision: Decision) -> list[Route]:
    """The candidates of ``decision`` in the order in which they are tried.

    The chosen one, then the intent's fallbacks that are eligible, then the others as the policy ranked them; at last
    those that the router left out for their health alone, whose door may have opened meanwhile.
    """
    predicted = {candidate.model: candidate for candidate in decision.candidates}
    intent = None if decision.matched_intent is None else registry.intents.get(decision.matched_intent)
    fallback = () if intent is None else intent.fallback
    unwell = (name for name, reason in decision.filtered.items() if reason == UNHEALTHY)
    names = dict.fromkeys((decision.chosen, *(name for name in fallback if name in predicted), *predicted, *unwell))
    entries = [registry.models[name] for name in names if name in registry.models]
    return [Route(entry, registry.providers[entry.provider], predicted.get(entry.name)) for entry in entries]


class Answer(NamedTuple):
    """A good answer and the registry's model that gave it."""

    response: ChatResponse
    model: str


class Call:
    """One call under way: its course, its books and its deadline."""

    def __init__(
        self,
        engine: Engine,
        routes: Sequence[Route],
        decision: Decision,
        request: ChatRequest,
        limits: Sequence[Limit],
        settings: ExecutionSettings,
    ) -> None:
        self.engine, self.decision, self.request, self.settings = engine, decision, request, settings
        self._routes = routes
        self._unread: list[RequestError] = []
        self._loop = asyncio.get_running_loop()
        self.deadline = self._loop.time() + settings.deadline_s
        self.course = Course(
            routes, engine.health, engine.retry, max_attempts=settings.max_attempts, random=engine.random
        )
        self.ledger = Ledger(
            decision.id,
            limits,
            engine.budgets,
            health=engine.health,
            retry=engine.retry,
            log=engine.log,
            clock=engine.clock,
            observers=engine.observers,
            session=decision.session,
            prefixes=engine.prefixes,
        )

    @property
    def time_left_s(self) -> float:
        """Until the deadline."""
        return self.deadline - self._loop.time()

    async def next(self) -> Step | None:
        """The next step, after its wait."""
        step = self.course.next(self.time_left_s)
        if step is not None and step.wait_s > 0:
            await asyncio.sleep(step.wait_s)
        return step

    async def open(self, step: Step) -> OpenAttempt | None:
        """Begins the attempt of ``step``; None where a budget has too little left for it."""
        attempt = await self.ledger.begin(step)
        if attempt is None:
            self.course.unsent()
        return attempt

    async def exchange(self, route: Route, request: ChatRequest, *, stream: bool) -> Exchange:
        """The wire of one attempt.

        Raises:
            ProviderError: The key is missing, the wire format cannot carry the request, or the provider has no
                connection left; nothing was sent, and the attempt does not count.
        """
        try:
            adapter, call = self._built(route, request, stream=stream)
            connections = self.engine.connections()
            slot = connections.slot(route.provider)
            if slot is not None:
                await self._take(slot, route.provider)
        except ProviderError:
            self.course.unsent()
            raise
        share = self.settings.attempt_share if self.course.has_next else 1.0
        own_limit = route.provider.first_token_timeout_s if stream else route.provider.timeout_s
        return Exchange(
            connections.transport,
            adapter,
            call,
            route.provider,
            first_s=min(own_limit, self.time_left_s * share),
            deadline=self.deadline,
            max_bytes=self.settings.max_response_bytes,
            slot=slot,
        )

    async def _take(self, slot: asyncio.Semaphore, provider: ProviderEntry) -> None:
        """Waits for a slot: as long as for a connection where another candidate is waiting, else to the deadline."""
        left_s = self.time_left_s
        try:
            async with asyncio.timeout(min(provider.connect_timeout_s, left_s) if self.course.has_next else left_s):
                await slot.acquire()
        except TimeoutError:
            full = NoConnectionLeft(f"its max_connections ({provider.max_connections}) are all in use")
        else:
            return
        raise full

    def _built(self, route: Route, request: ChatRequest, *, stream: bool) -> tuple[Adapter, HttpCall]:
        adapter = self.engine.adapters(route.provider.adapter)
        try:
            return adapter, adapter.build(request, self.engine.target(route), stream=stream)
        except RequestError as error:  # in this wire format; another may take it
            self._unread.append(error)
            unread = UnsupportedByProvider(str(error))
        raise unread

    async def answer(self, step: Step) -> Answer | None:
        """One attempt, hedged where the settings say so; None where it failed."""
        after_s = self.settings.hedge_after_s
        if after_s is None:
            return await self.attempt(step)
        return await first_of(lambda: self.attempt(step), self._hedge, after_s)

    def _hedge(self) -> Coroutine[Any, Any, Answer | None] | None:
        step = self.course.hedge()
        return None if step is None else self.attempt(step)

    async def attempt(self, step: Step) -> Answer | None:
        """One attempt at a whole answer; None where it failed, which the course then knows."""
        attempt = await self.open(step)
        if attempt is None:
            return None
        error: ProviderError | None = None
        finished = False
        try:
            response = await self._whole(attempt)
            finished = True
            return Answer(response, step.route.model.name)
        except ProviderError as failure:
            error, finished = failure, True
            self.course.failed(step.route, failure)
            return None
        finally:
            await self.ledger.end(attempt, error, cancelled=not finished)

    async def _whole(self, attempt: OpenAttempt) -> ChatResponse:
        exchange = await self.exchange(attempt.route, self.request, stream=False)
        attempt.sent, begun = True, perf_counter()
        try:
            response = await exchange.whole()
        finally:
            attempt.waited_s, attempt.status = perf_counter() - begun, exchange.status
            await exchange.aclose()
        attempt.see_response(response)
        problem = answer_problem(response)
        if problem is not None and type(problem).__name__ not in self.settings.accept:
            raise problem
        return response

    def exhausted(self) -> PointsmanError:
        """The error that ends the call."""
        failures = self.ledger.failures
        if self._unread and len(self._unread) == len(failures):
            return self._unread[0]
        refusals = [failure.error for failure in failures if isinstance(failure.error, BudgetExceeded)]
        if refusals and len(refusals) == len(failures):
            return refusals[-1]
        return AllAttemptsFailed(failures or [self._closed(route) for route in self._routes], self.ledger.tokens)

    def _closed(self, route: Route) -> Failure:
        seconds = self.engine.health.asked_for(route.target)
        reason = f"asked to be left alone for {seconds:.0f} s more" if seconds > 0 else "disabled"
        return Failure(route.model.name, route.provider.name, ServerError(reason))
