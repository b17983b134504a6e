"""``registry.yaml`` → :class:`Registry`: strict, each problem with file, line and the key meant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from router_runtime.errors import RegistryError
from router_runtime.policy_settings import EXPLORATIONS, STRATEGIES, PolicySettings
from router_runtime.registry import (
    ADAPTERS,
    CAPABILITIES,
    LATENCY_NEEDS,
    MAX_BUDGET_USD,
    WINDOWS,
    ArmEntry,
    BudgetEntry,
    CanaryEntry,
    ExperimentEntry,
    GuardEntry,
    IntentEntry,
    ModelEntry,
    PolicyEntry,
    Price,
    ProviderEntry,
    Registry,
    TierEntry,
)
from router_runtime.registry_agents import AgentEntry
from router_runtime.registry_agents_reader import (
    AgentReader,
    agents_folder,
    read_dispatch,
    read_encoder,
    read_local_encoder,
)
from router_runtime.registry_yaml import Section, Value, did_you_mean, mapping, parse_yaml

T = TypeVar("T")

DEFAULT_REGISTRY = Path(__file__).with_name("registry.yaml")
"""The registry that ships with the package."""

_TOP = ("providers", "models", "tiers", "labels", "intents", "policy", "experiments", "state", "canary", "encoder")
_AGENTS = ("agents", "agents_dir", "dispatch", "memory")
_CACHE = ("cache_ttl_s", "cache_min_tokens")
_NEEDED = frozenset({"messages", "model", "stream"})
_TIMEOUTS = ("connect_timeout_s", "first_token_timeout_s", "idle_timeout_s", "timeout_s")


def load_registry(path: str | Path = DEFAULT_REGISTRY) -> Registry:
    """Reads and checks a registry file.

    Raises:
        RegistryError: Where the file cannot be read or is not valid; with file and line.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise RegistryError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=str(path)) from error
    return parse_registry(data, file=str(path))


def parse_registry(data: bytes, file: str = "registry.yaml") -> Registry:
    """As :func:`load_registry`, from the bytes of a file named ``file``."""
    top = Section(parse_yaml(data, file), "the registry", _TOP + _AGENTS)
    providers = _entries(top, "providers", _provider)
    models = _entries(top, "models", _model)
    if not models:
        raise top.value.error("the registry lists no model")
    names = _names(top, models)
    _check_providers(top, models, providers)
    refer = _Reference(names)
    tiers = _entries(top, "tiers", lambda name, value: _tier(name, value, refer))
    intents = _entries(top, "intents", lambda name, value: _intent(name, value, refer))
    folder, agents = agents_folder(top), AgentReader(refer.one, _agent_budgets, tiers, intents).section(top)
    return Registry(
        providers=providers,
        models=models,
        tiers=tiers,
        labels={name: _label(name, value, refer) for name, value in top.named("labels")},
        intents=intents,
        policy=_policy(top, refer),
        experiments=_entries(top, "experiments", lambda name, value: _experiment(name, value, refer, tiers)),
        names=names,
        version=_version(data, () if folder is None else agents.values()),
        state=_state(top),
        canary=_canary(top),
        agents=agents,
        agents_dir=folder,
        dispatch=read_dispatch(top),
        memory_encoder=read_encoder(top, providers),
        encoder=read_local_encoder(top.get("encoder"), "encoder") if "encoder" in top else None,
    )


def _version(data: bytes, elsewhere: Iterable[AgentEntry]) -> str:
    """Of the file, and of the agents that stand in others."""
    told = "".join(json.dumps(asdict(entry), default=sorted) for entry in elsewhere)
    return hashlib.sha256(data + told.encode()).hexdigest()[:12]


def _agent_budgets(section: Section) -> tuple[tuple[str, float | None, int | None], ...]:
    return tuple((one.window, one.usd, one.tokens) for one in _budgets(section, "budgets"))


