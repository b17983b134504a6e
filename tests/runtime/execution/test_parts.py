"""The small parts of the engine alone: the watchdog, the retry budget, exact costs, continuations."""

import asyncio
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_runtime.chat import ChatChunk, Usage
from router_runtime.execution.ending import to_end
from router_runtime.execution.hedging import first_of
from router_runtime.execution.ledger import exact_cost
from router_runtime.execution.recovery import Delivered, as_continuation, continuation
from router_runtime.execution.retry import RetryBudget, RetrySettings, backoff_s
from router_runtime.execution.settings import StreamRestart
from router_runtime.execution.watchdog import Expired, Watchdog
from router_runtime.registry import Price
from tests.runtime.execution.world import ASK


def loop_time() -> float:
    return asyncio.get_running_loop().time()


async def test_a_limit_ends_the_work_and_says_which_one() -> None:
    watch = Watchdog(loop_time() + 10)
    with pytest.raises(Expired) as caught:
        await watch.limit(asyncio.sleep(5), loop_time() + 0.02, "idle")
    assert caught.value.kind == "idle"
    assert await watch.limit(asyncio.sleep(0, "fine"), loop_time() + 5, "idle") == "fine"
    watch.close()


async def test_no_limit_goes_beyond_the_deadline() -> None:
    watch = Watchdog(loop_time() + 0.02)
    with pytest.raises(Expired) as caught:
        await watch.limit(asyncio.sleep(5), loop_time() + 5, "idle")
    assert caught.value.kind == "total"
    watch.close()


async def test_time_between_the_limits_does_not_count() -> None:
    watch = Watchdog(loop_time() + 10)
    for _ in range(3):
        assert await watch.limit(asyncio.sleep(0, 1), loop_time() + 0.02, "idle") == 1
        await asyncio.sleep(0.03)
    watch.close()


async def test_an_earlier_limit_replaces_a_later_one() -> None:
    watch = Watchdog(loop_time() + 10)
    await watch.limit(asyncio.sleep(0), loop_time() + 9, "first_token")
    async with asyncio.timeout(5):
        with pytest.raises(Expired):
            await watch.limit(asyncio.sleep(8), loop_time() + 0.01, "idle")
    watch.close()


async def test_the_callers_own_cancellation_passes_through() -> None:
    watch = Watchdog(loop_time() + 10)

    async def work() -> None:
        await watch.limit(asyncio.sleep(5), loop_time() + 5, "idle")

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    watch.close()


async def test_a_timeout_around_the_call_keeps_its_meaning() -> None:
    watch = Watchdog(loop_time() + 10)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watch.limit(asyncio.sleep(5), loop_time() + 5, "idle"), 0.01)
    watch.close()


@pytest.mark.parametrize("ago_s", [2.0, 0.5], ids=["before", "after"])
async def test_a_caller_who_cancels_in_the_turn_in_which_a_limit_passes_is_heard(ago_s: float) -> None:
    watch = Watchdog(loop_time() + 10)

    async def work() -> None:
        await watch.limit(asyncio.sleep(5), loop_time() - 1.0, "idle")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)  # it waits, and its limit has passed; the order of timers is that of their times
    asyncio.get_running_loop().call_at(loop_time() - ago_s, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    watch.close()


def test_retries_draw_on_the_providers_own_bucket_and_successes_refill_it() -> None:
    budget = RetryBudget(RetrySettings(capacity=20))
    assert [budget.take("p"), budget.take("p", after_timeout=True), budget.take("p"), budget.take("p")] == [
        5,
        10,
        5,
        None,
    ]
    assert budget.take("q") == 5
    for _ in range(5):
        budget.succeeded("p")
    assert budget.take("p") == 5
    budget.succeeded("p", 5)
    assert budget.left("p") == 5
    for _ in range(100):
        budget.succeeded("p")
    assert budget.left("p") == 20


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_full_jitter_within_its_cap(retry: int, draw: float) -> None:
    settings = RetrySettings(base_s=0.2, cap_s=3.0)
    assert 0.0 <= backoff_s(settings, retry, lambda: draw) <= min(3.0, 0.2 * 2.0 ** min(retry, 60))


def test_costs_are_exact_and_cached_tokens_have_their_own_price() -> None:
    price = Price(date(2026, 1, 1), 0.3, 1.2, 0.0375)
    usage = Usage(input_tokens=1000, output_tokens=10, cached_tokens=900)
    assert exact_cost(price, usage) == Decimal("0.00007575")
    assert exact_cost(Price(date(2026, 1, 1), 0.3, 1.2), usage) == Decimal("0.000312")


def test_a_continuation_ends_with_the_user_and_keeps_the_streams_id() -> None:
    asked = continuation(ASK, "The points")
    assert [message["role"] for message in asked.messages] == ["user", "assistant", "user"]
    chunk = as_continuation(ChatChunk("other", "m", content=" are", role="assistant"), "first")
    assert (chunk.id, chunk.role, chunk.content) == ("first", None, " are")


def test_what_was_delivered_is_the_text_in_order() -> None:
    seen = Delivered()
    seen.see(
        [ChatChunk("c", "m", role="assistant"), ChatChunk("c", "m", content="a"), ChatChunk("d", "m", content="b")]
    )
    assert (seen.text, seen.id, seen.tools) == ("ab", "c", False)
    seen.see([StreamRestart("m2", "ab")])
    assert (seen.text, seen.id) == ("", None)


async def late(value: int | None, seconds: float) -> int | None:
    await asyncio.sleep(seconds)
    return value


async def test_the_first_result_wins_and_none_is_no_result() -> None:
    assert await first_of(lambda: late(1, 0), lambda: late(2, 0), 5) == 1
    assert await first_of(lambda: late(1, 9), lambda: late(2, 0), 0.01) == 2
    assert await first_of(lambda: late(None, 0.05), lambda: late(2, 0.1), 0.01) == 2
    assert await first_of(lambda: late(1, 0.05), lambda: None, 0.01) == 1
    assert await first_of(lambda: late(None, 0), lambda: late(2, 0), 5) is None


async def test_a_winner_that_nobody_takes_is_closed_with_the_losers() -> None:
    """The caller leaves, twice, while the loser closes its books."""
    closing, may_end = asyncio.Event(), asyncio.Event()
    closed: list[int] = []

    async def loser() -> int | None:
        try:
            await asyncio.sleep(9)
        finally:
            closing.set()
            await may_end.wait()
            closed.append(0)
        return 0

    async def discard(result: int) -> None:
        await asyncio.sleep(0)
        closed.append(result)

    call = asyncio.create_task(first_of(loser, lambda: late(2, 0), 0.0, discard))
    await closing.wait()
    for _ in range(2):
        call.cancel()
        await asyncio.sleep(0)
    assert not call.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert closed == [0, 2]


async def test_work_comes_to_its_end_however_often_its_caller_leaves() -> None:
    loop = asyncio.get_running_loop()
    work: asyncio.Future[int] = loop.create_future()
    caller = asyncio.create_task(to_end(work))
    for _ in range(3):
        await asyncio.sleep(0)
        caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    work.set_result(1)
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await to_end(work) == 1
