"""From a request's body to the router's options: what ``model`` means, and the extras that narrow the choice.

Extras stand in ``"pointsman": {...}``, and those of :data:`TOP_LEVEL` also beside ``messages``. They are taken out of
what the provider gets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from router_runtime.calling import CallOptions
from router_runtime.errors import GatewayRefusal, UnknownModelError
from router_runtime.gateway.auth import LOCAL, Caller, open_agents
from router_runtime.policy_settings import STRATEGIES
from router_runtime.pricing import price_at
from router_runtime.registry import CAPABILITIES, LATENCY_NEEDS, Registry
from router_runtime.registry_yaml import did_you_mean

AUTO: dict[str, dict[str, Any]] = {
    "auto": {},
    "auto:cost": {"strategy": "cost-first"},
    "auto:quality": {"strategy": "balanced", "trade_off": 1.0},
    "auto:balanced": {"strategy": "balanced"},
    "auto:capability": {"strategy": "capability-first"},
}
"""What may be chosen by; the strategies' own names are understood after ``auto:`` as well."""

TOP_LEVEL = frozenset(
    {"tier", "budget", "trade_off", "capabilities", "models", "max_price", "intent", "session", "quality_target"}
)
"""Extras that are also understood beside ``messages``."""

_MAX_TIMEOUT_S = 3600
_NO_MODEL = "model is missing; 'auto' lets the router choose"

#: Of the body, read by the gateway and not for the provider.
_OURS = frozenset({"model", "messages", "stream", "stream_options", "pointsman", "tools", "response_format", "user"})


def options_of(body: Mapping[str, Any], caller: Caller, registry: Registry, now: float) -> CallOptions:
    """Options for the router from a Chat Completions body.

    Args:
        body: With ``model``; its messages are left out.
        caller: Bounds the tier; stands in for the user.
        registry: In force.
        now: UTC seconds since the epoch.

    Raises:
        GatewayRefusal: An extra of the wrong shape, or a tier that the key does not open.
        UnknownModelError: No such model, strategy or intent.
    """
    options = model_options(body.get("model"), registry, caller)
    options |= _extras(body, caller, registry, now)
    options |= {name: body[name] for name in ("tools", "response_format") if body.get(name) is not None}
    user = options.get("user", body.get("user"))
    options["user"] = caller.user if user is None else _text(user, "user")
    options["extra"] = {k: v for k, v in body.items() if k not in _OURS and k not in TOP_LEVEL}
    if caller.limits:
        options["limits"] = caller.limits
    return cast(CallOptions, options)


def model_options(model: Any, registry: Registry, caller: Caller = LOCAL) -> dict[str, Any]:
    """What ``model`` asks for: a choice (``auto``…), an intent's, an agent's, or one model without a choice.

    Raises:
        GatewayRefusal: It is no text.
        UnknownModelError: Nothing is called so; names what is meant.
    """
    if not isinstance(model, str) or not model:
        raise GatewayRefusal(_NO_MODEL, status=400, code="missing_model", param="model")
    if model in AUTO:
        return dict(AUTO[model])
    kind, _, name = model.partition(":")
    if kind == "auto" and name in STRATEGIES:
        return {"strategy": name}
    if model.startswith("intent/"):
        name = model.removeprefix("intent/")
        if name not in registry.intents:
            raise UnknownModelError(f"no intent {name[:100]!r}{did_you_mean(name[:100], registry.intents)}")
        return {"intent": name}
    if model.startswith("agent/"):
        name = model.removeprefix("agent/")
        if name != "auto" and name not in registry.agents:
            raise UnknownModelError(f"no agent {name[:100]!r}{did_you_mean(name[:100], open_agents(registry, caller))}")
        return {"agent": name}
    if model not in registry.names:
        known = [*registry.names, *AUTO, *(f"intent/{intent}" for intent in registry.intents)]
        known += [f"agent/{agent}" for agent in open_agents(registry, caller)]
        raise UnknownModelError(f"no model or alias {model[:100]!r}{did_you_mean(model[:100], known)}")
    return {"model": model}


