"""OpenClaw's ``openclaw.json``: its models become models, its agents agents, in the order in which it would try them.

By https://docs.openclaw.ai/gateway/config-agents and /concepts/models (2026): ``model`` is a text or ``{primary,
fallbacks}``; an agent's text takes the place of the default's primary and keeps its fallbacks, an agent's object takes
the place of both; ``imageModel`` answers where the others cannot take a picture. Secrets are not copied: ``${VAR}`` and
``{source: env, id: VAR}`` become the name of the variable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

from router_runtime.errors import ConfigError
from router_runtime.importing.base import Document, Format, Imported, mapping_at
from router_runtime.importing.providers import KNOWN, Known

_APIS = {
    "openai-completions": "openai-compatible",
    "openai-responses": "openai-responses",
    "anthropic-messages": "anthropic",
    "google-generative-ai": "gemini",
}
_ALIASES = {
    "anthropic/claude-opus-4-8": "opus",
    "anthropic/claude-sonnet-4-6": "sonnet",
    "openai/gpt-5.4": "gpt",
    "openai/gpt-5.4-mini": "gpt-mini",
    "openai/gpt-5.4-nano": "gpt-nano",
    "google/gemini-3.1-pro-preview": "gemini",
    "google/gemini-3-flash-preview": "gemini-flash",
    "google/gemini-3.1-flash-lite": "gemini-flash-lite",
}
"""OpenClaw's own short names; they hold for models of its catalogue."""
_ENV = re.compile(r"\$\{([A-Za-z_]\w*)\}")
_BACKEND = frozenset({"primary", "fallbacks"})


class Backend(NamedTuple):
    """What ``model`` says; None = not said."""

    primary: str | None
    fallbacks: tuple[str, ...] | None


def convert(document: Document, today: date) -> Imported:
    """A registry from OpenClaw's configuration; see :class:`router_runtime.importing.base.Format`.

    Raises:
        ConfigError: It is not well formed, or names a model that cannot be reached; names the key.
    """
    found = Imported({"providers": {}, "models": {}, "agents": {}})
    agents = mapping_at(document, "agents")
    defaults = mapping_at(agents, "defaults", "agents.")
    models = _Models(found, document, defaults, today)
    usual = _backend(defaults.get("model"), "agents.defaults.model")
    image = _backend(defaults.get("imageModel"), "agents.defaults.imageModel")
    for agent, place in _agents(agents):
        _add_agent(found, models, agent, place, usual, image)
    for ref in mapping_at(defaults, "models", "agents.defaults."):
        if ref.endswith("/*"):
            found.warn(f"agents.defaults.models.{ref}", "names no model; list those that you use")
        else:
            models.name(ref, f"agents.defaults.models.{ref}")
    if not found.registry["models"]:
        raise ConfigError("agents.defaults.model: no model is configured")
    found.left_out(agents, ("defaults", "list"), "agents")
    found.left_out(defaults, ("model", "models", "imageModel"), "agents.defaults")
    found.left_out(mapping_at(document, "models"), ("providers",), "models")
    found.left_out(document, ("agents", "models", "env"), "")
    return found


def _agents(agents: Document) -> Iterator[tuple[Document, str]]:
    """Each agent with its place; without a list there is the one that OpenClaw calls ``main``."""
    rows = agents.get("list")
    if rows is None:
        yield {"id": "main"}, "agents.defaults"
        return
    if not isinstance(rows, list):
        raise ConfigError("agents.list must be a list")
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping) or not isinstance(row.get("id"), str) or not row["id"]:
            raise ConfigError(f"agents.list[{index}] must be a mapping with an id")
        yield row, f"agents.list[{index}]"


