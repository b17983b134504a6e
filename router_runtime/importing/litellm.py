"""LiteLLM's ``config.yaml``: each deployment becomes a model, each address with its key a provider.

By https://docs.litellm.ai/docs/proxy/configs (1.106). Secrets are not copied: ``os.environ/KEY`` becomes the name of
the variable, a key that stands in the file becomes the provider's usual variable, with a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from router_runtime.errors import ConfigError
from router_runtime.importing.base import Document, Format, Imported, mapping_at
from router_runtime.importing.litellm_settings import add_settings
from router_runtime.importing.providers import KNOWN, Known

_ENV = "os.environ/"
_PARAMS = frozenset({"model", "api_base", "base_url", "api_key", "custom_llm_provider", "extra_headers", "timeout"})
_COSTS = frozenset({"input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost"})
_INFO = frozenset({"id", "mode", "base_model", "max_tokens", "max_input_tokens", "max_output_tokens"}) | _COSTS
_SUPPORTS = {
    "supports_function_calling": "tools",
    "supports_vision": "vision",
    "supports_audio_input": "audio",
    "supports_pdf_input": "files",
    "supports_response_schema": "json",
    "supports_reasoning": "reasoning",
    "supports_prompt_caching": "caching",
}
_BARE = (("gpt-", "openai"), ("o1", "openai"), ("o3", "openai"), ("o4", "openai"), ("claude", "anthropic"))


def convert(document: Document, today: date) -> Imported:
    """A registry from LiteLLM's configuration; see :class:`router_runtime.importing.base.Format`.

    Raises:
        ConfigError: It is not well formed, or no deployment of it can be reached.
    """
    found = Imported({"providers": {}, "models": {}})
    rows = document.get("model_list")
    if not isinstance(rows, list):
        raise ConfigError("model_list must be a list of deployments")
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise ConfigError(f"model_list[{index}] must be a mapping")
        _add_deployment(found, row, f"model_list[{index}]", today)
    if not found.registry["models"]:
        reasons = "; ".join(found.warnings[:3])
        raise ConfigError(f"no deployment of model_list can be taken over ({reasons})")
    add_settings(found, document)
    found.left_out(document, ("model_list", "router_settings", "litellm_settings", "general_settings"), "")
    return found


def _add_deployment(found: Imported, row: Document, place: str, today: date) -> None:
    params, info = mapping_at(row, "litellm_params", f"{place}."), mapping_at(row, "model_info", f"{place}.")
    name, model = row.get("model_name"), params.get("model")
    if not isinstance(name, str) or not isinstance(model, str):
        raise ConfigError(f"{place} must have a model_name and litellm_params.model, both texts")
    word, upstream = _split(model, params)
    known = KNOWN.get(word)
    if known is None:
        found.warn(f"{place}.litellm_params.model", f"there is no adapter for {word!r}; the deployment is left out")
        return
    base = params.get("api_base") or params.get("base_url") or known.base_url
    if not isinstance(base, str) or base.startswith(_ENV):
        found.warn(f"{place}.litellm_params.api_base", "must be a URL in the file; the deployment is left out")
        return
    if info.get("mode") not in (None, "chat", "completion", "responses"):
        found.warn(f"{place}.model_info.mode", f"{info['mode']!r} is not served here; the deployment is left out")
        return
    if word.startswith("ollama") and not base.rstrip("/").endswith("/v1"):
        base = base.rstrip("/") + "/v1"  # its OpenAI-compatible side
    unique = _unique(found, name, place)
    provider = _provider(found, word, known, base, params, place)
    found.registry["models"][unique] = {
        "provider": provider,
        "upstream_id": upstream,
        **_prices(found, params, info, f"{place}", today),
        **_window(info),
        "capabilities": _capabilities(info),
    }
    found.left_out(row, ("model_name", "litellm_params", "model_info"), place)
    found.left_out(params, _PARAMS | _COSTS, f"{place}.litellm_params")
    found.left_out(info, _INFO | _SUPPORTS.keys(), f"{place}.model_info")


def _split(model: str, params: Document) -> tuple[str, str]:
    """(provider's word, the provider's name of the model)."""
    named = params.get("custom_llm_provider")
    if isinstance(named, str):
        return named, model.removeprefix(f"{named}/")
    word, slash, rest = model.partition("/")
    if slash:
        return word, rest
    bare = next((provider for start, provider in _BARE if model.startswith(start)), None)
    return bare or ("openai" if params.get("api_base") else word), model


def _unique(found: Imported, name: str, place: str) -> str:
    models = found.registry["models"]
    if name not in models:
        return name
    number = 2
    while f"{name}-{number}" in models:
        number += 1
    found.warn(f"{place}.model_name", f"{name!r} stands there twice; this one is {name}-{number}, a choice of its own")
    return f"{name}-{number}"


def _provider(found: Imported, word: str, known: Known, base: str, params: Document, place: str) -> str:
    """The name of the provider's entry, made at first sight."""
    entry: dict[str, Any] = {"adapter": known.adapter, "base_url": base.rstrip("/")}
    key = _key_env(found, known, params, place)
    if key is not None:
        entry["api_key_env"] = key
    if known.base_url is not None and entry["base_url"] != known.base_url and known.adapter == "openai":
        entry["adapter"] = "openai-compatible"
    headers = params.get("extra_headers")
    if headers:
        found.warn(f"{place}.litellm_params.extra_headers", "may hold secrets; add them to the provider's headers")
    timeout = params.get("timeout")
    if isinstance(timeout, int | float) and timeout > 0:
        entry["timeout_s"] = float(timeout)
    providers = found.registry["providers"]
    for name, other in providers.items():
        if other == entry:
            return str(name)
    name, number = word, 2
    while name in providers:
        name, number = f"{word}-{number}", number + 1
    providers[name] = entry
    return name


