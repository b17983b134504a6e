"""The router: the face of the package."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Unpack, get_args

from router_runtime import deciding
from router_runtime.agents import Agent, Roster
from router_runtime.agents.matching import Task
from router_runtime.agents.reading import task_of
from router_runtime.budgets import BudgetCounts
from router_runtime.bundle import Bundle
from router_runtime.calling import Calling
from router_runtime.deciding import Choice, Floats, Predicted
from router_runtime.errors import ConfigError, NoCandidateError, PredictionError
from router_runtime.execution import Engine
from router_runtime.experiments import enroll
from router_runtime.exploring import Explorer
from router_runtime.features import Features, extract
from router_runtime.filters import HealthView, estimate_tokens, fit_context
from router_runtime.hooks import Bell, DeadlineMissed, Decided, Observer, PredictionFailed, RouterEvent
from router_runtime.keeping import LogPrompts, keeps_features, kept_counts, kept_features, kept_text
from router_runtime.live import Live
from router_runtime.messages import Messages, Request, read_request
from router_runtime.needs import needs_of
from router_runtime.options import Options, RouteOptions
from router_runtime.outcome_log import OutcomeLog, open_log
from router_runtime.overrides import default_state_dir
from router_runtime.providers.catalog import adapter
from router_runtime.records import Attempt, Decision, uuid7
from router_runtime.registry import IntentEntry, Registry
from router_runtime.registry_reader import DEFAULT_REGISTRY
from router_runtime.snapshot import Plan, Snapshot, View, Wish
from router_runtime.state import SharedState

_USUAL_STATE: Any = object()
_MAX_SALT_BYTES = 64


def _usual_salt() -> bytes:
    """The variable's, or one that everybody knows: hashes are then no secret to whoever can guess the ids."""
    return os.environ.get("POINTSMAN_USER_SALT", "pointsman").encode("utf-8", "surrogateescape")


@dataclass(frozen=True, kw_only=True)
class RouterSettings:
    """What a router is given from outside.

    Args:
        clock: UTC seconds since the epoch.
        timer: Monotonic seconds, for the deadline and for when to look at files.
        seed: Makes ids and draws repeatable; None = from the system.
        health: Live health of the providers; None = the engine's.
        engine: Carries out calls; None = one with the usual settings.
        budgets: Counts of spending for the usual engine; None = limits of tiers are not kept.
        log: Takes decisions, attempts and feedback.
        observers: Are told what happens, see :mod:`router_runtime.hooks`.
        log_prompts: What a decision keeps of the request: its text (``full``); its text without what looks private
            (:mod:`router_runtime.redaction`), with the features of the original, so that retraining loses nothing
            (``redacted``); those features alone (``features``); or nothing (``none``).
        user_salt: Secret for the hashes of user ids, at most 64 bytes; by default the environment's
            ``POINTSMAN_USER_SALT``. Another one makes others of all users: budgets for each user begin anew.
        state: What replicas share (budgets, health, disabled models); None = the registry's ``state``, where it names
            one. Its budgets take the place of ``budgets``.

    Raises:
        ConfigError: ``log_prompts`` is another word, or the salt is too long.
    """

    clock: Callable[[], float] = time.time
    timer: Callable[[], float] = time.perf_counter
    seed: int | None = None
    health: HealthView | None = None
    engine: Engine | None = None
    budgets: BudgetCounts | None = None
    log: OutcomeLog | None = None
    observers: tuple[Observer, ...] = ()
    log_prompts: LogPrompts = "none"
    user_salt: bytes = field(default_factory=_usual_salt, repr=False)
    state: SharedState | None = None

    def __post_init__(self) -> None:
        if self.log_prompts not in get_args(LogPrompts):
            allowed = ", ".join(get_args(LogPrompts))
            raise ConfigError(f"log_prompts is {self.log_prompts!r}, expected one of {allowed}")
        if len(self.user_salt) > _MAX_SALT_BYTES:
            raise ConfigError(f"the salt of user ids has {len(self.user_salt)} bytes, {_MAX_SALT_BYTES} at most")


