"""Conversations: the prompt cache's part in the cost, and histories that not every model can take."""

import threading

import pytest

from router_runtime import Router
from router_runtime.chat import Usage
from router_runtime.execution import Engine
from router_runtime.prefixes import PrefixMemory
from router_runtime.providers.catalog import adapter
from router_runtime.registry import ProviderEntry
from router_runtime.registry_reader import parse_registry
from tests.provider_server import ProviderServer, reply
from tests.runtime.execution.wires import WIRES

P = ProviderEntry("p", "openai", "http://x", cache_ttl_s=300.0, cache_min_tokens=1024)
REGISTRY = """\
providers:
  p: {adapter: openai, base_url: "%s", cache_ttl_s: 300}
models:
  dear: {provider: p, prices: [{valid_from: 2026-04-01, input: 3, output: 1, cached_input: 0.3}]}
  cheap: {provider: p, prices: [{valid_from: 2026-04-01, input: 2, output: 1, cached_input: 0.2}]}
  uncached: {provider: p, prices: [{valid_from: 2026-04-01, input: 2.5, output: 1}]}
policy: {strategy: cost-first, quality_target: 0.4}
"""
LONG = "word " * 8000  # about 10,000 tokens


def opened(clock, url="http://127.0.0.1:1", **engine):
    made = Engine(adapter, clock=clock, environ={}, **engine)
    known = parse_registry((REGISTRY % url).encode())
    return Router.open(registry=known, state_dir=None, engine=made, clock=clock, seed=1)


def choose(router, **options):
    return router.route(LONG, strategy="cost-first", **options)


def test_a_conversation_stays_where_its_prompt_is_cached(clock):
    router = opened(clock)
    assert choose(router, session="s").chosen == "cheap"
    router.engine.prefixes.answered("s", "dear", P, Usage(9_000, 10), clock.now)
    decision = choose(router, session="s")
    assert decision.chosen == "dear"
    cost = {c.model: c.cost_usd for c in decision.candidates}
    plain = {c.model: c.cost_usd for c in choose(router).candidates}
    assert plain["dear"] - cost["dear"] == pytest.approx(9_000 * (3 - 0.3) * 1e-6), "the record shows what was weighed"
    assert cost["cheap"] == plain["cheap"]
    assert choose(router, session="other").chosen == choose(router).chosen == "cheap"
    clock.now += 301
    assert choose(router, session="s").chosen == "cheap", "the provider has forgotten"


def test_no_more_is_saved_than_the_prompt_and_nothing_without_a_price_for_it(clock):
    router = opened(clock)
    for name in ("cheap", "uncached"):
        router.engine.prefixes.answered("s", name, P, Usage(900_000, 10), clock.now)
    plain = {c.model: c.cost_usd for c in choose(router).candidates}
    found = choose(router, session="s")
    cost = {c.model: c.cost_usd for c in found.candidates}
    tokens = found.candidates[0].input_tokens
    assert plain["cheap"] - cost["cheap"] == pytest.approx(tokens * 1.8e-6)
    assert cost["uncached"] == plain["uncached"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_calls_tell_who_holds_the_conversation(clock, streamed):
    wire = WIRES[0]
    usage = {"prompt_tokens": 9_500, "completion_tokens": 5, "total_tokens": 9_505}
    with ProviderServer() as server:
        server.handler = lambda _request: reply({**wire.good("Fine."), "usage": usage})
        async with opened(clock, server.url) as router:
            if streamed:
                async with router.stream(LONG, session="s", model="dear") as chunks:
                    assert "".join([chunk.content or "" async for chunk in chunks]) == "Fine."
            else:
                await router.complete(LONG, session="s", model="dear")
            await router.complete(LONG, model="dear")
            assert choose(router, session="s").chosen == "dear"


def test_a_cache_that_does_not_answer_is_not_counted_on():
    memory = PrefixMemory()
    memory.answered("s", "m", P, Usage(5_000), 0.0)
    assert memory.held("s", ["n", "m"], 1.0).tolist() == [0.0, 5_000.0]
    memory.answered("s", "m", P, Usage(6_000), 2.0)  # it could have read the first 5,000, and did not
    assert memory.held("s", ["m"], 3.0) is None
    memory.answered("s", "m", P, Usage(7_000, cached_tokens=6_000), 4.0)
    assert memory.held("s", ["m"], 5.0).tolist() == [7_000.0]


def test_short_prompts_and_providers_without_a_cache_are_not_remembered():
    memory = PrefixMemory()
    memory.answered("s", "m", P, Usage(1_023), 0.0)
    memory.answered("s", "m", ProviderEntry("q", "openai", "http://x", cache_ttl_s=0.0), Usage(5_000), 0.0)
    assert memory.held("s", ["m"], 0.0) is None


def test_the_memory_is_bounded_and_forgets_the_silent_first():
    memory = PrefixMemory(sessions=100)
    for number in range(100):
        memory.answered(f"s{number}", "m", P, Usage(2_000), 0.0)
    memory.answered("s0", "m", P, Usage(3_000, cached_tokens=2_000), 1.0)
    memory.answered("new", "m", P, Usage(2_000), 1.0)
    assert memory.held("s0", ["m"], 2.0) is not None
    assert memory.held("s1", ["m"], 2.0) is None


def test_many_threads_may_use_it():
    memory = PrefixMemory(sessions=10)

    def work(start):
        for number in range(start, start + 500):
            memory.answered(f"s{number % 37}", "m", P, Usage(2_000), 0.0)
            memory.held(f"s{number % 41}", ["m"], 0.0)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(memory.held(f"s{n}", ["m"], 0.0) is not None for n in range(37)) == 10


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


@pytest.mark.parametrize(
    ("history", "lacks"),
    [
        ([{"role": "assistant", "content": None, "tool_calls": [CALL]}], "tools"),
        ([{"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]}], "tools"),
        ([{"role": "tool", "tool_call_id": "c", "content": "3"}], "tools"),
        ([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "3"}]}], "tools"),
        ([{"role": "user", "content": [IMAGE]}], "vision"),
    ],
)
def test_a_history_only_goes_to_models_that_can_take_it(history, lacks):
    text = REGISTRY % "http://x"
    able = text.replace("  dear: {", "  dear: {capabilities: [tools, vision], ")
    router = Router.open(registry=parse_registry(able.encode()), state_dir=None)
    messages = [{"role": "user", "content": "Hi"}, *history, {"role": "user", "content": "Go on."}]
    decision = router.route(messages, session="s")
    assert decision.chosen == "dear"
    assert decision.filtered == dict.fromkeys(("cheap", "uncached"), f"cannot do {lacks}")
