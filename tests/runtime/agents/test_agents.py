"""Agents at work: the right models in the right order, fair turns, matching, records, and what an agent may not do."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from router_runtime import Router
from router_runtime.agents import Agent, Roster
from router_runtime.agents.history import History
from router_runtime.agents.matching import Task
from router_runtime.agents.turns import Turns
from router_runtime.budgets import Budgets
from router_runtime.bundle import Bundle
from router_runtime.errors import BudgetExceeded, ConfigError, NoCandidateError, UnknownModelError
from router_runtime.messages import Messages
from router_runtime.options import Options
from router_runtime.overrides import disable
from router_runtime.records import to_dict
from router_runtime.registry import Registry, TierEntry
from router_runtime.registry_agents import AgentEntry, DispatchEntry
from tests.conftest import registry_text
from tests.provider_server import ProviderServer, reply
from tests.runtime.execution.wires import TEXT, WIRES, good
from tests.runtime.execution.world import model, provider, registry

MODELS = ("weak", "middle", "strong")
PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer(lambda request: good(WIRES[0], b'"stream"' in request.body)) as started:
        yield started


def world(url: str, *agents: AgentEntry, dispatch: DispatchEntry | None = None) -> Registry:
    entries = [provider(f"p-{name}", url, api_key_env=None) for name in MODELS]
    models = [replace(model(n, f"p-{n}"), quality_prior=0.3 + 0.2 * i) for i, n in enumerate(MODELS)]
    known = registry(entries, models)
    return replace(known, agents={one.name: one for one in agents}, dispatch=dispatch or DispatchEntry())


def opened(url: str, *agents: AgentEntry, dispatch: DispatchEntry | None = None, **more: Any) -> Router:
    return Router.open(registry=world(url, *agents, dispatch=dispatch), state_dir=None, seed=1, **more)


async def test_a_dedicated_agent_asks_its_model_then_its_fallbacks_in_order(server: ProviderServer) -> None:
    coder = AgentEntry("coder", system="You code.", models=("weak",), fallbacks=("strong", "middle"))
    async with opened(server.url, replace(coder, strategy="dedicated")) as router:
        server.push(reply("no", 500), reply("no", 500))
        answer = await router.agent("coder").complete("Which track?", temperature=0.5)
    assert [one.model for one in answer.attempts] == ["weak", "strong", "middle"]
    assert answer.text == TEXT
    sent = server.received[0].json()
    assert sent["messages"][0] == {"role": "system", "content": "You code."}
    assert sent["temperature"] == 0.5
    decision = answer.decision
    assert (decision.agent, decision.agent_propensity, decision.agent_dist) == ("coder", 1.0, {"coder": 1.0})
    assert to_dict(decision)["agent"] == "coder"


async def test_an_agent_streams_and_works_without_an_event_loop(server: ProviderServer) -> None:
    async with opened(server.url, AgentEntry("a")) as router:
        stream = router.agent("a").stream("Which track?")
        assert "".join([chunk.content or "" async for chunk in stream]) == TEXT  # type: ignore[union-attr]
        assert stream.decision.agent == "a"
    router = opened(server.url, AgentEntry("a"))
    assert router.agent("a").complete_sync("x").text == TEXT
    assert "".join(one.content or "" for one in router.agent("a").stream_sync("x")) == TEXT  # type: ignore[union-attr]
    router.close()


def test_a_pool_is_taken_in_turns_or_by_difficulty(bundle: Bundle) -> None:
    turns = AgentEntry("turns", models=("weak", "strong"), strategy="round-robin")
    router = opened("http://localhost:1", turns)
    assert [router.agent("turns").route("x").chosen for _ in range(4)] == ["weak", "strong", "weak", "strong"]
    fit = AgentEntry("fit", models=MODELS, strategy="complexity-match")
    agent = opened("http://localhost:1", fit).agent("fit")
    assert agent.route("x").chosen == "middle", "without a bundle every task is half hard"
    assert {c.model for c in agent.route("x").candidates} == set(MODELS)


def test_a_learned_agent_leaves_the_choice_in_its_pool_to_the_router() -> None:
    router = opened("http://localhost:1", AgentEntry("a", models=("weak", "middle")), AgentEntry("any"))
    assert {c.model for c in router.agent("a").route("x").candidates} == {"weak", "middle"}
    assert {c.model for c in router.agent("any").route("x").candidates} == set(MODELS)


def test_who_may_not() -> None:
    router = Router.open(state_dir=None)
    with pytest.raises(ConfigError, match="'coding' is for the tiers enterprise, pro"):
        router.agent("coding").route("x", tier="free")
    with pytest.raises(UnknownModelError, match=r"no agent 'codin'.*did you mean 'coding'"):
        router.agent("codin")
    with pytest.raises(ConfigError, match="model is the agent's to say"):
        router.agent("vision").route("x", model="gpt-5.5")
    narrow = replace(router.current_registry().agents["classifier"], models=("deepseek-v4-flash",), fallbacks=())
    blind = Router.open(registry=replace(router.current_registry(), agents={"classifier": narrow}), state_dir=None)
    with pytest.raises(ConfigError, match="'classifier' none of its models can do vision") as caught:
        blind.agent("classifier").route(PICTURE)
    assert "https" not in str(caught.value)


SEARCH = {"type": "function", "function": {"name": "search"}}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"tools": [SEARCH, {"type": "function", "function": {"name": "shell"}}]}, "'shell'"),
        ({"tools": [{"name": "shell", "input_schema": {}}]}, "'shell'"),
        ({"tools": [{"type": "custom", "custom": {"name": "shell"}}]}, "'shell'"),
        ({"tools": [{**SEARCH, "name": "shell"}]}, "'shell'"),
        ({"tools": [{"type": "web_search"}]}, "'web_search'"),
        ({"tools": [{"type": "function", "function": {"name": ["search"]}}]}, r"'\(without a name\)'"),
        ({"tools": [{}]}, r"'\(without a name\)'"),
        ({"extra": {"tools": [{"name": "shell"}]}}, "'shell'"),
        ({"extra": {"functions": [{"name": "shell"}]}}, "'shell'"),
        ({"extra": {"web_search_options": {}}}, "'web_search_options'"),
    ],
    ids=str,
)
def test_an_agent_with_a_list_of_tools_is_offered_no_other(body: dict[str, Any], named: str) -> None:
    known = world("http://localhost:1", AgentEntry("only", tools=frozenset({"search"})), AgentEntry("any"))
    able = {name: replace(one, capabilities=frozenset({"tools"})) for name, one in known.models.items()}
    router = Router.open(registry=replace(known, models=able), state_dir=None)
    agent = router.agent("only")
    with pytest.raises(ConfigError, match=f"may not use the tool {named}"):
        agent.options("x", body)
    assert router.agent("auto").options("x", body)[1]["agent"] == "any"
    for fine in ({"tools": [SEARCH]}, {"extra": {"functions": [{"name": "search"}], "web_search_options": None}}):
        agent.options("x", fine)


def test_a_registry_that_is_replaced_meanwhile_is_no_fault_of_the_call(tmp_path: Path) -> None:
    file = tmp_path / "registry.yaml"

    def write(name: str) -> None:
        file.write_text(registry_text(1).replace("model-0", name) + f"agents: {{a: {{model: [{name}]}}}}\n")

    write("before")
    router = Router.open(registry=file, state_dir=None)

    def read(messages: Messages, options: Options) -> Task:
        write("after")
        router.live.refresh()
        return router.agents.read(messages, options)

    _, chosen = Agent(Roster(router, read, lambda: 1), "a").options("x", {})
    assert chosen["order"] == ["before"]


def test_a_task_goes_to_no_agent_whose_models_cannot_serve_it(tmp_path: Path) -> None:
    agents = (AgentEntry("coder", "writes code", models=("strong",)), AgentEntry("other", models=("weak",)))
    tiers = {"free": TierEntry("free", models=frozenset({"weak"})), "pro": TierEntry("pro")}
    known = replace(world("http://localhost:1", *agents), tiers=tiers)
    router = Router.open(registry=known, state_dir=tmp_path)
    assert router.agent("auto").route("write code", tier="pro").agent == "coder"
    choice = router.agents.match("write code", tier="free")
    assert (choice.name, choice.refused) == ("other", {"coder": "not in the tier free (its models)"})
    disable(tmp_path, "strong", float("inf"), 0.0)
    router.live.refresh()
    assert router.agent("auto").route("write code", tier="pro").agent == "other"
    with pytest.raises(NoCandidateError, match="strong: disabled"):
        router.agent("coder").route("write code", tier="pro")
    disable(tmp_path, "weak", float("inf"), 0.0)
    router.live.refresh()
    with pytest.raises(NoCandidateError, match=r"coder: disabled \(its models\); other: disabled"):
        router.agents.match("write code", tier="pro")
    with pytest.raises(ConfigError, match=r"no tier 'fre'.*did you mean 'free'"):
        router.agents.match("write code", tier="fre")
    with pytest.raises(ConfigError, match=r"no tier 'nope' in the registry; it has free, pro$"):
        router.agents.match("write code", tier="nope")


def test_an_agent_s_budget_holds_for_all_its_calls(server: ProviderServer, tmp_path: Path) -> None:
    poor = AgentEntry("poor", budgets=(("day", 0.000001, None),))
    router = opened(server.url, poor, AgentEntry("rich"), budgets=Budgets(tmp_path / "budgets.sqlite"))
    with pytest.raises(BudgetExceeded, match="agent:poor"):
        router.agent("poor").complete_sync("x", max_tokens=100)
    assert router.agent("rich").complete_sync("x", max_tokens=100).text == TEXT
    router.close()


def test_tasks_without_an_agent_find_the_one_they_fit() -> None:
    router = Router.open("models/default", state_dir=None)
    match = router.agents.match
    assert match(PICTURE, tier="pro").name == "vision"
    assert match("Refactor this python function and fix the failing unit test", tier="pro").name == "coding"
    assert match("Sort this support ticket into a category: billing or shipping", tier="free").name == "classifier"
    assert match("Install nginx and deploy it with shell commands in the terminal", tier="pro").name == "terminal"
    choice = match("Refactor this python function", tier="free")
    assert choice.name in ("vision", "classifier")
    assert set(choice.refused) == {"coding", "terminal"}
    assert choice.propensity == 1.0
    assert sum(choice.dist.values()) == 1.0
    assert match("hello", intent="describe_image").name == "vision"


def test_epsilon_gives_every_agent_its_share_and_the_record_says_it() -> None:
    agents = [AgentEntry(name, description=text) for name, text in (("a", "red"), ("b", "green"), ("c", "blue"))]
    router = opened("http://localhost:1", *agents, dispatch=DispatchEntry(epsilon=0.3))
    decisions = [router.agent("auto").route("a red thing") for _ in range(3000)]
    counts = Counter(one.agent for one in decisions)
    assert decisions[0].agent_dist == pytest.approx({"a": 0.8, "b": 0.1, "c": 0.1})
    for name, share in (("a", 0.8), ("b", 0.1), ("c", 0.1)):
        assert abs(counts[name] / 3000 - share) < 4 * (share * (1 - share) / 3000) ** 0.5
    assert all(one.agent_propensity == (one.agent_dist or {})[one.agent or ""] for one in decisions)


def test_hard_tasks_go_to_agents_with_stronger_models() -> None:
    agents = [AgentEntry(f"of-{name}", models=(name,), strategy="dedicated") for name in MODELS]
    router = opened("http://localhost:1", *agents, dispatch=DispatchEntry("complexity-match"))
    roster, known = router.agents, router.current_registry()
    task = roster.read("x", Options())
    named = [roster.choose(known, replace(task, complexity=c)).name for c in (0.0, 0.5, 1.0)]
    assert named == ["of-weak", "of-middle", "of-strong"]


def test_agents_learn_from_feedback(tmp_path: Path) -> None:
    twins = [AgentEntry(name, description="answers questions") for name in ("one", "two")]
    router = opened("http://localhost:1", *twins, log=tmp_path)
    assert router.agents.match("a question").name == "one", "the first of two that fit alike"
    for _ in range(20):
        router.feedback(router.agent("one").route("a question").id, score=0.0, wait=False)
        router.feedback(router.agent("two").route("a question").id, score=1.0, wait=False)
    assert router.agents.match("a question").name == "two"
    router.close()


def test_history_is_bounded_and_counts_feedback_once() -> None:
    history = History(remembered=2)
    for n in range(3):
        history.handed(f"d{n}", "a", "math")
    assert not history.learn("d0", 1.0), "forgotten"
    assert history.learn("d1", 1.0)
    assert not history.learn("d1", 1.0)
    history.handed("e", "b", "math")
    history.learn("e", 0.0)
    assert history.lead("a", "math") > 0 > history.lead("b", "math")
    assert history.lead("a", "law") == 0 == history.lead("nobody", "math")


@pytest.mark.parametrize("n", [1, 3, 7])
def test_turns_are_fair_under_200_concurrent_callers(n: int) -> None:
    names = [f"agent-{i}" for i in range(n)]
    agents = [AgentEntry(name) for name in names]
    router = opened("http://localhost:1", *agents, dispatch=DispatchEntry("round-robin"))
    taken: list[str] = []

    def work() -> None:
        taken.extend(str(router.agent("auto").route("x").agent) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = Counter(taken)
    assert len(taken) == 1000
    assert set(counts) == set(names)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_look_takes_nobodys_turn() -> None:
    router = opened("http://localhost:1", AgentEntry("a"), AgentEntry("b"), dispatch=DispatchEntry("round-robin"))
    seen = [(router.agents.match("x").name, router.agent("auto").route("x").agent) for _ in range(3)]
    assert seen == [("a", "a"), ("b", "b"), ("a", "a")]


async def test_turns_are_fair_among_tasks_of_an_event_loop(server: ProviderServer) -> None:
    agents = [AgentEntry(f"a{i}") for i in range(3)]
    async with opened(server.url, *agents, dispatch=DispatchEntry("round-robin")) as router:
        answers = await asyncio.gather(*(router.agent("auto").complete("x") for _ in range(200)))
    counts = Counter(answer.decision.agent for answer in answers)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert {answer.decision.agent_propensity for answer in answers} == {1 / 3}


def test_turns_forget_circles_that_nobody_could_keep() -> None:
    turns = Turns()
    for n in range(3000):
        assert turns.take((f"only-{n}",)) == f"only-{n}"


def test_no_agent_may_take_it_says_why_of_each() -> None:
    router = opened("http://localhost:1", AgentEntry("a", tiers=frozenset({"pro"})))
    with pytest.raises(NoCandidateError, match="a: is for the tiers pro"):
        router.agent("auto").route("x")
    with pytest.raises(NoCandidateError, match="the registry lists none"):
        opened("http://localhost:1").agents.match("x")


@pytest.mark.parametrize(
    ("declared", "matched"),
    [
        ("refactor_function", "refactor_function"),
        ("refactor_functions", "refactor_function"),
        ("refactorFunction", "refactor_function"),
        ("invoice_extraction", "extract_invoice"),
        ("classify-messages", "classify_message"),
        ("describe_the_picture", "describe_image"),
        ("bake_a_cake", None),
        ("", None),
        ("💥", None),
    ],
)
def test_unknown_intents_count_as_the_nearest_known_one(declared: str, matched: str | None) -> None:
    router = Router.open(state_dir=None)
    decision = router.route("x", intent=declared)
    assert (decision.intent, decision.matched_intent) == (declared, matched)


def test_strict_intents_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"no intent 'refactor_functions' .* \(did you mean 'refactor_function'\?\)"):
        Router.open(state_dir=None).route("x", intent="refactor_functions", strict_intent=True)