def _key_env(found: Imported, known: Known, params: Document, place: str) -> str | None:
    key = params.get("api_key")
    if isinstance(key, str) and key.startswith(_ENV):
        return key.removeprefix(_ENV)
    if key is None or key == "":
        return known.key_env
    usual = known.key_env or "POINTSMAN_API_KEY"
    found.warn(f"{place}.litellm_params.api_key", f"stands in the file and is not copied; put it into {usual}")
    return usual


def _prices(found: Imported, params: Document, info: Document, place: str, today: date) -> dict[str, Any]:
    """Prices per million tokens; without them the model stays out until somebody knows."""
    costs = {key: _per_million(found, params.get(key, info.get(key)), f"{place}.{key}") for key in _COSTS}
    price: dict[str, Any] = {
        "valid_from": today,
        "input": costs["input_cost_per_token"] or 0,
        "output": costs["output_cost_per_token"] or 0,
    }
    if costs["cache_read_input_token_cost"] is not None:
        price["cached_input"] = costs["cache_read_input_token_cost"]
    if costs["input_cost_per_token"] is None or costs["output_cost_per_token"] is None:
        found.warn(place, "no price; it is disabled (enabled: false) until prices are filled in")
        return {"prices": [price], "enabled": False}
    return {"prices": [price]}


def _per_million(found: Imported, cost: Any, place: str) -> float | None:
    if cost is None:
        return None
    try:
        exact = Decimal(str(cost)) * 1_000_000
    except InvalidOperation:
        exact = Decimal(-1)
    if not exact.is_finite() or exact < 0:
        found.warn(place, "is no cost; taken as missing")
        return None
    return float(exact)


def _window(info: Document) -> dict[str, int]:
    names = {"max_input_tokens": "context_window", "max_output_tokens": "max_output_tokens"}
    return {ours: info[theirs] for theirs, ours in names.items() if isinstance(info.get(theirs), int)}


def _capabilities(info: Document) -> list[str]:
    return ["streaming", *(ours for theirs, ours in _SUPPORTS.items() if info.get(theirs) is True)]


LITELLM = Format("litellm", lambda document: "model_list" in document, convert)