def _state(top: Section) -> str | None:
    """The URL of what replicas share."""
    url = top.text("state", None)
    if url is None or url.startswith(("redis://", "rediss://", "unix://")):
        return None if url is None else str(url)
    raise top.get("state").error("state must be a URL such as redis://host:6379/0")  # its text may hold a password


class _Reference:
    """Resolves names and aliases of models that other sections use."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def one(self, name: str, place: Value) -> str:
        if name not in self._names:
            raise place.error(f"unknown model {name!r}{did_you_mean(name, self._names)}")
        return self._names[name]

    def many(self, section: Section, key: str) -> tuple[str, ...]:
        found = [self.one(name, section.get(key)) for name in section.texts(key)]
        return tuple(dict.fromkeys(found))


def _entries(top: Section, key: str, read: Callable[[str, Value], T]) -> dict[str, T]:
    return {name: read(name, value) for name, value in top.named(key)}


def _provider(name: str, value: Value) -> ProviderEntry:
    keys = ("adapter", "base_url", "api_key_env", "headers", "max_connections", "drop_params", *_CACHE, *_TIMEOUTS)
    section = Section(value, f"providers.{name}", keys)
    defaults = ProviderEntry(name, "", "")
    return ProviderEntry(
        name=name,
        adapter=section.choice("adapter", ADAPTERS),
        base_url=_base_url(section),
        api_key_env=section.text("api_key_env", None),
        headers={key: _header(key, item) for key, item in section.named("headers")},
        max_connections=section.whole("max_connections", None),
        cache_ttl_s=section.number("cache_ttl_s", defaults.cache_ttl_s),
        cache_min_tokens=section.whole("cache_min_tokens", defaults.cache_min_tokens),
        drop_params=_drop_params(section),
        **{key: section.number(key, getattr(defaults, key), low=0.001) for key in _TIMEOUTS},
    )


def _header(name: str, value: Value) -> str:
    text = value.text(f"the header {name}")
    if not all(part.isascii() and part.isprintable() for part in (name, text)):
        raise value.error(f"the header {name!r} holds characters that no HTTP header may hold (a line end?)")
    return text


def _base_url(section: Section) -> str:
    url = str(section.text("base_url"))
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username and not parts.query
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise section.get("base_url").error(
            "base_url must be http(s)://host[:port][/path], without a user or a query; keys belong in api_key_env"
        )
    return url.rstrip("/")


def _model(name: str, value: Value) -> ModelEntry:
    keys = ("provider", "upstream_id", "aliases", "prices", "context_window", "max_output_tokens", "capabilities")
    more = ("latency_ms", "flags", "enabled", "strengths", "quality_prior", "self_hosted", "drop_params")
    section = Section(value, f"models.{name}", keys + more)
    return ModelEntry(
        name=name,
        provider=section.text("provider"),
        upstream_id=section.text("upstream_id", name),
        prices=_prices(section),
        aliases=section.texts("aliases"),
        context_window=section.whole("context_window", 128_000),
        max_output_tokens=section.whole("max_output_tokens", None),
        capabilities=_choices(section, "capabilities", CAPABILITIES),
        latency_ms=section.number("latency_ms", None),
        flags=frozenset(section.texts("flags")),
        enabled=section.flag("enabled", True),
        strengths=section.weights("strengths", high=1.0),
        quality_prior=section.number("quality_prior", 0.5, high=1.0),
        self_hosted=section.flag("self_hosted", False),
        drop_params=_drop_params(section),
    )


def _drop_params(section: Section) -> frozenset[str]:
    found = frozenset(section.texts("drop_params"))
    if needed := sorted(found & _NEEDED):
        raise section.get("drop_params").error(
            f"{section.what}.drop_params holds {needed[0]!r}, which no call can lack"
        )
    return found


def _prices(section: Section) -> tuple[Price, ...]:
    prices = [_price(value, section.what) for value in section.values("prices")]
    if not prices:
        raise section.value.error(f"{section.what} lacks prices; a free model has input: 0 and output: 0")
    days = [price.valid_from for price in prices]
    if len(set(days)) != len(days):
        raise section.get("prices").error(f"{section.what} has two prices for one valid_from")
    return tuple(sorted(prices, key=lambda price: price.valid_from))


def _price(value: Value, what: str) -> Price:
    section = Section(value, f"{what}.prices", ("valid_from", "input", "output", "cached_input"))
    text = section.text("valid_from")
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise section.get("valid_from").error(f"valid_from is {text!r}, expected a day such as 2026-04-01") from error
    return Price(day, section.number("input"), section.number("output"), section.number("cached_input", None))


def _choices(section: Section, key: str, options: Collection[str]) -> frozenset[str]:
    found = section.texts(key)
    for name in found:
        if name not in options:
            raise section.get(key).error(
                f"{section.what}.{key} holds {name!r}{did_you_mean(name, options)}; known: {', '.join(options)}"
            )
    return frozenset(found)


def _names(top: Section, models: Mapping[str, ModelEntry]) -> dict[str, str]:
    """Every name and alias → the model; nothing may mean two models."""
    names = {name: name for name in models}
    for key, value in top.named("models"):
        for alias in models[key].aliases:
            if alias in names:
                raise value.error(f"the alias {alias!r} of {key!r} already means {names[alias]!r}")
            if alias == "auto":
                raise value.error("the alias 'auto' would hide the router's own choice")
            names[alias] = key
    return names


def _check_providers(top: Section, models: Mapping[str, ModelEntry], providers: Mapping[str, ProviderEntry]) -> None:
    for key, value in top.named("models"):
        provider = models[key].provider
        if provider not in providers:
            raise value.error(f"{key!r} names the unknown provider {provider!r}{did_you_mean(provider, providers)}")


def _tier(name: str, value: Value, refer: _Reference) -> TierEntry:
    keys = ("models", "budgets", "user_budgets", "explore", "strategy", "quality_target", "trade_off", "max_cost_usd")
    section = Section(value, f"tiers.{name}", keys)
    return TierEntry(
        name=name,
        models=frozenset(refer.many(section, "models")) if "models" in section else None,
        budgets=_budgets(section, "budgets"),
        user_budgets=_budgets(section, "user_budgets"),
        explore=section.flag("explore", True),
        max_cost_usd=section.number("max_cost_usd", None),
        **_overrides(section),
    )


def _overrides(section: Section) -> dict[str, Any]:
    """What tiers and arms may change of the policy."""
    return {
        "strategy": section.choice("strategy", STRATEGIES, None),
        "quality_target": section.number("quality_target", None, high=1.0),
        "trade_off": section.number("trade_off", None, high=1.0),
    }


def _budgets(section: Section, key: str) -> tuple[BudgetEntry, ...]:
    budgets = []
    for window, value in section.named(key):
        if window not in WINDOWS:
            raise value.error(f"unknown window {window!r}{did_you_mean(window, WINDOWS)}: {', '.join(WINDOWS)}")
        bounds = Section(value, f"{section.what}.{key}.{window}", ("usd", "tokens"))
        budget = BudgetEntry(window, bounds.number("usd", None, high=MAX_BUDGET_USD), bounds.whole("tokens", None))
        if budget.usd is None and budget.tokens is None:
            raise value.error(f"the budget per {window} bounds neither usd nor tokens")
        budgets.append(budget)
    return tuple(budgets)


def _label(name: str, value: Value, refer: _Reference) -> dict[str, float]:
    weights = {}
    for model, weight in mapping(value, f"labels.{name}").items():
        weights[refer.one(model, weight)] = weight.number(f"labels.{name}.{model}")
    if not weights:
        raise value.error(f"the label {name!r} prefers no model")
    return weights


def _intent(name: str, value: Value, refer: _Reference) -> IntentEntry:
    keys = ("description", "labels", "capabilities", "quality_target", "latency_need", "fallback")
    section = Section(value, f"intents.{name}", keys)
    return IntentEntry(
        name=name,
        description=section.text("description", ""),
        labels=section.texts("labels"),
        capabilities=_choices(section, "capabilities", CAPABILITIES),
        quality_target=section.number("quality_target", None, high=1.0),
        latency_need=section.choice("latency_need", LATENCY_NEEDS, "normal"),
        fallback=refer.many(section, "fallback"),
    )


def _policy(top: Section, refer: _Reference) -> PolicyEntry:
    if "policy" not in top:
        return PolicyEntry()
    own = [field.name for field in fields(PolicyEntry) if field.name != "settings"]
    section = Section(top.get("policy"), "policy", [*PolicySettings.__slots__, *own])
    usual, entry = PolicySettings(), PolicyEntry()
    shares = ("quality_target", "trade_off", "latency_weight", "epsilon", "quality_floor")
    positive = ("answer_value_usd", "temperature")
    settings = PolicySettings(
        strategy=section.choice("strategy", STRATEGIES, usual.strategy),
        exploration=section.choice("exploration", EXPLORATIONS, usual.exploration),
        **{key: section.number(key, getattr(usual, key), high=1.0) for key in shares},
        **{key: section.number(key, getattr(usual, key), low=1e-6) for key in positive},
    )
    return PolicyEntry(
        settings,
        exploration_budget_usd=section.number("exploration_budget_usd", None, high=MAX_BUDGET_USD),
        deadline_ms=section.number("deadline_ms", entry.deadline_ms, low=1e-6),
        static_order=refer.many(section, "static_order"),
        output_tokens=section.number("output_tokens", entry.output_tokens, low=1e-6),
    )


def _experiment(name: str, value: Value, refer: _Reference, tiers: Collection[str]) -> ExperimentEntry:
    section = Section(value, f"experiments.{name}", ("unit", "arms", "tiers"))
    arms = tuple(_arm(arm, item, f"{section.what}.{arm}", refer) for arm, item in section.named("arms"))
    if len(arms) < 2 or abs(sum(arm.share for arm in arms) - 1.0) > 1e-6:
        raise value.error(f"the experiment {name!r} needs two arms or more, with shares that sum to 1")
    unit = section.choice("unit", ("user", "session"), "user")
    return ExperimentEntry(name, unit, arms, section.known("tiers", tiers))


def _arm(name: str, value: Value, what: str, refer: _Reference) -> ArmEntry:
    keys = ("share", "model", "strategy", "trade_off", "quality_target", "bundle")
    section = Section(value, what, keys)
    model = section.text("model", None)
    return ArmEntry(
        name=name,
        share=section.number("share", high=1.0),
        model=None if model is None else refer.one(model, section.get("model")),
        bundle=section.text("bundle", None),
        **_overrides(section),
    )


def _canary(top: Section) -> CanaryEntry | None:
    if "canary" not in top:
        return None
    section = Section(top.get("canary"), "canary", ("bundle", "share", "unit", "guard"))
    return CanaryEntry(
        bundle=section.text("bundle"),
        share=section.number("share", high=1.0),
        unit=section.choice("unit", ("user", "session"), "session"),
        guard=_guard(section),
    )


def _guard(canary: Section) -> GuardEntry:
    if "guard" not in canary:
        return GuardEntry()
    section = Section(canary.get("guard"), "canary.guard", GuardEntry.__slots__)
    usual = GuardEntry()
    return GuardEntry(
        min_decisions=section.whole("min_decisions", usual.min_decisions),
        error_rate=section.number("error_rate", usual.error_rate, high=1.0),
        quality=section.number("quality", usual.quality, high=1.0),
        cost=section.number("cost", usual.cost),
    )
