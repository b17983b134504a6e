"""The part of LiteLLM's configuration that is not about single deployments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router_runtime.importing.base import Document, Imported, mapping_at

_STRATEGIES = {"cost-based-routing": "cost-first"}
_READ_ROUTER = (
    "routing_strategy",
    "fallbacks",
    "model_group_alias",
    "redis_host",
    "redis_port",
    "redis_url",
    "timeout",
)
_INSTEAD = {
    "redis_password": "is not copied; write it into the registry's state: redis://:PASSWORD@host:port/0",
    "num_retries": "left out: retries follow the error and a retry budget",
    "allowed_fails": "left out: circuit breakers open by error rate",
    "cooldown_time": "left out: circuit breakers probe by themselves",
    "enable_pre_call_checks": "left out: the context window is always checked",
    "drop_params": "left out: name the fields in the drop_params of a provider or model",
    "context_window_fallbacks": "left out: models whose window is too small are never chosen",
    "content_policy_fallbacks": "left out: a refused answer goes on to the next candidate",
    "default_fallbacks": "left out: every eligible model is a fallback, best first",
    "master_key": "left out: 'pointsman keys create --admin' makes one",
    "database_url": "left out: keys and budgets need no database; --log names the store of outcomes",
    "cache": "left out: answers are not cached",
}


def add_settings(found: Imported, document: Document) -> None:
    """Takes over what has a meaning, and says what has none."""
    router = mapping_at(document, "router_settings")
    settings = mapping_at(document, "litellm_settings")
    _strategy(found, router)
    _fallbacks(found, router.get("fallbacks") or settings.get("fallbacks"))
    _aliases(found, mapping_at(router, "model_group_alias", "router_settings."))
    _redis(found, router)
    _timeout(found, router.get("timeout") or settings.get("request_timeout"))
    _rest(found, router, _READ_ROUTER, "router_settings")
    _rest(found, settings, ("fallbacks", "request_timeout"), "litellm_settings")
    _rest(found, mapping_at(document, "general_settings"), (), "general_settings")


def _rest(found: Imported, section: Document, read: tuple[str, ...], place: str) -> None:
    for key in section:
        if key in _INSTEAD:
            found.warn(f"{place}.{key}", _INSTEAD[key])
    found.left_out(section, {*read, *_INSTEAD}, place)


def _strategy(found: Imported, router: Document) -> None:
    named = router.get("routing_strategy")
    if named is None:
        return
    ours = _STRATEGIES.get(named) if isinstance(named, str) else None
    if ours is not None:
        found.registry.setdefault("policy", {})["strategy"] = ours
    else:
        found.warn("router_settings.routing_strategy", f"{named!r} has no counterpart; the learned policy chooses")


def _fallbacks(found: Imported, fallbacks: Any) -> None:
    """The order in which a router without a bundle tries models; with one, the policy ranks them."""
    if not isinstance(fallbacks, list):
        return
    models = found.registry["models"]
    order: dict[str, None] = {}
    for row in fallbacks:
        if isinstance(row, Mapping):
            for first, others in row.items():
                names = [first, *(others if isinstance(others, list) else [others])]
                order |= {name: None for name in names if isinstance(name, str) and name in models}
    if order:
        found.registry.setdefault("policy", {})["static_order"] = list(order)
        found.warn("fallbacks", "became policy.static_order; where a bundle serves, its ranking is the order")


def _aliases(found: Imported, aliases: Document) -> None:
    models = found.registry["models"]
    for alias, meant in aliases.items():
        name = meant.get("model") if isinstance(meant, Mapping) else meant
        if isinstance(name, str) and name in models and alias not in models:
            models[name].setdefault("aliases", []).append(alias)
        else:
            found.warn(f"router_settings.model_group_alias.{alias}", "names no model that was taken over; left out")


def _redis(found: Imported, router: Document) -> None:
    url, host = router.get("redis_url"), router.get("redis_host")
    if isinstance(url, str) and "@" not in url and url.startswith(("redis://", "rediss://")):
        found.registry["state"] = url
    elif isinstance(host, str) and not host.startswith("os.environ/"):
        port = router.get("redis_port", 6379)
        found.registry["state"] = f"redis://{host}:{port if str(port).isdigit() else 6379}/0"
    elif url or host:
        found.warn("router_settings.redis_url", "holds a secret or a variable; write the registry's state: yourself")


def _timeout(found: Imported, seconds: Any) -> None:
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0:
        for provider in found.registry["providers"].values():
            provider.setdefault("timeout_s", float(seconds))
