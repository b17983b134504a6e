"""Registry, bundle and disabled models as arrays: immutable, made once, so that a decision only reads them.

A :class:`Snapshot` is all models; a :class:`View` is those that a tier, a list of models and the needed capabilities
leave over, with the reasons for the others. Views are cached, because few combinations occur.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from router_runtime.bundle import Bundle
from router_runtime.errors import ConfigError
from router_runtime.flags import Outage, flags_off, outages
from router_runtime.likeness import Likeness
from router_runtime.policy import override
from router_runtime.policy_settings import PolicySettings, Strategy
from router_runtime.pricing import PriceTable, price_table
from router_runtime.registry import IntentEntry, ModelEntry, Registry
from router_runtime.registry_yaml import did_you_mean

Floats = npt.NDArray[np.float64]

K = TypeVar("K")
V = TypeVar("V")

_CACHE_SIZE = 512
INTENT_LIKENESS = 0.55
"""Least likeness at which an unknown intent counts as a known one, see :class:`router_runtime.likeness.Likeness`."""


class Needs(NamedTuple):
    """What is known of a request before its text is read; the key of a view.

    Args:
        capabilities: Sorted names of what a model must have.
        tier: A tier of the registry, or None.
        models: The registry's names of the only models allowed, or None for all.
    """

    capabilities: tuple[str, ...] = ()
    tier: str | None = None
    models: tuple[str, ...] | None = None


class Wish(NamedTuple):
    """What the caller changes of the policy; the key of a plan. None = as the intent, the tier or the policy says."""

    tier: str | None = None
    intent: str | None = None
    strategy: Strategy | None = None
    trade_off: float | None = None
    quality_target: float | None = None
    explore: bool = True


class Plan(NamedTuple):
    """Settings with their fingerprint, which is asked for in every decision."""

    settings: PolicySettings
    version: str


@dataclass(frozen=True, eq=False)
class View:
    """C candidates of a snapshot.

    Args:
        names: Of the registry.
        targets: (provider, model) of each, for health.
        indices: int64 [C], index in the bundle, or the one for unknown models.
        descriptor: float32 [C, 1 + D], prior and strengths for the scorer.
        known: Whether the bundle knows it.
        evidence: float64 [C], labels that the bundle learnt its quality from; 0 where it knows it not.
        priors: float64 [C], quality without a bundle.
        input_scale: float64 [C], prompt tokens that the provider counts for each that is estimated; 1 where unknown.
        price_in, price_out: float64 [C], USD per token.
        cache_saving: float64 [C], USD per prompt token that the provider reads from its cache instead.
        windows: float64 [C], context windows in tokens.
        latency: float64 [C], declared ms, NaN where nothing is known.
        declared: bool [C], where the declared latency counts more than a predicted one: the bundle knows not the model.
        rank: float64 [C], place in the static order, 1 = first .. 0 = not listed.
        labels: label → float64 [C], weights.
        filtered: Reason by model that is not in the view.
    """

    names: tuple[str, ...]
    targets: tuple[tuple[str, str], ...]
    indices: npt.NDArray[np.int64]
    descriptor: npt.NDArray[np.float32]
    known: tuple[bool, ...]
    evidence: Floats
    priors: Floats
    input_scale: Floats
    price_in: Floats
    price_out: Floats
    cache_saving: Floats
    windows: Floats
    latency: Floats
    declared: npt.NDArray[np.bool_]
    rank: Floats
    labels: Mapping[str, Floats]
    filtered: Mapping[str, str]

    @cached_property
    def smallest_window(self) -> float:
        """Estimated tokens that fit every candidate; infinity where there is none."""
        return float((self.windows / self.input_scale).min()) if len(self.names) else math.inf

    def take(self, keep: npt.NDArray[np.bool_], reasons: Mapping[str, str]) -> View:
        """Those where ``keep`` [C] is true; ``reasons`` is added to ``filtered``."""
        chosen = np.flatnonzero(keep)
        places = chosen.tolist()
        return View(
            names=tuple(self.names[i] for i in places),
            targets=tuple(self.targets[i] for i in places),
            indices=self.indices[chosen],
            descriptor=self.descriptor[chosen],
            known=tuple(self.known[i] for i in places),
            evidence=self.evidence[chosen],
            priors=self.priors[chosen],
            input_scale=self.input_scale[chosen],
            price_in=self.price_in[chosen],
            price_out=self.price_out[chosen],
            cache_saving=self.cache_saving[chosen],
            windows=self.windows[chosen],
            latency=self.latency[chosen],
            declared=self.declared[chosen],
            rank=self.rank[chosen],
            labels={label: weights[chosen] for label, weights in self.labels.items()},
            filtered={**self.filtered, **reasons},
        )

    def weights(self, labels: tuple[str, ...]) -> Floats | None:
        """float64 [C], the largest weight over ``labels``; None where the registry knows none of them."""
        rows = [self.labels[label] for label in labels if label in self.labels]
        if not rows:
            return None
        return rows[0] if len(rows) == 1 else np.max(rows, axis=0)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that a decision reads, of one moment.

    Args:
        registry: The registry.
        bundle: The bundle, or None.
        disabled: Until when models are disabled, by themselves or by a flag, UTC seconds since the epoch.
        flags_off: Every flag; until when it is off, or None where it is on.
        prices: In force.
        valid_until: When a price or a disablement changes, UTC seconds since the epoch.
        all: The view of all enabled models.
        arms: What decides for an arm that has a bundle of its own.
    """

    registry: Registry
    bundle: Bundle | None
    disabled: Mapping[str, float]
    flags_off: Mapping[str, float | None]
    prices: PriceTable
    valid_until: float
    all: View
    arms: Mapping[str, Snapshot] = field(default_factory=dict)
    _views: dict[Needs, View] = field(default_factory=dict)
    _plans: dict[Wish, Plan] = field(default_factory=dict)
    _near: dict[str, str | None] = field(default_factory=dict)

    @property
    def runs_encoder(self) -> bool:
        """Whether an encoder reads requests, for its bundle or for that of an arm."""
        own = self.bundle is not None and self.bundle.encoder is not None
        return own or any(arm.runs_encoder for arm in self.arms.values())

    def view(self, needs: Needs) -> View:
        """The candidates that ``needs`` leaves over; ``needs`` was checked against the registry."""
        found = self._views.get(needs)
        if found is None:
            reasons = _refusals(self, needs)
            keep = np.array([name not in reasons for name in self.all.names], dtype=np.bool_)
            found = self.all if bool(keep.all()) else self.all.take(keep, reasons)
            _remember(self._views, needs, found)
        return found

    def intent(self, declared: str, *, strict: bool = False) -> IntentEntry | None:
        """The registry's intent of that name, else the nearest one where one is near enough, else None.

        Raises:
            ConfigError: It is unknown and ``strict`` is set.
        """
        found = self.registry.intents.get(declared)
        if found is None and strict:
            known = self.registry.intents
            raise ConfigError(f"no intent {declared[:100]!r} in the registry{did_you_mean(declared[:100], known)}")
        if found is None:
            if declared not in self._near:
                _remember(self._near, declared, _nearest(self.registry, declared))
            name = self._near[declared]
            found = None if name is None else self.registry.intents[name]
        return found

    def plan(self, wish: Wish) -> Plan:
        """The settings that the policy, the tier, the intent and the caller give together; the last one wins.

        Raises:
            ConfigError: Where the caller's numbers are out of range.
        """
        found = self._plans.get(wish)
        if found is None:
            settings = _settings(self, wish)
            found = Plan(settings, settings.fingerprint)
            _remember(self._plans, wish, found)
        return found


