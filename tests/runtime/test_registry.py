from datetime import date

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from router_runtime.errors import RegistryError, UnknownModelError
from router_runtime.registry import Registry
from router_runtime.registry_reader import DEFAULT_REGISTRY, load_registry, parse_registry

SHIPPED = DEFAULT_REGISTRY.read_text()
SMALL = """\
providers:
  p: {adapter: openai, base_url: "http://localhost:1"}
models:
  a:
    provider: p
    prices: [{valid_from: 2026-04-01, input: 1, output: 2}]
  b:
    provider: p
    aliases: [bee]
    prices: [{valid_from: 2026-04-01, input: 1, output: 2}]
"""

HALVES = "arms: {x: {share: .5}, y: {share: .5}}"


def test_the_shipped_registry_lists_the_playbooks_five_models(registry):
    prices = {name: (m.prices[0].input, m.prices[0].output) for name, m in registry.models.items()}
    assert prices == {
        "gpt-5.5": (6, 30),
        "claude-opus-4.7": (15, 75),
        "gemini-3.1-pro": (1.5, 9),
        "deepseek-v4-flash": (0.3, 1.2),
        "llama-4-scout": (0, 0),
    }
    assert all(m.prices[0].valid_from == date(2026, 4, 1) for m in registry.models.values())
    assert registry.models["deepseek-v4-flash"].context_window == 128_000
    assert registry.models["llama-4-scout"].context_window == 10_000_000
    assert registry.models["llama-4-scout"].self_hosted
    assert "vision" in registry.models["gemini-3.1-pro"].capabilities


def test_parameters_that_a_model_does_not_take_are_named_by_it_and_by_its_provider(registry):
    assert "temperature" in registry.models["claude-opus-4.7"].drop_params
    found = parse_registry(SMALL.replace("adapter: openai,", "adapter: openrouter, drop_params: [seed],").encode())
    assert found.providers["p"].drop_params == {"seed"}
    assert found.models["a"].drop_params == frozenset()


def test_aliases_mean_their_model(registry):
    assert registry.model("opus").name == "claude-opus-4.7"
    with pytest.raises(UnknownModelError, match=r"'gpt5.5' \(did you mean 'gpt-5.5'\?\)"):
        registry.model("gpt5.5")


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("    prices:", "    prises:", 6, "did you mean 'prices'"),
        ("    provider: p\n", "    provider: p\n    drop_params: [stream]\n", 6, "which no call can lack"),
        ("input: 1", "input: -1", 6, "must be at least 0"),
        ("input: 1", "input: .nan", 6, "must be at least 0"),
        ("input: 1", "input: .inf", 6, "must be at least 0"),
        ("input: 1", "input: true", 6, "must be a number"),
        ("input: 1", "input: 1e3x", 6, "must be a number, not text"),
        ("input: 1", "input: 1, input: 2", 6, "stands twice"),
        ("2026-04-01", "2026-13-01", 6, "expected a day"),
        ("    prices: [{valid_from: 2026-04-01, input: 1, output: 2}]\n", "", 4, "lacks prices"),
        ("[bee]", "[a]", 7, "already means 'a'"),
        ("[bee]", "[auto]", 7, "'auto'"),
        ("[bee]", "[bee, bee]", 9, "twice"),
        ("provider: p", "provider: q", 4, "unknown provider 'q'"),
        ("adapter: openai", "adapter: opnai", 2, "did you mean 'openai'"),
        ('"http://localhost:1"', '"ftp://localhost"', 2, "http"),
        ('"http://localhost:1"', '"http://localhost:99999999"', 2, "http"),
        ('"http://localhost:1"', '"http://user:pw@localhost"', 2, "keys belong in api_key_env"),
        ('"http://localhost:1"', '"http://localhost:1", headers: {x: "a\\n"}', 2, "no HTTP header may hold"),
        ("providers:", "actors: {}\nproviders:", 1, "unknown key 'actors'"),
        ("models:\n", "models:\n  a: {}\n", 5, "stands twice"),
        ("provider: p", "provider: &x p", None, None),
        ("providers:", "policy: {strategy: cheap}\nproviders:", 1, "one of cost-first"),
        ("providers:", "policy: {quality_target: 1.5}\nproviders:", 1, "between 0 and 1"),
        ("providers:", "labels: {code: {c: 1}}\nproviders:", 1, "unknown model 'c'"),
        ("providers:", "tiers: {free: {budgets: {week: {usd: 1}}}}\nproviders:", 1, "unknown window 'week'"),
        ("providers:", "tiers: {free: {budgets: {day: {}}}}\nproviders:", 1, "neither usd nor tokens"),
        ("providers:", "tiers: {free: {budgets: {day: {usd: 10000000}}}}\nproviders:", 1, "between 0 and 9e+06"),
        ("providers:", "policy: {exploration_budget_usd: 10000000}\nproviders:", 1, "between 0 and 9e+06"),
        ("providers:", f"experiments: {{e: {{tiers: [fre], {HALVES}}}}}\nproviders:", 1, "unknown 'fre'"),
        ("providers:", "experiments: {e: {arms: {x: {share: 1}}}}\nproviders:", 1, "two arms"),
        ("providers:", "intents: {i: {capabilities: [fly]}}\nproviders:", 1, "holds 'fly'"),
        ("providers:", "policy: !!python/object:os.system {}\nproviders:", None, None),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_its_line(old, new, line, message):
    text = SMALL.replace(old, new, 1)
    assert text != SMALL
    if line is None:
        parse_or_refuse(text.encode())
        return
    with pytest.raises(RegistryError) as caught:
        parse_registry(text.encode(), "r.yaml")
    assert str(caught.value).startswith(f"r.yaml:{line}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def parse_or_refuse(data):
    try:
        assert isinstance(parse_registry(data, "r.yaml"), Registry)
    except RegistryError as error:
        refusal = error
    else:
        return
    assert str(refusal).startswith("r.yaml:")


def test_an_alias_of_yaml_is_refused_so_that_nothing_can_multiply():
    bomb = "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(3))
    with pytest.raises(RegistryError, match="anchors and aliases"):
        parse_registry(bomb.encode())


@pytest.mark.parametrize(
    "data", [b"", b"#", b"[" * 100_000, b"\xff\xfe", b"a: " * 9999, b"x" * (2 << 20), b"- 1", b'"\\UFFFFFFFF"']
)
def test_what_is_no_registry_is_refused(data):
    with pytest.raises(RegistryError):
        parse_registry(data)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RegistryError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_registry(tmp_path / "nowhere.yaml")


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    parse_or_refuse(data)


@settings(max_examples=300)
@given(st.data())
def test_any_damage_to_the_shipped_file_is_read_or_refused(data):
    start = data.draw(st.integers(0, len(SHIPPED)))
    length = data.draw(st.integers(0, 40))
    parse_or_refuse(
        (SHIPPED[:start] + data.draw(st.text(max_size=12)) + SHIPPED[start + length :]).encode("utf-8", "surrogatepass")
    )


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200)
@given(json_like, st.sampled_from(["models", "tiers", "labels", "intents", "policy", "experiments", "providers"]))
def test_any_value_in_any_section_is_read_or_refused(value, key):
    document = yaml.safe_load(SMALL)
    document[key] = value
    parse_or_refuse(yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))
