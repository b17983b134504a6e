"""A streamed answer: silent fallback until its first content, and recovery by the caller's choice after it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from time import perf_counter
from types import TracebackType
from typing import Self

from router_runtime.chat import ChatChunk
from router_runtime.errors import PointsmanError, StreamInterrupted
from router_runtime.execution.engine import Call
from router_runtime.execution.exchange import Exchange
from router_runtime.execution.ledger import Ledger, OpenAttempt
from router_runtime.execution.recovery import Delivered, as_continuation, continuation
from router_runtime.execution.settings import StreamRestart
from router_runtime.provider_errors import ContentFiltered, EmptyAnswer, ProviderError, Refused
from router_runtime.records import Attempt, Decision

StreamItem = ChatChunk | StreamRestart


class ChatStream:
    """The chunks of an answer; iterate it once, and close it (``async with``, ``aclose``) where you stop early.

    Args:
        begin: Begins the call, within the running loop; it is called at the first ``anext``.
        decision: What the router chose.

    Raises:
        AllAttemptsFailed: While iterating, where no candidate gave any content.
        StreamInterrupted: While iterating, where it broke after its first content and nobody took over.
        BudgetExceeded: While iterating, where no candidate fits in the budgets.
    """

    def __init__(self, begin: Callable[[], Call], decision: Decision) -> None:
        self._begin = begin
        self._ledger: Ledger | None = None
        self._delivered = Delivered()
        self._batches = self._run()
        self._items = self._one_by_one()
        self._serving: str | None = None
        self.decision = decision

    @property
    def serving(self) -> str | None:
        """The registry's model that is being asked, or was the last to be; None before the first."""
        return self._serving

    @property
    def batches(self) -> AsyncIterator[list[StreamItem]]:
        """The items as many at a time as the network brings: iterate this or the stream itself, not both."""
        return self._batches

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The finished attempts so far."""
        return () if self._ledger is None else tuple(self._ledger.attempts)

    def __aiter__(self) -> AsyncIterator[StreamItem]:
        return self._items

    async def __anext__(self) -> StreamItem:
        return await anext(self._items)

    async def aclose(self) -> None:
        """Stops the provider and closes the books; may be called twice."""
        await self._items.aclose()
        await self._batches.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _one_by_one(self) -> AsyncGenerator[StreamItem, None]:
        async for items in self._batches:
            for item in items:
                yield item

    async def _run(self) -> AsyncGenerator[list[StreamItem], None]:
        call = self._begin()
        self._ledger = call.ledger
        while (step := await call.next()) is not None:
            attempt = await call.open(step)
            if attempt is None:
                continue
            self._serving = step.route.model.name
            pieces = _Pieces(call, attempt, self._delivered)
            try:
                while (items := await pieces.next()) is not None:
                    if items:
                        yield items
                return
            except ProviderError as failure:
                call.course.failed(step.route, failure)
                if not self._may_go_on(call):
                    break
            finally:
                await pieces.aclose()
        raise self._end(call)

    def _may_go_on(self, call: Call) -> bool:
        """Whether the next model may take over after a failure."""
        if self._delivered.id is None:
            return True
        recovery = call.settings.stream_recovery
        return recovery == "restart" or (recovery == "continue" and not self._delivered.tools)

    def _end(self, call: Call) -> PointsmanError:
        if self._delivered.id is None:
            return call.exhausted()
        return StreamInterrupted(self._delivered.text, call.ledger.failures)


class _Pieces:
    """The items of one attempt, as many at a time as the network brings."""

    def __init__(self, call: Call, attempt: OpenAttempt, delivered: Delivered) -> None:
        self._call, self._attempt, self._delivered = call, attempt, delivered
        self._exchange: Exchange | None = None
        self._held: list[ChatChunk] = []
        self._continued_id: str | None = None
        self._error: ProviderError | None = None
        self._finished = False

    async def next(self) -> list[StreamItem] | None:
        """The next items, maybe none; None at the good end.

        Raises:
            ProviderError: Where the attempt failed.
        """
        try:
            exchange = self._exchange or self._open()
            batch = await exchange.batch()
            if batch is not None:
                return self._give(exchange, batch)
            self._finished = True
            if exchange.started_content:
                return None
            check_silent(self._held, self._call.settings.accept)
            held, self._held, exchange.started_content = self._held, [], True
            return list(held)
        except ProviderError as failure:
            self._error = failure
            raise

    async def aclose(self) -> None:
        """Ends the exchange and closes the attempt in the books."""
        try:
            if self._exchange is not None:
                self._attempt.status = self._exchange.status
                await self._exchange.aclose()
        finally:
            cancelled = self._error is None and not self._finished
            await self._call.ledger.end(self._attempt, self._error, cancelled=cancelled)

    def _open(self) -> Exchange:
        request, call = self._call.request, self._call
        if self._delivered.id is not None and call.settings.stream_recovery == "continue":
            request, self._continued_id = continuation(request, self._delivered.text), self._delivered.id
        self._exchange = call.exchange(self._attempt.route, request, stream=True)
        self._attempt.sent = True
        return self._exchange

    def _give(self, exchange: Exchange, batch: list[ChatChunk]) -> list[StreamItem]:
        """Holds chunks back until the first content; from then on this answer is the one."""
        self._attempt.see_chunks(batch)
        if not exchange.started_content:
            self._held += batch
            first = next((chunk for chunk in batch if chunk.visible), None)
            if first is None:
                return []
            check_refusal(first, self._call.settings.accept)
            exchange.started_content = True
            self._attempt.first_token_ms = (perf_counter() - self._attempt.started) * 1e3
            batch, self._held = self._held, []
            if self._delivered.id is not None and self._continued_id is None:
                restart = StreamRestart(self._attempt.route.model.name, self._delivered.text)
                self._delivered.clear()
                self._delivered.see(batch)
                return [restart, *batch]
        if self._continued_id is not None:
            batch = [as_continuation(chunk, self._continued_id) for chunk in batch]
        self._delivered.see(batch)
        return list(batch)


def check_refusal(chunk: ChatChunk, accept: frozenset[str]) -> None:
    """Raises Refused where the first content is a refusal that shall go on to the next model."""
    if chunk.refusal and "Refused" not in accept:
        raise Refused("the model declined to answer")


def check_silent(held: list[ChatChunk], accept: frozenset[str]) -> None:
    """Raises for a stream that ended well but said nothing, unless the caller takes such answers."""
    last = next((chunk for chunk in held if chunk.finish_reason), None)
    finish = last.finish_reason if last else None
    problem: ProviderError = EmptyAnswer("the stream held neither text nor a tool call", code=finish)
    if last is not None and last.choice_extra.get("native_finish_reason") == "refusal":
        problem = Refused("the model declined to answer", code="refusal")
    elif finish == "content_filter":
        problem = ContentFiltered("the provider's filter blocked the answer", code=finish, billed=True)
    if type(problem).__name__ not in accept:
        raise problem
