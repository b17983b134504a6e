"""Hedging: where one candidate is slow to answer, the next is asked beside it, and the first good answer wins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from router_runtime.execution.ending import to_end

T = TypeVar("T")
Work = Coroutine[Any, Any, T | None]


async def _nothing(_result: object) -> None:
    """A whole answer that came too late holds nothing open."""


async def first_of(
    first: Callable[[], Work[T]],
    second: Callable[[], Work[T] | None],
    after_s: float,
    discard: Callable[[T], Awaitable[None]] = _nothing,
) -> T | None:
    """The first result that is not None; None where there is none.

    Args:
        first: Begins at once.
        second: Begins where ``first`` has not ended after ``after_s`` seconds; may have nothing to begin.
        after_s: Seconds.
        discard: Closes a result that is not the one returned, or is no longer wanted because the caller was cancelled.

    The loser is cancelled, and awaited: an attempt closes its books before the call returns, with its cost, because the
    provider may bill it.
    """
    tasks = [asyncio.create_task(first())]
    winner: T | None = None
    try:
        done, _ = await asyncio.wait(tasks, timeout=after_s)
        if not done and (other := second()) is not None:
            tasks.append(asyncio.create_task(other))
        waiting = set(tasks)
        while waiting and winner is None:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            ended = [task for task in reversed(tasks) if task in done]  # of two at once the later one: so the log joins
            winner = next((result for task in ended if (result := task.result()) is not None), None)
        return winner
    finally:
        try:
            await to_end(asyncio.ensure_future(_close_losers(tasks, winner, discard)))
        except asyncio.CancelledError:  # the caller left, and nobody takes the winner
            if winner is not None:
                await to_end(asyncio.ensure_future(discard(winner)))
            raise


async def _close_losers(
    tasks: Sequence[asyncio.Task[T | None]], winner: T | None, discard: Callable[[T], Awaitable[None]]
) -> None:
    for task in tasks:
        task.cancel()
    for late in await asyncio.gather(*tasks, return_exceptions=True):
        if not (late is None or late is winner or isinstance(late, BaseException)):
            await discard(late)