def _remember(cache: dict[K, V], key: K, value: V) -> None:
    if len(cache) >= _CACHE_SIZE:
        cache.clear()
    cache[key] = value


def _nearest(registry: Registry, declared: str) -> str | None:
    """Name of the intent that ``declared`` was meant for, or None."""
    if not registry.intents:
        return None
    alike = Likeness({name: one.description for name, one in registry.intents.items()}).of_name(declared[:200])
    name = max(alike, key=lambda one: alike[one])
    return name if alike[name] >= INTENT_LIKENESS else None


def _settings(snapshot: Snapshot, wish: Wish) -> PolicySettings:
    registry = snapshot.registry
    settings = registry.policy.settings
    tier = registry.tiers.get(wish.tier) if wish.tier is not None else None
    explore = wish.explore
    strategy = wish.strategy
    if tier is not None:
        settings = override(
            settings, strategy=tier.strategy, quality_target=tier.quality_target, trade_off=tier.trade_off
        )
        explore = explore and tier.explore
    intent = registry.intents.get(wish.intent) if wish.intent is not None else None
    if intent is not None:
        settings = override(settings, quality_target=intent.quality_target)
    if snapshot.bundle is None and strategy is None:
        strategy = "static"
    settings = override(settings, strategy=strategy, trade_off=wish.trade_off, quality_target=wish.quality_target)
    return settings if explore else override(settings, exploration="none")