def _extras(body: Mapping[str, Any], caller: Caller, registry: Registry, now: float) -> dict[str, Any]:
    given = body.get("pointsman")
    if given is not None and not isinstance(given, Mapping):
        raise _wrong("pointsman", "an object")
    extras = {name: body[name] for name in TOP_LEVEL if body.get(name) is not None}
    extras |= {name: value for name, value in (given or {}).items() if value is not None}
    if unknown := set(extras) - _READERS.keys() - {"tier", "max_price"}:
        name = sorted(unknown)[0][:100]
        raise GatewayRefusal(
            f"no extra {name!r}{did_you_mean(name, [*_READERS, 'tier', 'max_price'])}",
            status=400, code="unknown_extra", param=f"pointsman.{name}",
        )  # fmt: skip
    options: dict[str, Any] = {}
    for name, value in extras.items():
        if name in _READERS:
            key, read = _READERS[name]
            options[key] = read(value, name)
    options["tier"] = _tier(extras.get("tier"), caller)
    if extras.get("max_price") is not None:
        options["models"] = _affordable(extras["max_price"], options.get("models"), registry, now)
    return options


def _tier(asked: Any, caller: Caller) -> str | None:
    if asked is None:
        return caller.tier
    tier = _text(asked, "tier")
    if caller.tiers and tier not in caller.tiers:
        allowed = ", ".join(caller.tiers)
        raise GatewayRefusal(f"this key opens the tiers {allowed}", status=403, code="tier_not_allowed", param="tier")
    return tier


def _affordable(asked: Any, models: list[str] | None, registry: Registry, now: float) -> list[str]:
    """The models whose prices are at most ``max_price``: USD per million tokens, one number or one for each way.

    Raises:
        GatewayRefusal: No model is that cheap, or the price is none.
    """
    bounds = dict(asked) if isinstance(asked, Mapping) else {"input": asked, "output": asked}
    words = {"prompt": "input", "completion": "output"}
    limits = {words.get(name, name): _amount(value, f"max_price.{name}") for name, value in bounds.items()}
    if unknown := set(limits) - {"input", "output"}:
        raise _wrong(f"max_price.{sorted(unknown)[0][:100]}", "left out: a max_price has input and output")
    names = registry.models if models is None else dict.fromkeys(registry.model(name).name for name in models)
    found = []
    for name in names:
        price = price_at(registry.models[name], now)
        if price.input <= limits.get("input", math.inf) and price.output <= limits.get("output", math.inf):
            found.append(name)
    if not found:
        raise GatewayRefusal("no model is as cheap as max_price", status=400, code="no_model_fits", param="max_price")
    return found


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 512:
        raise _wrong(name, "a text of 1 to 512 characters")
    return value


def _amount(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise _wrong(name, "a number of 0 or more")
    return float(value)


def _seconds(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MAX_TIMEOUT_S:
        raise _wrong(name, f"a number of seconds, at most {_MAX_TIMEOUT_S}")
    return float(value)


def _share(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _wrong(name, "a number in 0..1")
    return float(value)


def _texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not 0 < len(value) <= 256:
        raise _wrong(name, "a list of 1 to 256 texts")
    return [_text(item, name) for item in value]


def _one_of(*words: str) -> Callable[[Any, str], str]:
    def read(value: Any, name: str) -> str:
        if value not in words:
            raise _wrong(name, f"one of {', '.join(words)}")
        return str(value)

    return read


def _capabilities(value: Any, name: str) -> list[str]:
    return [_one_of(*CAPABILITIES)(item, name) for item in _texts(value, name)]


def _truth(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, "true or false")
    return value


def _wrong(name: str, expected: str) -> GatewayRefusal:
    return GatewayRefusal(f"{name} must be {expected}", status=400, code="invalid_extra", param=name)


_READERS: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    "budget": ("max_cost_usd", _amount),
    "trade_off": ("trade_off", _share),
    "quality_target": ("quality_target", _share),
    "capabilities": ("capabilities", _capabilities),
    "models": ("models", _texts),
    "intent": ("intent", _text),
    "labels": ("labels", _texts),
    "session": ("session", _text),
    "user": ("user", _text),
    "strategy": ("strategy", _one_of(*STRATEGIES)),
    "latency_need": ("latency_need", _one_of(*LATENCY_NEEDS)),
    "explore": ("explore", _truth),
    "stream_recovery": ("stream_recovery", _one_of("error", "continue")),
    "timeout": ("timeout_s", _seconds),
}
