"""Work that must come to its end, whoever leaves meanwhile: money that is counted, streams that are closed."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def to_end(work: asyncio.Future[T]) -> T:
    """The result of ``work``, which goes on where the caller is cancelled meanwhile, however often.

    Raises:
        asyncio.CancelledError: The caller was cancelled; ``work`` is done all the same.
    """
    left: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError as cancelled:
            left = cancelled
    if left is not None:
        raise left
    return work.result()