def _backend(value: Any, place: str) -> Backend:
    if value is None:
        return Backend(None, None)
    if isinstance(value, str):
        return Backend(value, None)
    if not isinstance(value, Mapping) or set(value) - _BACKEND:
        raise ConfigError(f"{place} must be 'provider/model' or {{primary, fallbacks}}")
    primary, fallbacks = value.get("primary"), value.get("fallbacks")
    if primary is not None and not isinstance(primary, str):
        raise ConfigError(f"{place}.primary must be a text")
    if fallbacks is not None and not (isinstance(fallbacks, list) and all(isinstance(one, str) for one in fallbacks)):
        raise ConfigError(f"{place}.fallbacks must be a list of texts")
    return Backend(primary, None if fallbacks is None else tuple(fallbacks))


def _add_agent(found: Imported, models: _Models, agent: Document, place: str, usual: Backend, image: Backend) -> None:
    name = agent["id"]
    if name in found.registry["agents"]:
        raise ConfigError(f"{place}.id: {name!r} stands there twice")
    own = _backend(agent.get("model"), f"{place}.model")
    primary = own.primary or usual.primary
    if primary is None:
        raise ConfigError(f"{place}.model: neither the agent nor agents.defaults.model names a primary model")
    inherited = () if usual.fallbacks is None else usual.fallbacks
    # An object that leaves fallbacks out says nothing of them; an empty list turns the default's off.
    order = [primary, *(inherited if own.fallbacks is None else own.fallbacks)]
    names = [models.name(ref, f"{place}.model") for ref in order]
    pictures = [ref for ref in (image.primary, *(image.fallbacks or ())) if ref is not None]
    seeing = [models.name(ref, "agents.defaults.imageModel") for ref in pictures]
    if seeing and not any("vision" in models.capabilities(one) for one in names):
        found.warn("agents.defaults.imageModel", f"stands last among the fallbacks of {name!r}, for texts as well")
        names += seeing
    first, *rest = dict.fromkeys(names)
    tools = mapping_at(agent, "tools", f"{place}.").get("allow")
    said = agent.get("name")
    found.registry["agents"][name] = {
        **({"description": said} if isinstance(said, str) and said else {}),
        "model": {"primary": first, "fallbacks": rest} if rest else first,
        **({"tools": tools} if isinstance(tools, list) and "*" not in tools else {}),
    }
    found.left_out(agent, ("id", "name", "model", "tools", "default"), place)


