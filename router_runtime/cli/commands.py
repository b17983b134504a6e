"""What each command does; all printing is in :mod:`router_runtime.cli.render`."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from router_runtime import overrides
from router_runtime.bundle import open_bundle
from router_runtime.cli import render
from router_runtime.errors import RequestError
from router_runtime.explain import Explanation, explain
from router_runtime.flags import flag_state, flags_off, outages, switch_name, switched
from router_runtime.options import RouteOptions
from router_runtime.pricing import price_version
from router_runtime.records import to_dict
from router_runtime.registry_reader import load_registry
from router_runtime.router import Router
from router_runtime.state import is_shared
from router_runtime.state.shared import finite
from router_runtime.switching import switch_of

Command = Callable[[argparse.Namespace], int]

MAX_STDIN_BYTES = 16 << 20


def route(arguments: argparse.Namespace) -> int:
    """``pointsman route``."""
    decision = _router(arguments).route(_prompt(arguments), **_options(arguments))
    render.show(arguments.json, to_dict(decision), render.decision(decision))
    return 0


def explain_choice(arguments: argparse.Namespace) -> int:
    """``pointsman explain``."""
    found = explain(_router(arguments), _prompt(arguments), top=arguments.top, **_options(arguments))
    render.show(arguments.json, _as_dict(found), render.explanation(found))
    return 0


def validate(arguments: argparse.Namespace) -> int:
    """``pointsman validate``."""
    registry = load_registry(arguments.registry)
    now = time.time()
    document = {
        "registry": arguments.registry,
        "version": registry.version,
        "price_version": price_version(registry.models.values(), now),
        "providers": sorted(registry.providers),
        "models": sorted(registry.models),
        "tiers": sorted(registry.tiers),
        "labels": sorted(registry.labels),
        "intents": sorted(registry.intents),
    }
    render.show(arguments.json, document, render.registry(arguments.registry, registry, now))
    return 0


def disable(arguments: argparse.Namespace) -> int:
    """``pointsman disable``."""
    registry = load_registry(arguments.registry)
    name = switch_name(registry, arguments.name)
    until = math.inf if arguments.seconds is None else time.time() + arguments.seconds
    switch_of(arguments.state, registry).disable(name, until)
    document = {**switched(name), "disabled": True, "until": finite(until)}
    render.show(arguments.json, document, f"{name} is disabled {render.until(until)}")
    return 0


def enable(arguments: argparse.Namespace) -> int:
    """``pointsman enable``."""
    registry = load_registry(arguments.registry)
    name = switch_name(registry, arguments.name)
    was = switch_of(arguments.state, registry).enable(name)
    words = f"{name} is enabled" if was else f"{name} was not disabled"
    render.show(arguments.json, {**switched(name), "disabled": False, "was_disabled": was}, words)
    return 0


def status(arguments: argparse.Namespace) -> int:
    """``pointsman status``."""
    registry = load_registry(arguments.registry)
    switch = switch_of(arguments.state, registry)
    ends, now = switch.disabled(), time.time()
    out, flags = outages(registry, ends, now), flags_off(registry, ends, now)
    bundle = None if arguments.bundle is None else open_bundle(arguments.bundle)
    document = {
        "registry": {"path": arguments.registry, "version": registry.version},
        "bundle": None if bundle is None else {"path": arguments.bundle, "version": bundle.version},
        "state": switch.place,
        "models": {
            name: {
                "enabled": model.enabled and name not in out,
                "disabled_until": finite(out[name].until) if name in out else None,
            }
            for name, model in registry.models.items()
        },
        "flags": {flag: flag_state(until) for flag, until in flags.items()},
    }
    render.show(arguments.json, document, render.status(registry, out, flags, bundle, switch.place))
    return 0


def _router(arguments: argparse.Namespace) -> Router:
    shared = arguments.state if arguments.state is not None and is_shared(arguments.state) else None
    folder = overrides.default_state_dir() if arguments.state is None or shared else Path(arguments.state)
    return Router.open(
        arguments.bundle, registry=arguments.registry, state_dir=folder, seed=arguments.seed, state=shared
    )


def _prompt(arguments: argparse.Namespace) -> str:
    if arguments.prompt != "-":
        return str(arguments.prompt)
    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise RequestError(f"stdin holds more than {MAX_STDIN_BYTES} bytes")
    return data.decode("utf-8", "replace")


def _options(arguments: argparse.Namespace) -> RouteOptions:
    return RouteOptions(
        model=arguments.model,
        tier=arguments.tier,
        intent=arguments.intent,
        labels=arguments.label,
        strategy=arguments.strategy,
        trade_off=arguments.trade_off,
        quality_target=arguments.quality_target,
        models=arguments.models,
        max_cost_usd=arguments.max_cost,
        latency_need=arguments.latency_need,
    )


def _as_dict(found: Explanation) -> dict[str, Any]:
    rows = [{"kind": i.kind, "name": i.name, "value": i.value, "change": i.change} for i in found.influences]
    return {**to_dict(found.decision), "kind": "explanation", "influences": rows}