class Weighed(NamedTuple):
    """What a decision came from; ``features`` is None where the request was not read."""

    snapshot: Snapshot
    request: Request
    options: Options
    intent: IntentEntry | None
    plan: Plan
    predicted: Predicted
    features: Features | None
    health: Floats | None
    labels: tuple[str, ...]
    order: tuple[str, ...] = ()


class Router(Calling):
    """Chooses a model for each request, and calls it; any number of threads may use one. Made by :meth:`open`.

    Attributes:
        live: What serves now.
        counts: ``decisions``, ``deadline_missed`` and ``predictions_failed`` since the start.
    """

    def __init__(self, live: Live, settings: RouterSettings) -> None:
        super().__init__(_engine(settings), settings.log, settings.user_salt)
        self.live, self.settings = live, settings
        self.counts: Counter[str] = Counter()
        self._clock, self._timer = settings.clock, settings.timer
        self._explorer = Explorer(self.engine.budgets, settings.clock)
        seed = settings.seed
        self._entropy: Callable[[int], bytes] = os.urandom if seed is None else random.Random(seed).randbytes  # noqa: S311 - repeatable on purpose

    @classmethod
    def open(
        cls,
        bundle: str | Path | Bundle | None = None,
        *,
        registry: str | Path | Registry = DEFAULT_REGISTRY,
        state_dir: str | Path | None = _USUAL_STATE,
        **settings: Any,
    ) -> Router:
        """Opens a router; files that are named by path are watched, and taken over when they change.

        Args:
            bundle: Folder of a bundle, or an opened one; None = the static table and the registry's priors.
            registry: Path of a registry, or a loaded one; the shipped one by default.
            state_dir: Where ``pointsman disable`` writes; None = nowhere; by default
                :func:`router_runtime.overrides.default_state_dir`.
            settings: The fields of :class:`RouterSettings`; ``log`` may also be a folder, or the URL of a
                store, and ``state`` the URL of a Redis.

        Raises:
            RegistryError: The registry is not valid.
            BundleError: The bundle is refused.
            StoreError: The state of disabled models cannot be read.
        """
        given_state = settings.pop("state", None)
        chosen = _settings(settings)
        folder = default_state_dir() if state_dir is _USUAL_STATE else state_dir

        def observe(event: RouterEvent) -> None:
            for observer in chosen.observers:
                observer(event)

        live = Live(
            Path(registry) if isinstance(registry, str) else registry,
            Path(bundle) if isinstance(bundle, str) else bundle,
            None if folder is None else Path(folder),
            chosen.clock,
            observe,
            chosen.timer,
        )
        shared = _shared(given_state, live.snapshot(chosen.clock()).registry.state, observe, chosen.clock)
        router = cls(live, chosen if shared is None else _sharing(chosen, shared))
        if shared is not None:
            shared.start(router.engine.health, live.share_disabled)
        return router

    def route(self, messages: Messages, **options: Unpack[RouteOptions]) -> Decision:
        """Decides which model shall answer; no I/O, well under a millisecond.

        Args:
            messages: A prompt, or messages in OpenAI's or Anthropic's shape.
            options: See :class:`router_runtime.options.RouteOptions`.

        Raises:
            NoCandidateError: No model is left; holds the reason of each.
            ConfigError: Unknown tier or model, or a number out of range.
            RequestError: The messages cannot be read.
        """
        return self.decide(messages, Options(**options))[0]

    def decide(self, messages: Messages, options: Options) -> tuple[Decision, Weighed]:
        """As :meth:`route`, with what the decision came from."""
        started, now = self._timer(), self._clock()
        snapshot = self.live.snapshot(now)
        registry, asked = snapshot.registry, options
        if registry.experiments or snapshot.arms:
            options = enroll(registry, asked, snapshot.arms)
            snapshot = snapshot.arms.get(options.arm or "", snapshot)
        try:
            weighed = self._weigh(messages, options, started, snapshot)
        except NoCandidateError:
            if options.model == asked.model:
                raise
            # The arm's model cannot serve this call. Another may, and the call stays in the arm that it was drawn for:
            # arms that lose calls of one kind could not be compared.
            weighed = self._weigh(messages, options._replace(model=asked.model), started, snapshot)
        entropy = self._entropy(10)
        seed = int.from_bytes(entropy[:7], "big") >> 3
        weighed, choice = self._choose(weighed, seed)
        decision = self._record(weighed, choice, uuid7(now, entropy), seed, now, started)
        self.counts["decisions"] += 1
        if options.agent is not None:
            self.agents.history.handed(decision.id, options.agent, decision.task.domain)
        if self.settings.observers:
            self._tell(Decided(decision))
        return decision, weighed

    def _choose(self, weighed: Weighed, seed: int) -> tuple[Weighed, Choice]:
        """The draw; with the plan that was in force, which the cap on exploration may change."""
        predicted, plan, labels, health = weighed.predicted, weighed.plan, weighed.labels, weighed.health
        if weighed.order:
            return weighed, deciding.choose(predicted, plan.settings, labels, health, seed, weighed.order)
        cap = weighed.snapshot.registry.policy.exploration_budget_usd
        plan, choice = self._explorer.choose(predicted, plan, labels, health, seed, cap)
        return (weighed if plan is weighed.plan else weighed._replace(plan=plan)), choice

    def decide_for(self, messages: Messages, options: Options) -> Decision:
        """See :class:`router_runtime.calling.Calling`."""
        return self.decide(messages, options)[0]

    def current_registry(self) -> Registry:
        """The registry in force."""
        return self.live.snapshot(self._clock()).registry

    def runs_encoder(self) -> bool:
        """See :class:`router_runtime.calling.Calling`."""
        return self.live.snapshot(self._clock()).runs_encoder

    @cached_property
    def agents(self) -> Roster:
        """The agents of the registry in force."""

        def read(messages: Messages, options: Options) -> Task:
            return task_of(self.live.snapshot(self._clock()), messages, options)

        return Roster(self, read, lambda: int.from_bytes(self._entropy(7), "big") >> 3)

    def agent(self, name: str) -> Agent:
        """The agent ``name``, to call as the router is called; ``"auto"`` = for each task the one that fits.

        Raises:
            UnknownModelError: The registry lists no such agent.
        """
        return Agent(self.agents, None if name == "auto" else self.agents.entry(name).name)

    def learn(self, decision_id: str, score: float) -> None:
        """See :class:`router_runtime.calling.Calling`; agents learn what came of their tasks."""
        self.agents.history.learn(decision_id, score)

    def listen(self, observer: Observer) -> None:
        """Tells ``observer`` of all events from now on, beside those of :class:`RouterSettings`.

        Raises:
            ConfigError: The router was not made by :meth:`open`.
        """
        for one in self.settings.observers:
            if isinstance(one, Bell):
                one.add(observer)
                return
        raise ConfigError("only a router made by Router.open takes observers later")

    def close(self) -> None:
        """See :class:`router_runtime.calling.Calling`; leaves the shared state, too."""
        super().close()
        if self.settings.state is not None:
            self.settings.state.close()

    def _doors(self) -> HealthView | None:
        """Health, where there is any to look at."""
        if self.settings.health is not None:
            return self.settings.health
        return None if self.engine.health.untouched else self.engine.health

    def _weigh(self, messages: Messages, options: Options, started: float, snapshot: Snapshot) -> Weighed:
        """All up to the scores."""
        request = read_request(
            messages, tools=options.tools, response_format=options.response_format, intent=options.intent
        )
        intent = None if options.intent is None else snapshot.intent(options.intent, strict=options.strict_intent)
        view = snapshot.view(needs_of(snapshot.registry, request, intent, options))
        if not view.names:
            raise NoCandidateError(view.filtered)
        plan = snapshot.plan(_wish(options, intent))
        tokens = estimate_tokens(request)
        if tokens > view.smallest_window:
            view = fit_context(view, tokens)
        plan, predicted, features = self._predict(snapshot, view, request, plan, tokens, started)
        if options.session is not None:
            held = self.engine.prefixes.held(options.session, view.names, self._clock())
            predicted = deciding.with_cache(predicted, held)
        kept, health = deciding.limit_cost(predicted, _limit(snapshot, options)), None
        doors = self._doors()
        if doors is not None:  # last: what is left out for its health alone may still be the call's last resort
            kept, health = deciding.limit_health(kept, doors)
        labels = _labels(snapshot, options, intent, kept)
        order = tuple([snapshot.registry.model(name).name for name in options.order]) if options.order else ()
        return Weighed(snapshot, request, options, intent, plan, kept, features, health, labels, order)

    def _predict(
        self, snapshot: Snapshot, view: View, request: Request, plan: Plan, tokens: float, started: float
    ) -> tuple[Plan, Predicted, Features | None]:
        """By the bundle where there is one, and time, and it can; else by the static table."""
        entry = snapshot.registry.policy
        if snapshot.bundle is None:
            features = extract(request) if keeps_features(request, self.settings.log_prompts) else None
            return plan, deciding.assume(view, tokens, entry.output_tokens), features
        features = extract(request)
        late = self._late(started, entry.deadline_ms, "features")
        predicted = None if late else self._scored(view, snapshot.bundle, features, request.text, tokens)
        if predicted is not None and not self._late(started, entry.deadline_ms, "scores"):
            return plan, predicted, features
        return (
            snapshot.plan(Wish(strategy="static", explore=False)),
            deciding.assume(view, tokens, entry.output_tokens),
            features,
        )

    def _scored(self, view: View, bundle: Bundle, features: Features, text: str, tokens: float) -> Predicted | None:
        """By the bundle; None where it fails, which is counted and told."""
        try:
            return deciding.predict(view, bundle, bundle.encoded(features, text), tokens)
        except PredictionError as error:
            self.counts["predictions_failed"] += 1
            self._tell(PredictionFailed(error))
            return None

    def _late(self, started: float, deadline_ms: float, step: str) -> bool:
        """Whether the deadline has passed; counts and tells it."""
        elapsed = (self._timer() - started) * 1e3
        if elapsed <= deadline_ms:
            return False
        self.counts["deadline_missed"] += 1
        self._tell(DeadlineMissed(elapsed, step))
        return True

    def _record(
        self, weighed: Weighed, choice: Choice, decision_id: str, seed: int, now: float, started: float
    ) -> Decision:
        snapshot, options, predicted = weighed.snapshot, weighed.options, weighed.predicted
        need = options.latency_need or (weighed.intent.latency_need if weighed.intent is not None else "normal")
        log = self.settings.log_prompts
        return Decision(
            id=decision_id,
            time=now,
            chosen=predicted.view.names[choice.chosen],
            propensity=choice.propensity,
            candidates=deciding.candidates(predicted, choice),
            filtered=dict(predicted.view.filtered),
            task=deciding.task_profile(predicted, weighed.request, need),
            policy=weighed.plan.settings.strategy,
            policy_version=weighed.plan.version,
            bundle_version="none" if snapshot.bundle is None else snapshot.bundle.version,
            price_version=snapshot.prices.version,
            session=options.session,
            tier=options.tier,
            user_hash=None if options.user is None else deciding.hash_user(options.user, self.settings.user_salt),
            intent=options.intent,
            matched_intent=None if weighed.intent is None else weighed.intent.name,
            agent=options.agent,
            agent_propensity=_share_of(options),
            agent_dist=None if options.agent_dist is None else dict(options.agent_dist),
            labels=weighed.labels,
            arm=options.arm,
            seed=seed,
            prompt=kept_text(weighed.request.text, log),
            features=kept_features(weighed.features, weighed.request, log),
            counts=kept_counts(weighed.request, log),
            elapsed_ms=(self._timer() - started) * 1e3,
        )

    def _tell(self, event: RouterEvent) -> None:
        for observer in self.settings.observers:
            observer(event)


