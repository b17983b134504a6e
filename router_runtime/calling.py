"""From messages to an answer: the half of the router that calls models."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from router_runtime.budgets import Limit, call_allowance, limits_for
from router_runtime.chat import ChatRequest
from router_runtime.deciding import hash_user
from router_runtime.errors import ConfigError, NoCandidateError, RequestError
from router_runtime.execution import ChatStream, Completion, Engine, ExecutionSettings
from router_runtime.execution.settings import StreamRecovery
from router_runtime.execution.sync import Background, SyncStream
from router_runtime.messages import Messages
from router_runtime.options import Options, RouteOptions
from router_runtime.outcome_log import OutcomeLog
from router_runtime.records import Decision, Feedback, FeedbackSource
from router_runtime.registry import Registry
from router_runtime.workers import Workers

T = TypeVar("T")


class CallOptions(RouteOptions, total=False):
    """The keywords of ``complete`` and ``stream``: those of ``route``, and what the model is told.

    Args:
        temperature, top_p, max_tokens, stop, seed, reasoning_effort, tool_choice, parallel_tool_calls, metadata: As in
            OpenAI's API.
        extra: More fields for the provider's body, as they stand.
        timeout_s: Deadline of the whole call, instead of the router's.
        stream_recovery: Instead of the router's.
        accept: Instead of the router's, see :class:`router_runtime.execution.ExecutionSettings`.
        limits: Limits of spending beside the tier's, such as a key's own.
    """

    temperature: float
    top_p: float
    max_tokens: int
    stop: str | Sequence[str]
    seed: int
    reasoning_effort: str
    tool_choice: Any
    parallel_tool_calls: bool
    metadata: Mapping[str, Any]
    extra: Mapping[str, Any]
    timeout_s: float
    stream_recovery: StreamRecovery
    accept: frozenset[str]
    limits: Sequence[Limit]


_EXECUTION = {"timeout_s": "deadline_s", "stream_recovery": "stream_recovery", "accept": "accept"}
_ROUTE = frozenset(Options._fields)
_TOLD = ("tools", "response_format", "user")
_KNOWN = frozenset(CallOptions.__annotations__)


class Calling(ABC):
    """Completes, streams and takes feedback, given that it can decide.

    Args:
        engine: Carries out the calls.
        log: Takes feedback; None where nothing is logged.
        user_salt: Of the hashes of user ids.
    """

    def __init__(self, engine: Engine, log: OutcomeLog | None, user_salt: bytes) -> None:
        self.engine, self.log = engine, log
        self._user_salt = user_salt
        self._background = Background()
        self._deciders = Workers("pointsman-decide", os.cpu_count() or 1)

    @abstractmethod
    def decide_for(self, messages: Messages, options: Options) -> Decision:
        """The decision; raises NoCandidateError where no model is left."""

    @abstractmethod
    def current_registry(self) -> Registry:
        """The registry in force."""

    @abstractmethod
    def runs_encoder(self) -> bool:
        """Whether an encoder reads requests, so that a decision takes milliseconds, not a fraction of one."""

    async def off_loop(self, decide: Callable[[], T]) -> T:
        """``decide()``, on a thread where an encoder would hold up the event loop; else here, which is quicker."""
        return await self._deciders.run(decide) if self.runs_encoder() else decide()

    async def complete(self, messages: Messages, **options: Unpack[CallOptions]) -> Completion:
        """A whole answer of the model that is chosen, or of the next ones where it fails.

        Args:
            messages: A prompt, or messages in OpenAI's shape.
            options: See :class:`CallOptions`.

        Raises:
            NoCandidateError: No model may take the request.
            AllAttemptsFailed: No candidate gave an answer; holds every attempt.
            BudgetExceeded: No candidate fits in the budgets.
            RequestError: The messages cannot be read.
        """
        prepared = await self.off_loop(lambda: self._prepare(messages, dict(options)))
        registry, decision, request, limits, settings = prepared
        return await self.engine.complete(registry, decision, request, limits=limits, settings=settings)

    def stream(self, messages: Messages, **options: Unpack[CallOptions]) -> ChatStream:
        """As :meth:`complete`, chunk by chunk; nothing is sent before the first chunk is asked for.

        It decides at once: where an encoder reads requests, services call it by :meth:`off_loop`.
        """
        registry, decision, request, limits, settings = self._prepare(messages, dict(options))
        return ChatStream(lambda: self.engine.call(registry, decision, request, limits, settings), decision)

    def complete_sync(self, messages: Messages, **options: Unpack[CallOptions]) -> Completion:
        """:meth:`complete` for code without an event loop."""
        return self._background.run(self.complete(messages, **options))

    def stream_sync(self, messages: Messages, **options: Unpack[CallOptions]) -> SyncStream:
        """:meth:`stream` for code without an event loop."""
        return SyncStream(self._background, self.stream(messages, **options))

    def feedback(
        self,
        decision_id: str,
        *,
        score: float,
        source: FeedbackSource = "user",
        metric: str = "score",
        meta: Mapping[str, Any] | None = None,
        wait: bool = True,
    ) -> None:
        """Logs how good an answer was; late, repeated and unknown ids are fine.

        Args:
            decision_id: Of the decision.
            score: 0 (bad) .. 1 (good).
            source: Who says so.
            metric: Name of the signal.
            meta: Anything that is JSON.
            wait: Return only once it is durable; False queues it, and it may be dropped where the queue is full.

        Raises:
            RequestError: Where ``score`` is no number in 0..1.
            ConfigError: Where the router has no log.
            StoreError: Where it could not be stored (``wait``).
        """
        event = feedback_event(decision_id, self.engine.clock(), score, source=source, metric=metric, meta=meta)
        if self.log is None:
            raise ConfigError("this router has no outcome log; open it with log=…")
        self.learn(decision_id, event.value)
        if wait:
            self.log.append(event)
        else:
            self.log.offer(event)

    def learn(self, decision_id: str, score: float) -> None:
        """Is told of all feedback, before it is logged."""
        del decision_id, score  # nobody learns here

    async def aclose(self) -> None:
        """Closes this event loop's connections, the log and the budgets."""
        await self.engine.aclose()
        self.close()

    def close(self) -> None:
        """Ends the synchronous calls that run and closes their connections, the log and the budgets."""
        self._background.stop()
        if self.log is not None:
            self.log.close()
        if self.engine.budgets is not None:
            self.engine.budgets.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _prepare(
        self, messages: Messages, options: dict[str, Any]
    ) -> tuple[Registry, Decision, ChatRequest, list[Limit], ExecutionSettings]:
        registry = self.current_registry()
        more = options.pop("limits", ())
        told = {name: value for name, value in options.items() if name not in _ROUTE and name not in _EXECUTION}
        told |= {name: options[name] for name in _TOLD if options.get(name) is not None}
        extra = told.pop("extra", {})
        if unknown := told.keys() - _KNOWN:
            raise ConfigError(f"unknown option {sorted(unknown)[0]!r}; fields for the provider alone go into extra")
        request = ChatRequest.from_openai({**extra, **told, "messages": _as_list(messages)})
        route = Options(**{name: value for name, value in options.items() if name in _ROUTE})
        tier = registry.tiers.get(route.tier) if route.tier is not None else None
        limits = limits_for(tier, None if route.user is None else hash_user(route.user, self._user_salt))
        limits += more
        changes = {_EXECUTION[name]: options[name] for name in _EXECUTION if name in options}
        settings = replace(self.engine.settings, **changes) if changes else self.engine.settings
        return registry, self._decide(messages, route, limits), request, limits, settings

    def _decide(self, messages: Messages, route: Options, limits: list[Limit]) -> Decision:
        """The decision within what the budgets leave; past them the engine's reservation says what is missing."""
        budgets = self.engine.budgets
        if budgets is None or not limits:
            return self.decide_for(messages, route)
        left = budgets.headroom(limits)
        for bound in dict.fromkeys((call_allowance(left), left.usd)):
            if bound is None:
                break
            usual = math.inf if route.headroom_usd is None else route.headroom_usd
            try:
                return self.decide_for(messages, route._replace(headroom_usd=min(usual, float(bound))))
            except NoCandidateError:
                continue  # nothing is that cheap: the next bound is wider
        return self.decide_for(messages, route)


def feedback_event(
    decision_id: str,
    now: float,
    score: float,
    *,
    source: FeedbackSource = "user",
    metric: str = "score",
    meta: Mapping[str, Any] | None = None,
) -> Feedback:
    """The event of :meth:`Calling.feedback`.

    Raises:
        RequestError: Where ``score`` is no number in 0..1.
    """
    if not (math.isfinite(score) and 0.0 <= score <= 1.0):
        raise RequestError(f"feedback: score is {score!r}, expected a number in 0..1")
    return Feedback(decision_id, now, metric, float(score), source, dict(meta or {}))


def _as_list(messages: Messages) -> Sequence[Mapping[str, Any]]:
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