def _refusals(snapshot: Snapshot, needs: Needs) -> dict[str, str]:
    """Reason by model of the view ``all`` that ``needs`` rules out."""
    registry = snapshot.registry
    allowed = registry.tiers[needs.tier].models if needs.tier is not None else None
    reasons: dict[str, str] = {}
    for name in snapshot.all.names:
        lacks = [c for c in needs.capabilities if c not in registry.models[name].capabilities]
        if needs.models is not None and name not in needs.models:
            reasons[name] = "not among the models asked for"
        elif allowed is not None and name not in allowed:
            reasons[name] = f"not in the tier {needs.tier}"
        elif lacks:
            reasons[name] = f"cannot do {', '.join(lacks)}"
    return reasons


def make_snapshot(registry: Registry, bundle: Bundle | None, disabled: Mapping[str, float], now: float) -> Snapshot:
    """Prepares decisions from ``now`` (UTC seconds since the epoch) until ``valid_until``."""
    prices = price_table(registry.models.values(), now)
    out = outages(registry, disabled, now)
    reasons = {name: "disabled in the registry" for name, model in registry.models.items() if not model.enabled}
    reasons |= {name: _reason(outage) for name, outage in out.items()}
    everything = _view(registry, bundle, prices)
    keep = np.array([name not in reasons for name in everything.names], dtype=np.bool_)
    return Snapshot(
        registry=registry,
        bundle=bundle,
        disabled={name: outage.until for name, outage in out.items()},
        flags_off=flags_off(registry, disabled, now),
        prices=prices,
        valid_until=min([prices.valid_until, *(end for end in disabled.values() if end > now)]),
        all=everything if bool(keep.all()) else everything.take(keep, reasons),
    )


def _reason(outage: Outage) -> str:
    by = "disabled" if outage.flag is None else f"disabled with the flag {outage.flag}"
    return by if outage.until == math.inf else f"{by} until {np.datetime64(math.ceil(outage.until), 's')}Z"


def _view(registry: Registry, bundle: Bundle | None, prices: PriceTable) -> View:
    entries = tuple(registry.models.values())
    names = tuple(entry.name for entry in entries)
    order = {name: place for place, name in enumerate(registry.policy.static_order)}
    indices, known = _indices(entries, bundle)
    latency = np.array([math.nan if entry.latency_ms is None else entry.latency_ms for entry in entries])
    return View(
        names=names,
        targets=tuple((entry.provider, entry.name) for entry in entries),
        indices=indices,
        descriptor=_descriptor(entries, bundle),
        known=known,
        evidence=_details(bundle, "labels", 0.0)[indices],
        input_scale=_details(bundle, "input_scale", 1.0)[indices],
        priors=np.array([entry.quality_prior for entry in entries]),
        price_in=prices.input,
        price_out=prices.output,
        cache_saving=np.maximum(prices.input - prices.cached_input, 0.0),
        windows=np.array([float(entry.context_window) for entry in entries]),
        latency=latency,
        declared=~np.array(known) & ~np.isnan(latency),
        rank=np.array([1.0 - order[name] / len(order) if name in order else 0.0 for name in names]),
        labels={
            label: np.array([weights.get(name, 0.0) for name in names]) for label, weights in registry.labels.items()
        },
        filtered={},
    )


def _indices(entries: tuple[ModelEntry, ...], bundle: Bundle | None) -> tuple[npt.NDArray[np.int64], tuple[bool, ...]]:
    """Which model of the bundle each one is, by name, upstream id or alias; models that have left are not looked at."""
    known = {} if bundle is None else {model.name: place for place, model in enumerate(bundle.manifest.models)}
    found = []
    for entry in entries:
        called = (entry.name, entry.upstream_id, *entry.aliases)
        found.append(next((known[name] for name in called if name in known), len(known)))
    return np.array(found, dtype=np.int64), tuple(place < len(known) for place in found)


def _details(bundle: Bundle | None, name: str, unknown: float) -> Floats:
    """A number that the manifest tells of each model, and ``unknown`` where it does not, float64 [M + 1]."""
    models = () if bundle is None else bundle.manifest.models
    return np.array([*(float(model.details.get(name, unknown)) for model in models), unknown])


def _descriptor(entries: tuple[ModelEntry, ...], bundle: Bundle | None) -> npt.NDArray[np.float32]:
    domains = () if bundle is None else bundle.manifest.domains
    rows = [[entry.quality_prior, *(entry.strengths.get(domain, 0.0) for domain in domains)] for entry in entries]
    return np.array(rows, dtype=np.float32)
