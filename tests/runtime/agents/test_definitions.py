"""Agents in the registry: every form of a backend, folders, and mistakes with their place."""

import threading
from pathlib import Path

import pytest

from router_runtime import Router
from router_runtime.errors import RegistryError
from router_runtime.hooks import RouterEvent, Swapped, SwapRefused
from router_runtime.registry_agents import AgentEntry, DispatchEntry, MemoryEntry
from router_runtime.registry_reader import load_registry, parse_registry
from tests.conftest import Clock

BASE = """
providers: {p: {adapter: openai, base_url: "http://localhost:1"}}
models:
  big: {provider: p, aliases: [b], prices: [{valid_from: 2026-01-01, input: 9, output: 9}]}
  small: {provider: p, prices: [{valid_from: 2026-01-01, input: 1, output: 1}]}
intents: {sum_up: {labels: [summary]}}
tiers: {pro: {}}
"""


def agents(text: str) -> dict[str, AgentEntry]:
    return dict(parse_registry(f"{BASE}{text}".encode()).agents)


@pytest.mark.parametrize(
    ("model", "models", "fallbacks", "strategy"),
    [
        ("auto", (), (), "learned"),
        ("b", ("big",), (), "dedicated"),
        ("[small, b]", ("small", "big"), (), "learned"),
        ("{primary: b, fallbacks: [small, big]}", ("big",), ("small",), "dedicated"),
    ],
)
def test_every_form_of_a_backend(
    model: str, models: tuple[str, ...], fallbacks: tuple[str, ...], strategy: str
) -> None:
    entry = agents(f"agents: {{a: {{model: {model}}}}}")["a"]
    assert (entry.models, entry.fallbacks, entry.strategy) == (models, fallbacks, strategy)


def test_everything_that_an_agent_may_say() -> None:
    entry = agents(
        """
agents:
  coder:
    description: writes code
    system: You write code.
    model: [big, small]
    strategy: complexity-match
    labels: [code]
    intent: sum_up
    tiers: [pro]
    tools: [shell]
    budgets: {day: {usd: 5}}
    memory: {write: team, read: [team, everyone]}
dispatch: {strategy: round-robin, epsilon: 0.1}
"""
    )["coder"]
    assert entry == AgentEntry(
        name="coder",
        description="writes code",
        system="You write code.",
        models=("big", "small"),
        strategy="complexity-match",
        labels=("code",),
        intent="sum_up",
        tiers=frozenset({"pro"}),
        tools=frozenset({"shell"}),
        budgets=(("day", 5.0, None),),
        memory=MemoryEntry("team", frozenset({"team", "everyone"})),
    )
    assert parse_registry(f"{BASE}dispatch: {{epsilon: 0.1}}".encode()).dispatch == DispatchEntry(epsilon=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agents: {a: {modle: big}}", r"unknown key 'modle' in agents.a \(did you mean 'model'\?\)"),
        ("agents: {a: {model: bigg}}", "unknown model 'bigg' .did you mean 'big'"),
        ("agents: {a: {model: {fallbacks: [big]}}}", "lacks the key 'primary'"),
        ("agents: {a: {intent: sum_upp}}", "unknown 'sum_upp' .did you mean 'sum_up'"),
        ("agents: {a: {tiers: [por]}}", "unknown 'por' .did you mean 'pro'"),
        ("agents: {a: {strategy: round-robin}}", "needs models to take from"),
        ("agents: {auto: {}}", "cannot name an agent"),
        ("agents: {a/b: {}}", "cannot name an agent"),
        ("agents: {a: {memory: {write: 'agent:b'}}}", "private scopes are never shared"),
        ("agents: {a: {budgets: {year: {usd: 1}}}}", "unknown window 'year'"),
        ("agents_dir: nowhere", "agents_dir names no folder"),
        ("dispatch: {strategy: random}", "it is one of dedicated"),
    ],
)
def test_mistakes_are_named_with_their_line(text: str, message: str) -> None:
    with pytest.raises(RegistryError, match=message) as caught:
        agents(text)
    assert str(caught.value).startswith("registry.yaml:")


def test_a_folder_with_one_agent_a_file(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "coder.yaml").write_text("model: big\nlabels: [code]\n")
    (tmp_path / "agents" / "notes.txt").write_text("not an agent")
    path = tmp_path / "registry.yaml"
    path.write_text(f"{BASE}agents: {{chat: {{model: small}}}}\nagents_dir: agents\n")
    found = load_registry(path).agents
    assert list(found) == ["chat", "coder"]
    assert found["coder"].models == ("big",)
    (tmp_path / "agents" / "chat.yml").write_text("model: big\n")
    with pytest.raises(RegistryError, match="'chat' stands in agents and in the folder agents"):
        load_registry(path)
    (tmp_path / "agents" / "chat.yml").write_text("model: biggg\n")
    with pytest.raises(RegistryError, match=r"chat.yml:1: unknown model 'biggg'"):
        load_registry(path)


def test_an_edit_of_an_agent_s_file_is_taken_over(tmp_path: Path, clock: Clock) -> None:
    done, events = threading.Event(), list[RouterEvent]()

    def observe(event: RouterEvent) -> None:
        if isinstance(event, Swapped | SwapRefused):
            events.append(event)
            done.set()

    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "coder.yaml").write_text("model: big\n")
    path = tmp_path / "registry.yaml"
    path.write_text(f"{BASE}agents_dir: agents\n")
    router = Router.open(registry=path, state_dir=None, timer=clock, observers=[observe])
    first = router.current_registry().version
    clock.advance(1.5)
    router.route("hi")
    router.live.refresh()
    assert events == [], "nothing has changed"
    (tmp_path / "agents" / "coder.yaml").write_text("model: small\n")
    clock.advance(1.5)
    router.route("hi")
    assert done.wait(30)
    router.live.refresh()
    assert router.current_registry().agents["coder"].models == ("small",)
    assert router.current_registry().version != first
    (tmp_path / "agents" / "other.yaml").write_text("model: tall\n")
    router.live.refresh()
    assert isinstance(events[-1], SwapRefused)
    (tmp_path / "agents" / "other.yaml").unlink()
    router.live.refresh()
    assert [one.name for one in router.agents] == ["coder"]


def test_the_shipped_agents_are_the_playbook_s() -> None:
    primary = {name: entry.models for name, entry in load_registry().agents.items()}
    assert primary == {
        "coding": ("claude-opus-4.7",),
        "vision": ("gemini-3.1-pro",),
        "classifier": ("deepseek-v4-flash",),
        "terminal": ("gpt-5.5",),
    }