def _settings(given: dict[str, Any]) -> RouterSettings:
    """Settings as they were given to :meth:`Router.open`."""
    log = given.get("log")
    if isinstance(log, str | Path):
        log = open_log(log, default_state_dir() / "outbox")
    observers = (Bell(*given.get("observers", ()), *(() if log is None else (log.observe,))),)
    return RouterSettings(**{**given, "log": log, "observers": observers})


def _shared(
    given: SharedState | str | None, named: str | None, observer: Observer, clock: Callable[[], float]
) -> SharedState | None:
    """The state to share: the one that was given, else the registry's."""
    if isinstance(given, SharedState):
        return given
    url = named if given is None else given
    return None if url is None else SharedState(url, observer, clock=clock)


def _sharing(settings: RouterSettings, state: SharedState) -> RouterSettings:
    """``settings`` with the shared budgets in place of their own."""
    if settings.budgets is not None:
        settings.budgets.close()
    return replace(settings, state=state, budgets=state.budgets)


def _engine(settings: RouterSettings) -> Engine:
    """The usual one, or the one that was handed in; observers and log are told of its calls too."""
    observers, given = settings.observers, settings.engine
    if given is not None:
        budgets = given.budgets if settings.state is None else settings.state.budgets
        log = given.log if settings.log is None else _joined(given.log, settings.log.offer)
        return replace(given, observers=given.observers + observers, budgets=budgets, log=log)
    parts: dict[str, Any] = {} if settings.log is None else {"log": settings.log.offer}
    return Engine(adapter, budgets=settings.budgets, clock=settings.clock, observers=observers, **parts)