class _Models:
    """Makes an entry of each model at its first use."""

    def __init__(self, found: Imported, document: Document, defaults: Document, today: date) -> None:
        self._found, self._today = found, today
        self._providers = mapping_at(mapping_at(document, "models"), "providers", "models.")
        catalogue = mapping_at(defaults, "models", "agents.defaults.")
        self._aliases: dict[str, str] = {}
        for ref, entry in catalogue.items():
            alias = entry.get("alias") if isinstance(entry, Mapping) else None
            if alias is None:
                alias = _ALIASES.get(ref)
            if isinstance(alias, str):
                self._aliases[alias] = ref

    def name(self, ref: str, place: str) -> str:
        """The registry's name of a model.

        Raises:
            ConfigError: Nobody serves it; names the key.
        """
        full = self._full(self._aliases.get(ref, ref), place)
        if full not in self._found.registry["models"]:
            provider, _, upstream = full.partition("/")
            self._found.registry["models"][full] = self._entry(provider, upstream, full, place)
        return full

    def capabilities(self, name: str) -> list[str]:
        """Of a model that :meth:`name` has given."""
        return list(self._found.registry["models"][name]["capabilities"])

    def _full(self, ref: str, place: str) -> str:
        """``provider/model``; a bare id is looked for among the configured models."""
        if "/" in ref:
            return ref
        holders = [name for name, one in self._providers.items() if ref in [row.get("id") for row in _rows(one, name)]]
        if len(holders) != 1:
            why = "several providers have it" if holders else "no configured provider has it"
            raise ConfigError(f"{place}: {ref!r} is no 'provider/model', and {why}")
        return f"{holders[0]}/{ref}"

    def _entry(self, provider: str, upstream: str, full: str, place: str) -> dict[str, Any]:
        configured = self._providers.get(provider)
        row = next((one for one in _rows(configured, provider) if one.get("id") == upstream), {})
        self._provider(provider, configured, place)
        inputs = row.get("input") if isinstance(row.get("input"), list) else None
        can = ["tools", "json", "streaming"]
        can += ["vision"] if inputs is None or "image" in inputs else []
        can += ["reasoning"] if row.get("reasoning") else []
        entry: dict[str, Any] = {
            "provider": provider,
            "upstream_id": upstream,
            "prices": [self._price(row, full)],
            "capabilities": can,
        }
        aliases = [alias for alias, ref in self._aliases.items() if ref == full]
        entry |= {"aliases": aliases} if aliases else {}
        sizes = {"context_window": row.get("contextWindow"), "max_output_tokens": row.get("maxTokens")}
        return entry | {key: size for key, size in sizes.items() if isinstance(size, int) and size > 0}

    def _price(self, row: Document, full: str) -> dict[str, Any]:
        cost = row.get("cost")
        if not isinstance(cost, Mapping) or not cost.get("input"):
            self._found.warn(f"the model {full}", "has no price there; write it into prices, it stands as 0")
            return {"valid_from": self._today, "input": 0, "output": 0}
        words = {"input": "input", "output": "output", "cacheRead": "cached_input"}
        numbers = {ours: cost[theirs] for theirs, ours in words.items() if isinstance(cost.get(theirs), int | float)}
        return {"valid_from": self._today, "output": 0, **numbers}

    def _provider(self, name: str, configured: Any, place: str) -> None:
        if name in self._found.registry["providers"]:
            return
        known = KNOWN.get(name)
        given: Document = configured if isinstance(configured, Mapping) else {}
        api = given.get("api")
        if known is None and "baseUrl" not in given:
            raise ConfigError(f"{place}: the provider {name!r} is neither known here nor in models.providers")
        if api is not None and api not in list(_APIS):
            raise ConfigError(
                f"models.providers.{name}.api: {api!r} is not spoken here; it is one of {', '.join(_APIS)}"
            )
        entry = {
            "adapter": _APIS[api] if api else (known.adapter if known else "openai-compatible"),
            "base_url": str(given.get("baseUrl") or (known.base_url if known else None) or "").rstrip("/"),
        }
        if known is not None and api == "openai-completions" and known.adapter != "openai":
            entry["adapter"] = known.adapter
        key = self._key_env(name, given.get("apiKey"), known)
        self._found.registry["providers"][name] = entry | ({"api_key_env": key} if key else {})
        self._found.left_out(given, ("baseUrl", "apiKey", "api", "models"), f"models.providers.{name}")

    def _key_env(self, name: str, given: Any, known: Known | None) -> str | None:
        usual = known.key_env if known else None
        if given is None:
            return usual
        if isinstance(given, Mapping) and given.get("source") == "env" and isinstance(given.get("id"), str):
            return str(given["id"])
        match = _ENV.fullmatch(given) if isinstance(given, str) else None
        if match:
            return match.group(1)
        chosen = usual or f"{re.sub(r'[^A-Za-z0-9]+', '_', name).upper()}_API_KEY"
        self._found.warn(f"models.providers.{name}.apiKey", f"is not copied; put the key into ${chosen}")
        return chosen


def _rows(provider: Any, name: str) -> list[Document]:
    """The models of a configured provider."""
    rows = provider.get("models", []) if isinstance(provider, Mapping) else []
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ConfigError(f"models.providers.{name}.models must be a list of mappings")
    return rows


def is_it(document: Document) -> bool:
    """Whether it has OpenClaw's agents, or its providers."""
    agents, models = document.get("agents"), document.get("models")
    named = isinstance(agents, Mapping) and ("defaults" in agents or "list" in agents)
    return named or (isinstance(models, Mapping) and "providers" in models)


OPENCLAW = Format("openclaw", is_it, convert)
