"""What a request and its options need of a model, with names that the registry knows."""

from __future__ import annotations

from collections.abc import Sequence

from router_runtime.errors import ConfigError
from router_runtime.filters import needed_capabilities
from router_runtime.messages import Request
from router_runtime.options import Options
from router_runtime.registry import CAPABILITIES, IntentEntry, Registry
from router_runtime.registry_yaml import did_you_mean
from router_runtime.snapshot import Needs


def needs_of(registry: Registry, request: Request, intent: IntentEntry | None, options: Options) -> Needs:
    """What a model must be and have for the request.

    Raises:
        ConfigError: An unknown tier, model or capability.
    """
    if options.tier is not None and options.tier not in registry.tiers:
        there = f"; it has {', '.join(sorted(registry.tiers))}" if registry.tiers else ", which has no tiers"
        meant = did_you_mean(options.tier, registry.tiers)
        raise ConfigError(f"no tier {options.tier[:100]!r} in the registry{meant or there}")
    models: tuple[str, ...] | None = None
    if options.model != "auto" or options.order or options.models is not None:
        models = _allowed(registry, options)
    needed = needed_capabilities(request, intent)
    if options.capabilities:
        needed = _with_asked(needed, options.capabilities)
    return Needs(needed, options.tier, models)


def _allowed(registry: Registry, options: Options) -> tuple[str, ...]:
    """The models that all that the caller says of models leaves over, sorted."""
    one = None if options.model == "auto" else (options.model,)
    lists = [names for names in (one, options.order or None, options.models) if names is not None]
    return tuple(sorted(set.intersection(*({registry.model(name).name for name in names} for names in lists))))


def _with_asked(needed: tuple[str, ...], asked: Sequence[str]) -> tuple[str, ...]:
    """Raises ConfigError for a capability that nobody knows."""
    for name in asked:
        if name not in CAPABILITIES:
            raise ConfigError(f"no capability {name!r}{did_you_mean(name, CAPABILITIES)}")
    return tuple(name for name in CAPABILITIES if name in needed or name in asked)
