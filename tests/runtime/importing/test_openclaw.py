"""OpenClaw's configuration: every documented form of models and agents comes along, or is refused by its key."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from router_runtime import Router
from router_runtime.cli.main import main
from router_runtime.errors import ConfigError
from router_runtime.importing.base import Imported
from router_runtime.importing.openclaw import convert
from router_runtime.registry_reader import load_registry, parse_registry

TODAY = date(2026, 11, 1)
OPUS, GPT, FLASH = "anthropic/claude-opus-4-6", "openai/gpt-5.4", "google/gemini-3-flash-preview"


def converted(agents: dict[str, Any], **more: Any) -> Imported:
    found = convert({"agents": agents, **more}, TODAY)
    parse_registry(found.to_yaml().encode())
    return found


def backends(agents: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {name: entry["model"] for name, entry in converted(agents, **more).registry["agents"].items()}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (OPUS, OPUS),
        ({"primary": OPUS}, OPUS),
        ({"primary": OPUS, "fallbacks": []}, OPUS),
        ({"primary": OPUS, "fallbacks": [GPT, FLASH]}, {"primary": OPUS, "fallbacks": [GPT, FLASH]}),
        ({"primary": OPUS, "fallbacks": [GPT, OPUS, GPT]}, {"primary": OPUS, "fallbacks": [GPT]}),
    ],
)
def test_forms_of_the_default_model(model: Any, expected: Any) -> None:
    assert backends({"defaults": {"model": model}}) == {"main": expected}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (None, {"primary": OPUS, "fallbacks": [GPT]}),
        (FLASH, {"primary": FLASH, "fallbacks": [GPT]}),
        ({"primary": FLASH}, {"primary": FLASH, "fallbacks": [GPT]}),
        ({"primary": FLASH, "fallbacks": []}, FLASH),
        ({"fallbacks": [FLASH]}, {"primary": OPUS, "fallbacks": [FLASH]}),
    ],
)
def test_what_an_agent_takes_over_from_the_defaults(model: Any, expected: Any) -> None:
    agent = {"id": "writer"} if model is None else {"id": "writer", "model": model}
    assert backends({"defaults": {"model": {"primary": OPUS, "fallbacks": [GPT]}}, "list": [agent]}) == {
        "writer": expected
    }


def test_aliases_bare_ids_and_configured_providers() -> None:
    providers = {
        "lab": {
            "baseUrl": "http://10.0.0.5:8000/v1/",
            "apiKey": "${LAB_KEY}",
            "api": "openai-completions",
            "models": [
                {
                    "id": "qwen-coder",
                    "name": "Qwen",
                    "reasoning": True,
                    "input": ["text"],
                    "cost": {"input": 0.2, "output": 0.8, "cacheRead": 0.02, "cacheWrite": 0},
                    "contextWindow": 131072,
                    "maxTokens": 8192,
                }
            ],
        },
        "anthropic": {"baseUrl": "https://proxy.example/anthropic", "apiKey": {"source": "env", "id": "PROXY_KEY"}},
    }
    defaults = {"model": {"primary": "fast", "fallbacks": ["qwen-coder"]}, "models": {OPUS: {"alias": "fast"}, GPT: {}}}
    found = converted({"defaults": defaults}, models={"providers": providers})
    registry = parse_registry(found.to_yaml().encode())
    assert registry.agents["main"].models == (OPUS,)
    assert registry.agents["main"].fallbacks == ("lab/qwen-coder",)
    assert registry.names["fast"] == OPUS
    assert registry.names["gpt"] == GPT
    lab = registry.models["lab/qwen-coder"]
    assert (lab.upstream_id, lab.context_window, lab.max_output_tokens) == ("qwen-coder", 131072, 8192)
    assert lab.capabilities == {"tools", "json", "streaming", "reasoning"}
    assert (lab.prices[0].input, lab.prices[0].output, lab.prices[0].cached_input) == (0.2, 0.8, 0.02)
    provider = registry.providers["lab"]
    assert (provider.adapter, provider.base_url, provider.api_key_env) == (
        "openai-compatible",
        "http://10.0.0.5:8000/v1",
        "LAB_KEY",
    )
    assert registry.providers["anthropic"].api_key_env == "PROXY_KEY"
    assert registry.providers["anthropic"].adapter == "anthropic"


@pytest.mark.parametrize(
    "api", ["openai-completions", "openai-responses", "anthropic-messages", "google-generative-ai"]
)
def test_every_wire_format(api: str) -> None:
    providers = {"p": {"baseUrl": "http://h/v1", "api": api, "models": [{"id": "m"}]}}
    assert backends({"defaults": {"model": "p/m"}}, models={"providers": providers}) == {"main": "p/m"}


def test_an_image_model_answers_where_the_others_cannot_see() -> None:
    providers = {"p": {"baseUrl": "http://h/v1", "models": [{"id": "blind", "input": ["text"]}]}}
    found = converted(
        {"defaults": {"model": "p/blind", "imageModel": {"primary": FLASH}}}, models={"providers": providers}
    )
    assert found.registry["agents"]["main"]["model"] == {"primary": "p/blind", "fallbacks": [FLASH]}
    router = Router.open(registry=parse_registry(found.to_yaml().encode()), state_dir=None)
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]
    assert router.agent("main").route("hello").chosen == "p/blind"
    assert router.agent("main").route(picture).chosen == FLASH


def test_a_key_in_the_file_is_not_copied() -> None:
    providers = {"my-lab": {"baseUrl": "http://h/v1", "apiKey": "sk-very-secret", "models": [{"id": "m"}]}}
    found = converted({"defaults": {"model": "my-lab/m"}}, models={"providers": providers})
    assert "sk-very-secret" not in found.to_yaml() + "".join(found.warnings)
    assert found.registry["providers"]["my-lab"]["api_key_env"] == "MY_LAB_API_KEY"


def test_what_has_no_meaning_here_is_named() -> None:
    agents = {
        "defaults": {"model": OPUS, "heartbeat": {"every": "30m"}, "models": {"openai/*": {}}},
        "list": [{"id": "a", "name": "Anna", "workspace": "~/a", "tools": {"allow": ["exec"]}, "default": True}],
    }
    found = converted(agents, channels={}, models={"mode": "merge"})
    places = {warning.partition(":")[0] for warning in found.warnings}
    assert places >= {
        "agents.defaults.heartbeat",
        "agents.defaults.models.openai/*",
        "agents.list[0].workspace",
        "channels",
        "models.mode",
    }
    assert found.registry["agents"]["a"] == {"description": "Anna", "model": OPUS, "tools": ["exec"]}


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"agents": {"defaults": {}}}, "agents.defaults.model"),
        ({"agents": {"defaults": {"model": 5}}}, "agents.defaults.model"),
        ({"agents": {"defaults": {"model": {"primary": OPUS, "backup": GPT}}}}, "agents.defaults.model"),
        ({"agents": {"defaults": {"model": {"primary": 5}}}}, "agents.defaults.model.primary"),
        ({"agents": {"defaults": {"model": {"primary": OPUS, "fallbacks": GPT}}}}, "agents.defaults.model.fallbacks"),
        ({"agents": {"list": {}}}, "agents.list"),
        ({"agents": {"list": [{"name": "x"}]}}, r"agents.list\[0\]"),
        ({"agents": {"list": [{"id": "a", "model": OPUS}, {"id": "a", "model": OPUS}]}}, r"agents.list\[1\].id"),
        ({"agents": {"list": [{"id": "a", "model": "nobody/x"}]}}, r"agents.list\[0\].model: the provider 'nobody'"),
        ({"agents": {"defaults": {"model": "bare"}}}, "agents.defaults.model: 'bare' is no 'provider/model'"),
        ({"agents": {"defaults": []}}, "agents.defaults must be a mapping"),
        (
            {
                "agents": {"defaults": {"model": "p/m"}},
                "models": {"providers": {"p": {"baseUrl": "http://h", "api": "x"}}},
            },
            r"models.providers.p.api: 'x' is not spoken here",
        ),
        ({"models": {"providers": {"p": {"models": 5}}}, "agents": {"defaults": {"model": "m"}}}, "models.providers.p"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_its_key(document: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        convert(document, TODAY)


JSON5 = """
// my agents
{
  agents: {
    defaults: { model: { primary: 'anthropic/claude-opus-4-6', fallbacks: ["openai/gpt-5.4",], }, },  /* the
    usual ones */
    list: [ { id: "main", default: true }, { id: 'it\\'s', name: "say \\"hi\\" // not a comment" }, ],
  },
}
"""


def test_the_command_reads_json5_and_writes_a_registry_that_routes(tmp_path: Path, capsys: Any) -> None:
    source, out = tmp_path / "openclaw.json", tmp_path / "registry.yaml"
    source.write_text(JSON5)
    assert main(["import-config", str(source), "--out", str(out)]) == 0
    assert "2 models from openclaw" in capsys.readouterr().out
    registry = load_registry(out)
    assert registry.agents["it's"].description == 'say "hi" // not a comment'
    router = Router.open(registry=registry, state_dir=None)
    assert router.agent("main").route("hello").chosen == OPUS
    assert main(["import-config", str(source), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "openclaw"
