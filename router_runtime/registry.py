"""The registry: which models there are, what they cost, who may use them, and how a choice is made by default.

Frozen types only; :mod:`router_runtime.registry_reader` reads them from ``registry.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

from router_runtime.errors import UnknownModelError
from router_runtime.policy_settings import PolicySettings, Strategy
from router_runtime.records import LatencyNeed
from router_runtime.registry_agents import AgentEntry, DispatchEntry, EndpointEncoderEntry, OnnxEncoderEntry
from router_runtime.registry_yaml import did_you_mean

ADAPTERS = ("openai", "openai-responses", "openai-compatible", "anthropic", "gemini", "deepseek", "openrouter")
CAPABILITIES = ("tools", "vision", "audio", "files", "json", "streaming", "reasoning", "agents", "caching")
LATENCY_NEEDS = ("interactive", "normal", "batch")

Window = Literal["minute", "day", "month"]
MAX_BUDGET_USD = 9_000_000.0
"""Of any budget: counts are 64-bit integers of pico-dollars, which end at 9.2 million."""
WINDOWS: tuple[Window, ...] = ("minute", "day", "month")


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """Where calls go.

    Args:
        name: The registry's name.
        adapter: The wire format, one of :data:`ADAPTERS`.
        base_url: http or https, without a trailing slash.
        api_key_env: Name of the environment variable that holds the key; None where no key is needed.
        headers: Sent with each call, beside the adapter's own.
        connect_timeout_s, first_token_timeout_s, idle_timeout_s, timeout_s: To connect, to the first content of a
            stream, between two pieces of an answer, and for a whole answer.
        max_connections: Calls under way there at a time in one event loop, each over a connection of its own; further
            ones wait, or go on to the next model. None = any number.
        drop_params: Fields of requests that none of its models takes; they are left out.
        cache_ttl_s: How long it keeps a prompt to read it again at ``cached_input``; 0 where it does not.
        cache_min_tokens: Length of a prompt from which on it does.
    """

    name: str
    adapter: str
    base_url: str
    api_key_env: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    connect_timeout_s: float = 5.0
    first_token_timeout_s: float = 30.0
    idle_timeout_s: float = 30.0
    timeout_s: float = 300.0
    max_connections: int | None = None
    drop_params: frozenset[str] = frozenset()
    cache_ttl_s: float = 300.0
    cache_min_tokens: int = 1024


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens from a day on (00:00 UTC); prices are appended, never overwritten.

    Args:
        valid_from: First day.
        input, output: USD per million prompt and completion tokens.
        cached_input: USD per million prompt tokens read from the provider's cache; None = as ``input``.
    """

    valid_from: date
    input: float
    output: float
    cached_input: float | None = None


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model.

    Args:
        name: The registry's name, the one in decisions and logs.
        provider: Name of its provider.
        upstream_id: The provider's name of it.
        prices: By day, oldest first; never empty.
        aliases: Other names that callers may use.
        context_window: Tokens of prompt and answer together.
        max_output_tokens: The most that is asked of it; None where only the window bounds them.
        capabilities: Of :data:`CAPABILITIES`.
        latency_ms: What is expected of a call (SLA); None where nothing is known.
        flags: Switches shared by several models: ``pointsman disable flag:NAME`` takes out all that carry NAME.
        enabled: False takes it out until the registry changes.
        strengths: Expected quality by label or domain, 0..1; for models that the bundle does not know.
        quality_prior: Expected quality overall, 0..1; as above.
        self_hosted: True where prompts do not leave the house.
        drop_params: Fields of requests that it answers with an error, such as ``temperature``; they are left out.
    """

    name: str
    provider: str
    upstream_id: str
    prices: tuple[Price, ...]
    aliases: tuple[str, ...] = ()
    context_window: int = 128_000
    max_output_tokens: int | None = None
    capabilities: frozenset[str] = frozenset({"streaming"})
    latency_ms: float | None = None
    flags: frozenset[str] = frozenset()
    enabled: bool = True
    strengths: Mapping[str, float] = field(default_factory=dict)
    quality_prior: float = 0.5
    self_hosted: bool = False
    drop_params: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class BudgetEntry:
    """At most ``usd`` and ``tokens`` in each ``window``; None = no bound, but never both."""

    window: Window
    usd: float | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TierEntry:
    """What a class of callers may use.

    Args:
        name: The registry's name.
        models: Allowed models; None = all.
        budgets: Per window, for the whole tier.
        user_budgets: Per window, for each user.
        explore: False keeps its requests out of exploration.
        strategy, quality_target, trade_off, max_cost_usd: Override the policy's; None = the policy's.
    """

    name: str
    models: frozenset[str] | None = None
    budgets: tuple[BudgetEntry, ...] = ()
    user_budgets: tuple[BudgetEntry, ...] = ()
    explore: bool = True
    strategy: Strategy | None = None
    quality_target: float | None = None
    trade_off: float | None = None
    max_cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class IntentEntry:
    """What a caller may declare instead of a model.

    Args:
        name: The registry's name.
        description: For people, and for matching unknown intents.
        labels: Labels that it stands for.
        capabilities: What a model must have.
        quality_target: Overrides the policy's; None = the policy's.
        latency_need: How soon an answer is needed.
        fallback: Models to try first when the choice fails, in order.
    """

    name: str
    description: str = ""
    labels: tuple[str, ...] = ()
    capabilities: frozenset[str] = frozenset()
    quality_target: float | None = None
    latency_need: LatencyNeed = "normal"
    fallback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """How a choice is made where nothing else is said.

    Args:
        settings: Of the policy itself.
        exploration_budget_usd: The most that exploration may cost in a day (UTC) beyond the best choices, by predicted
            costs; None = no bound.
        deadline_ms: A decision that would take longer uses the static table.
        static_order: Models by preference for the static table (after the labels' own preferences).
        output_tokens: Expected completion tokens where no bundle predicts them.
    """

    settings: PolicySettings = field(default_factory=PolicySettings)
    exploration_budget_usd: float | None = None
    deadline_ms: float = 50.0
    static_order: tuple[str, ...] = ()
    output_tokens: float = 400.0


@dataclass(frozen=True, slots=True)
class ArmEntry:
    """One arm of an experiment; None = as without the experiment.

    Args:
        name: Unique in its experiment.
        share: Share of the units, 0..1; the shares of an experiment sum to 1.
        model: One fixed model (a holdout baseline).
        strategy, trade_off, quality_target: Of the policy.
        bundle: Path of another bundle; a relative one starts at the registry's folder.
    """

    name: str
    share: float
    model: str | None = None
    strategy: Strategy | None = None
    trade_off: float | None = None
    quality_target: float | None = None
    bundle: str | None = None


@dataclass(frozen=True, slots=True)
class ExperimentEntry:
    """A randomised comparison.

    Args:
        name: Unique; also salts the assignment.
        unit: What is assigned: each user or each session.
        arms: At least two.
        tiers: Only these tiers take part; None = all.
    """

    name: str
    unit: Literal["user", "session"]
    arms: tuple[ArmEntry, ...]
    tiers: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class GuardEntry:
    """When a canary is withdrawn: where the interval shows that it is worse than the rest by more than this.

    Args:
        min_decisions: Decisions of the canary below which nothing is judged.
        error_rate: Rise of the share of failed calls, 0..1.
        quality: Fall of mean satisfaction, 0..1.
        cost: Relative rise of the mean cost; 0.25 = 25 %.
    """

    min_decisions: int = 200
    error_rate: float = 0.02
    quality: float = 0.05
    cost: float = 0.25


@dataclass(frozen=True, slots=True)
class CanaryEntry:
    """A share of the traffic that another bundle decides.

    Args:
        bundle: Path of its folder; a relative one starts at the registry's.
        share: Share of the units, 0..1.
        unit: What is assigned: each user or each session.
        guard: When it is withdrawn.
    """

    bundle: str
    share: float
    unit: Literal["user", "session"] = "session"
    guard: GuardEntry = field(default_factory=GuardEntry)


@dataclass(frozen=True)
class Registry:
    """All of ``registry.yaml``, checked.

    Args:
        labels: label → model → weight (≥ 0), for capability-first and the static table.
        names: Every name and alias → the model's name.
        version: Short sha256 of the file, and of those of ``agents_dir``.
        state: URL of the Redis that replicas share; None = each process for itself.
        canary: The share of another bundle, or None.
        agents: By name.
        agents_dir: Folder of files with one agent each; None = there is none.
        dispatch: How a task that names no agent gets one.
        memory_encoder: What makes the vectors of the memory; None = the one that needs no network.
        encoder: Reads requests for bundles that were trained with it; None = bundles read words alone.
    """

    providers: Mapping[str, ProviderEntry]
    models: Mapping[str, ModelEntry]
    tiers: Mapping[str, TierEntry]
    labels: Mapping[str, Mapping[str, float]]
    intents: Mapping[str, IntentEntry]
    policy: PolicyEntry
    experiments: Mapping[str, ExperimentEntry]
    names: Mapping[str, str]
    version: str
    state: str | None = field(default=None, repr=False)
    canary: CanaryEntry | None = None
    agents: Mapping[str, AgentEntry] = field(default_factory=dict)
    agents_dir: Path | None = None
    dispatch: DispatchEntry = field(default_factory=DispatchEntry)
    memory_encoder: EndpointEncoderEntry | OnnxEncoderEntry | None = None
    encoder: OnnxEncoderEntry | None = None

    def model(self, name: str) -> ModelEntry:
        """The model that ``name`` or an alias means.

        Raises:
            UnknownModelError: Naming the model meant, where one is close.
        """
        try:
            return self.models[self.names[name]]
        except KeyError as error:
            raise UnknownModelError(f"no model or alias {name!r}{did_you_mean(name, self.names)}") from error