def _joined(own: Callable[[Attempt], object], log: Callable[[Attempt], object]) -> Callable[[Attempt], object]:
    """Tells both; once where an engine was handed in that writes to the router's log already."""
    if own == log:
        return own

    def tell(attempt: Attempt) -> None:
        own(attempt)
        log(attempt)

    return tell


def _wish(options: Options, intent: IntentEntry | None) -> Wish:
    return Wish(
        tier=options.tier,
        intent=None if intent is None else intent.name,
        strategy="static" if options.order else options.strategy,
        trade_off=options.trade_off,
        quality_target=options.quality_target,
        explore=options.explore and not options.order,
    )


def _share_of(options: Options) -> float | None:
    """Probability with which the task was given to the agent."""
    if options.agent is None or options.agent_dist is None:
        return None
    return options.agent_dist.get(options.agent)


def _limit(snapshot: Snapshot, options: Options) -> float | None:
    """The most that the call may cost, in USD; None = no bound."""
    tier = None if options.tier is None else snapshot.registry.tiers[options.tier].max_cost_usd
    bounds = [bound for bound in (tier, options.max_cost_usd, options.headroom_usd) if bound is not None]
    return min(bounds) if bounds else None


def _labels(snapshot: Snapshot, options: Options, intent: IntentEntry | None, predicted: Predicted) -> tuple[str, ...]:
    """The caller's labels, else the intent's, else the predicted domain where the registry has it as a label."""
    if options.labels:
        return tuple(options.labels)
    if intent is not None and intent.labels:
        return intent.labels
    likely = predicted.domain_probability >= deciding.DOMAIN_THRESHOLD and predicted.domain in snapshot.registry.labels
    return (predicted.domain,) if likely else ()
