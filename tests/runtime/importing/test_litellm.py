"""LiteLLM's configuration becomes a registry that opens, and each thing that cannot come along is named."""

import json
from datetime import date

import pytest
import yaml

from router_runtime import Router
from router_runtime.cli import main
from router_runtime.errors import ConfigError
from router_runtime.importing import FORMATS, detect
from router_runtime.registry_reader import parse_registry

CONFIG = """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/MY_OPENAI
      rpm: 100
    model_info: {input_cost_per_token: 0.0000025, output_cost_per_token: 1e-5, max_input_tokens: 128000,
                 supports_function_calling: true, supports_vision: true}
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_base: "https://eu.example.com/v1", api_key: sk-live-hunter2,
                     input_cost_per_token: 0.000002, output_cost_per_token: 0.000008}
  - model_name: sonnet
    litellm_params: {model: anthropic/claude-sonnet-4-5, timeout: 30,
                     input_cost_per_token: 0.000003, output_cost_per_token: 0.000015}
    model_info: {cache_read_input_token_cost: 3e-7}
  - model_name: local
    litellm_params: {model: ollama/llama3, api_base: "http://localhost:11434"}
  - model_name: azure-gpt
    litellm_params: {model: azure/deployment, api_base: "https://x.openai.azure.com"}
  - model_name: embed
    litellm_params: {model: openai/text-embedding-3-small}
    model_info: {mode: embedding}
router_settings:
  routing_strategy: cost-based-routing
  redis_host: cache.internal
  redis_port: 6380
  redis_password: hunter2
  model_group_alias: {smart: sonnet, gone: nobody}
  fallbacks: [{gpt-4o: [sonnet]}]
  num_retries: 3
litellm_settings: {drop_params: true, success_callback: [langfuse], request_timeout: 120}
general_settings: {master_key: sk-1234-hunter2}
environment_variables: {A: hunter2}
"""


def imported(text=CONFIG):
    document = yaml.safe_load(text)
    form = detect(document, FORMATS)
    assert form.name == "litellm"
    return form.convert(document, date(2026, 11, 1))


def opened(found):
    return parse_registry(found.to_yaml().encode())


def test_deployments_become_models_and_addresses_providers():
    found = imported()
    registry = opened(found)
    assert list(registry.models) == ["gpt-4o", "gpt-4o-2", "sonnet", "local"]
    price = registry.models["gpt-4o"].prices[0]
    assert (price.input, price.output) == (2.5, 10.0)
    assert registry.models["sonnet"].prices[0].cached_input == 0.3
    assert registry.models["sonnet"].upstream_id == "claude-sonnet-4-5"
    assert {"tools", "vision"} <= registry.models["gpt-4o"].capabilities
    providers = {name: registry.providers[model.provider] for name, model in registry.models.items()}
    assert providers["gpt-4o"].api_key_env == "MY_OPENAI"
    assert providers["gpt-4o-2"].adapter == "openai-compatible"
    assert providers["gpt-4o-2"].base_url == "https://eu.example.com/v1"
    assert providers["sonnet"].adapter == "anthropic"
    assert (providers["sonnet"].timeout_s, providers["gpt-4o"].timeout_s) == (30.0, 120.0)
    assert providers["local"].base_url == "http://localhost:11434/v1"
    assert not registry.models["local"].enabled
    assert registry.policy.settings.strategy == "cost-first"
    assert registry.policy.static_order == ("gpt-4o", "sonnet")
    assert registry.names["smart"] == "sonnet"
    assert registry.state == "redis://cache.internal:6380/0"


@pytest.mark.parametrize(
    "place",
    [
        "model_list[0].litellm_params.rpm",
        "model_list[1].model_name",
        "model_list[1].litellm_params.api_key",
        "model_list[3]",
        "model_list[4].litellm_params.model",
        "model_list[5].model_info.mode",
        "router_settings.redis_password",
        "router_settings.model_group_alias.gone",
        "router_settings.num_retries",
        "litellm_settings.drop_params",
        "litellm_settings.success_callback",
        "general_settings.master_key",
        "environment_variables",
    ],
)
def test_what_cannot_come_along_is_named(place):
    assert [line for line in imported().warnings if line.startswith(f"{place}: ")]


def test_no_secret_comes_along():
    found = imported()
    assert "hunter2" not in yaml.safe_dump(found.registry) + "".join(found.warnings)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("model_list: nothing", "model_list must be a list"),
        ("model_list: [{model_name: a}]", r"model_list\[0\] must have a model_name"),
        ("model_list: [{model_name: a, litellm_params: {model: azure/b}}]", "no deployment.*no adapter for 'azure'"),
        ("model_list: [{model_name: a, litellm_params: []}]", "litellm_params must be a mapping"),
        ("a: 1", "no configuration that is known"),
        ("- 1", "holds no mapping"),
    ],
)
def test_refuses_what_it_cannot_read(text, reason):
    with pytest.raises(ConfigError, match=reason):
        imported(text)


def test_the_command_writes_a_registry_that_routes(tmp_path, capsys):
    config, out = tmp_path / "litellm.yaml", tmp_path / "registry.yaml"
    config.write_text(CONFIG)
    assert main(["import-config", str(config), "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "4 models from litellm" in shown.out
    assert "general_settings.master_key" in shown.err
    text = out.read_text()
    out.write_text(text.replace("state: redis://cache.internal:6380/0\n", ""))
    router = Router.open(registry=out, state_dir=None)
    assert router.route("hello").chosen in {"gpt-4o", "gpt-4o-2", "sonnet"}
    assert main(["import-config", str(config), "--out", str(out)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main(["import-config", str(config), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == "litellm"
    assert len(document["warnings"]) >= 12
    assert main(["import-config", str(tmp_path / "absent.yaml")]) == 1
