"""From messages to an answer through the router: options, budgets, logs, feedback, and the synchronous twins."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from router_runtime import Router
from router_runtime.budgets import Budgets
from router_runtime.errors import AllAttemptsFailed, BudgetExceeded, ConfigError, RequestError, StreamInterrupted
from router_runtime.registry import ArmEntry, BudgetEntry, ExperimentEntry, Registry, TierEntry
from router_runtime.stores.spool import read_spool, spool_files
from tests.provider_server import Close, ProviderServer, reply, stream
from tests.runtime.execution.wires import TEXT, WIRES, begun, good
from tests.runtime.execution.world import model, provider, registry

OPENAI = WIRES[0]


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer(lambda request: good(OPENAI, b'"stream"' in request.body)) as started:
        yield started


def known(server: ProviderServer, **more: Any) -> Registry:
    entries = [provider(f"p{i}", server.url, api_key_env=None) for i in range(2)]
    return replace(registry(entries, [model("m0", "p0", price=(1, 1)), model("m1", "p1", price=(50, 50))]), **more)


def opened(server: ProviderServer, *, log: Path | None = None, budgets: Budgets | None = None, **more: Any) -> Router:
    return Router.open(registry=known(server, **more), state_dir=None, log=log, budgets=budgets, seed=1)


async def test_complete_with_the_options_of_the_call(server: ProviderServer) -> None:
    async with opened(server) as router:
        answer = await router.complete("Which track?", temperature=0.5, max_tokens=7, extra={"top_k": 3}, user="ann")
        assert answer.text == TEXT
        assert answer.decision.chosen == answer.served == "m0"
        assert answer.decision.user_hash not in (None, "ann")
        sent = server.received[-1].json()
        assert sent["model"] == "up-m0"
        assert sent["messages"] == [{"role": "user", "content": "Which track?"}]
        assert (sent["temperature"], sent["max_completion_tokens"], sent["top_k"]) == (0.5, 7, 3)
        assert answer.to_openai()["choices"][0]["message"]["content"] == TEXT


async def test_misspelt_options_are_refused(server: ProviderServer) -> None:
    async with opened(server) as router:
        with pytest.raises(ConfigError, match="'temprature'"):
            await router.complete("x", temprature=1)  # type: ignore[call-arg]


async def test_stream_asks_nothing_before_the_first_chunk(server: ProviderServer) -> None:
    async with opened(server) as router:
        chunks = router.stream("Which track?")
        assert server.received == []
        text = "".join([chunk.content or "" async for chunk in chunks])  # type: ignore[union-attr]
        assert text == TEXT
        assert chunks.decision.chosen == "m0"
        assert [a.error for a in chunks.attempts] == [None]


async def test_everything_is_logged_and_feedback_is_durable(server: ProviderServer, tmp_path: Path) -> None:
    async with opened(server, log=tmp_path) as router:
        server.push(reply("no", 500))
        answer = await router.complete("Which track?")
        router.feedback(answer.decision.id, score=1.0, meta={"by": "ann"})
        with pytest.raises(RequestError, match="score"):
            router.feedback(answer.decision.id, score=1.5)
    rows = [row for path in spool_files(tmp_path) for row in read_spool(path)]
    assert [row.kind for row in rows] == ["decision", "attempt", "attempt", "feedback"]
    assert {row.decision_id for row in rows} == {answer.decision.id}


async def test_feedback_without_a_log_says_so(server: ProviderServer) -> None:
    async with opened(server) as router:
        with pytest.raises(ConfigError, match="no outcome log"):
            router.feedback("d", score=1.0)


async def test_budgets_move_to_cheaper_models_and_then_refuse(server: ProviderServer) -> None:
    server.handler = lambda _request: reply(
        {**OPENAI.good(TEXT), "usage": {"prompt_tokens": 10, "completion_tokens": 400}}
    )
    tier = TierEntry("free", budgets=(BudgetEntry("day", 0.1),), strategy="static")
    more = {"tiers": {"free": tier}, "labels": {"hard": {"m1": 1.0, "m0": 0.5}}}
    budgets = Budgets()
    served: list[tuple[str, Decimal]] = []

    async def spend(router: Router) -> None:
        for _ in range(200):
            answer = await router.complete("Which track?", tier="free", labels=["hard"])
            served.append((answer.served, answer.cost_usd))

    router = opened(server, budgets=budgets, **more)
    with pytest.raises(BudgetExceeded, match="tier:free"):
        await spend(router)
    names = [name for name, _ in served]
    assert names == sorted(names, reverse=True), "the dear model first, then only the cheap one"
    assert 3 <= names.count("m1") <= 4
    assert names.count("m0") >= 40
    assert budgets.spent("tier:free", "day")[0] == sum((cost for _, cost in served), Decimal(0)) <= Decimal("0.1")
    await router.aclose()


async def test_experiments_fix_the_arm_of_a_user(server: ProviderServer) -> None:
    arms = (ArmEntry("router", 0.5), ArmEntry("holdout", 0.5, model="m1"))
    trial = {"launch": ExperimentEntry("launch", "user", arms)}
    async with opened(server, experiments=trial) as router:
        seen = {}
        for user in [f"u{i}" for i in range(20)] * 2:
            decision = router.route("x", user=user)
            assert seen.setdefault(user, (decision.arm, decision.chosen)) == (decision.arm, decision.chosen)
        assert set(seen.values()) == {("launch/router", "m0"), ("launch/holdout", "m1")}
        assert router.route("x").arm is None
        assert router.route("x", user="u1", model="m0").chosen == "m0"


async def test_a_provider_that_failed_is_left_out_of_later_decisions(server: ProviderServer) -> None:
    async with opened(server) as router:
        server.push(reply("no", 429, retry_after="60"))
        assert (await router.complete("x")).served == "m1"
        decision = router.route("x")
        assert decision.chosen == "m1"
        assert decision.filtered == {"m0": "unhealthy or disabled"}


def test_synchronous_twins(server: ProviderServer) -> None:
    router = opened(server)
    assert router.complete_sync("Which track?").text == TEXT
    assert "".join(item.content or "" for item in router.stream_sync("Which track?")) == TEXT  # type: ignore[union-attr]
    early = router.stream_sync("Which track?")
    next(early)
    early.close()
    assert next(early, None) is None
    server.handler = lambda _request: reply("no", 500)
    with pytest.raises(AllAttemptsFailed):
        router.complete_sync("x", timeout_s=0.5)
    router.close()
    router.close()


async def test_recovery_by_option(server: ProviderServer) -> None:
    async with opened(server) as router:
        server.push(stream(begun(OPENAI), end=False, then=[Close()]))
        with pytest.raises(StreamInterrupted):
            [item async for item in router.stream("x")]
        server.push(stream(begun(OPENAI), end=False, then=[Close()]))
        items = [item async for item in router.stream("x", stream_recovery="restart")]
        assert [type(item).__name__ for item in items].count("StreamRestart") == 1


async def test_two_loops_use_one_router(server: ProviderServer) -> None:
    router = opened(server)
    assert (await router.complete("x")).text == TEXT
    assert (await asyncio.to_thread(router.complete_sync, "x")).text == TEXT
    await router.aclose()
