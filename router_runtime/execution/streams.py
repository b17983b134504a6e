"""A streamed answer: silent fallback until its first content, and recovery by the caller's choice after it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from router_runtime.chat import ChatChunk
from router_runtime.errors import PointsmanError, StreamInterrupted
from router_runtime.execution.course import Step
from router_runtime.execution.engine import Call
from router_runtime.execution.exchange import Exchange
from router_runtime.execution.hedging import first_of
from router_runtime.execution.ledger import Ledger, OpenAttempt
from router_runtime.execution.recovery import Delivered, as_continuation, continuation
from router_runtime.execution.settings import Route, StreamItem, StreamRestart
from router_runtime.provider_errors import ContentFiltered, EmptyAnswer, ProviderError, Refused
from router_runtime.records import Attempt, Decision


class ChatStream:
    """The chunks of an answer; iterate it once, and close it (``async with``, ``aclose``) where you stop early.

    Args:
        begin: Begins the call, within the running loop; it is called at the first ``anext``.
        decision: What the router chose.

    Raises:
        AllAttemptsFailed: While iterating, where no candidate gave any content.
        StreamInterrupted: While iterating, where it broke after its first content and nobody took over.
        BudgetExceeded: While iterating, where no candidate fits in the budgets.
        RequestError: While iterating, where no candidate's wire format can read the request.
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

    @property
    def tokens(self) -> int:
        """Prompt and answer tokens of the attempts so far that are billed; complete once the stream is closed."""
        return 0 if self._ledger is None else self._ledger.tokens

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
            pieces = await self._first(call, step)
            if pieces is None:
                continue
            self._serving = pieces.model
            try:
                while (items := await pieces.next()) is not None:
                    if items:
                        self._delivered.see(items)
                        yield items
                return
            except ProviderError as failure:
                call.course.failed(pieces.route, failure)
                if not self._may_go_on(call):
                    break
            finally:
                await pieces.aclose()
        raise self._end(call)

    async def _first(self, call: Call, step: Step) -> _Pieces | None:
        """The attempt of ``step``; where calls are hedged, the first of two that has said something."""
        after_s = call.settings.hedge_after_s
        if after_s is not None and self._delivered.id is None:
            begin = self._spoken
            return await first_of(lambda: begin(call, step), lambda: self._hedge(call), after_s, _Pieces.aclose)
        attempt = await call.open(step)
        return None if attempt is None else _Pieces(call, attempt, self._delivered)

    def _hedge(self, call: Call) -> Coroutine[Any, Any, _Pieces | None] | None:
        step = call.course.hedge()
        return None if step is None else self._spoken(call, step)

    async def _spoken(self, call: Call, step: Step) -> _Pieces | None:
        """The attempt of ``step`` at its first content; None where it failed, which the course then knows."""
        attempt = await call.open(step)
        if attempt is None:
            return None
        pieces, spoke = _Pieces(call, attempt, self._delivered), False
        try:
            await pieces.speak()
            spoke = True
            return pieces
        except ProviderError as failure:
            call.course.failed(step.route, failure)
            return None
        finally:
            if not spoke:
                await pieces.aclose()

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
        self._ready: list[StreamItem] = []
        self._continued_id: str | None = None
        self._error: ProviderError | None = None
        self._finished = False

    @property
    def route(self) -> Route:
        """Who is asked."""
        return self._attempt.route

    @property
    def model(self) -> str:
        """The registry's name of it."""
        return self._attempt.route.model.name

    async def speak(self) -> None:
        """Waits for the first content, which :meth:`next` then gives out, or for a good end without any.

        Raises:
            ProviderError: Where the attempt failed before.
        """
        items: list[StreamItem] | None = []
        while items is not None and not items:
            items = await self.next()
        self._ready = items or []

    async def next(self) -> list[StreamItem] | None:
        """The next items, maybe none; None at the good end.

        Raises:
            ProviderError: Where the attempt failed.
        """
        if self._ready:
            items, self._ready = self._ready, []
            return items
        try:
            exchange, begun = self._exchange or await self._open(), perf_counter()
            try:
                batch = await exchange.batch()
            finally:  # what the reader does between two batches is not the provider's time
                self._attempt.waited_s += perf_counter() - begun
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
                self._attempt.see_end(self._exchange.usage)
                await self._exchange.aclose()
        finally:
            cancelled = self._error is None and not self._finished
            await self._call.ledger.end(self._attempt, self._error, cancelled=cancelled)

    async def _open(self) -> Exchange:
        request, call = self._call.request, self._call
        if self._delivered.id is not None and call.settings.stream_recovery == "continue":
            request, self._continued_id = continuation(request, self._delivered.text), self._delivered.id
        self._exchange = await call.exchange(self._attempt.route, request, stream=True)
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
            self._attempt.first_token_ms = self._attempt.waited_s * 1e3
            batch, self._held = self._held, []
            if self._delivered.id is not None and self._continued_id is None:
                return [StreamRestart(self.model, self._delivered.text), *batch]
        if self._continued_id is not None:
            batch = [as_continuation(chunk, self._continued_id) for chunk in batch]
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
