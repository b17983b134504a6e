"""A streamed answer: silent fallback until its first content, and recovery by the caller's choice after it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from time import perf_counter
from types import TracebackType
from typing import Self

from router_runtime.chat import ChatChunk, ChatRequest
from router_runtime.errors import PointsmanError, StreamInterrupted
from router_runtime.execution.course import Step
from router_runtime.execution.engine import Call
from router_runtime.execution.exchange import Exchange
from router_runtime.execution.ledger import OpenAttempt
from router_runtime.execution.recovery import Delivered, as_continuation, continuation
from router_runtime.execution.settings import StreamRestart
from router_runtime.provider_errors import ContentFiltered, EmptyAnswer, ProviderError, Refused
from router_runtime.records import Attempt, Decision

StreamItem = ChatChunk | StreamRestart


class ChatStream:
    """The chunks of an answer; iterate it once, and close it (``async with``, ``aclose``) where you stop early.

    Args:
        call: The call, not begun yet: nothing is sent before the first ``anext``.

    Raises:
        AllAttemptsFailed: While iterating, where no candidate gave any content.
        StreamInterrupted: While iterating, where it broke after its first content and nobody took over.
        BudgetExceeded: While iterating, where no candidate fits in the budgets.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._delivered = Delivered()
        self._items = self._run()

    @property
    def decision(self) -> Decision:
        """What the router chose."""
        return self._call.decision

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The finished attempts so far."""
        return tuple(self._call.ledger.attempts)

    def __aiter__(self) -> AsyncIterator[StreamItem]:
        return self._items

    async def __anext__(self) -> StreamItem:
        return await anext(self._items)

    async def aclose(self) -> None:
        """Stops the provider and closes the books; may be called twice."""
        await self._items.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self) -> AsyncGenerator[StreamItem, None]:
        call = self._call
        while (step := await call.next()) is not None:
            attempt = await call.open(step)
            if attempt is None:
                continue
            pieces = self._attempt(step, attempt)
            try:
                async for item in pieces:
                    yield item
                return
            except ProviderError:
                if not self._may_go_on():
                    break
            finally:
                await pieces.aclose()
        raise self._end()

    async def _attempt(self, step: Step, attempt: OpenAttempt) -> AsyncGenerator[StreamItem, None]:
        """The items of one attempt.

        Raises:
            ProviderError: Where it failed; the course and the books know it then.
        """
        error: ProviderError | None = None
        finished = False
        try:
            request, continues = self._request()
            exchange = self._call.exchange(step.route, request, stream=True)
            attempt.sent = True
            try:
                async for item in self._read(exchange, attempt, continues=continues):
                    yield item
            finally:
                attempt.status = exchange.status
                await exchange.aclose()
            finished = True
        except ProviderError as failure:
            error, finished = failure, True
            self._call.course.failed(step.route, failure)
            raise
        finally:
            await self._call.ledger.end(attempt, error, cancelled=not finished)

    async def _read(
        self, exchange: Exchange, attempt: OpenAttempt, *, continues: bool
    ) -> AsyncGenerator[StreamItem, None]:
        """Holds chunks back until the first content; from then on this answer is the one."""
        held: list[ChatChunk] = []
        stream_id = self._delivered.id if continues else None
        while (batch := await exchange.batch()) is not None:
            for chunk in batch:
                attempt.see_chunk(chunk)
                if not exchange.started_content:
                    held.append(chunk)
                    if not chunk.visible:
                        continue
                    self._accept(chunk)
                    exchange.started_content = True
                    attempt.first_token_ms = (perf_counter() - attempt.started) * 1e3
                    for item in self._first(held, attempt, continues=continues):
                        yield item
                    continue
                self._delivered.see(chunk)
                yield as_continuation(chunk, stream_id) if continues else chunk
        if not exchange.started_content:
            self._without_content(held)
            for chunk in held:
                yield chunk

    def _first(self, held: list[ChatChunk], attempt: OpenAttempt, *, continues: bool) -> list[StreamItem]:
        """What is given out at the first content: a restart's announcement where one is due, and what was held."""
        items: list[StreamItem] = []
        stream_id = self._delivered.id
        if self._delivered.parts or self._delivered.tools:
            if continues:
                held = [as_continuation(chunk, stream_id) for chunk in held if chunk.visible]
            else:
                items.append(StreamRestart(attempt.route.model.name, self._delivered.text))
                self._delivered.clear()
        for chunk in held:
            self._delivered.see(chunk)
        return [*items, *held]

    def _accept(self, chunk: ChatChunk) -> None:
        """Raises where the first content is a refusal that shall go on to the next model."""
        if chunk.refusal and "Refused" not in self._call.settings.accept:
            raise Refused("the model declined to answer")

    def _without_content(self, held: list[ChatChunk]) -> None:
        """Raises for a stream that ended well but said nothing, unless the caller takes such answers."""
        finish = next((chunk.finish_reason for chunk in held if chunk.finish_reason), None)
        native = next((chunk.choice_extra.get("native_finish_reason") for chunk in held if chunk.finish_reason), None)
        problem: ProviderError = EmptyAnswer("the stream held neither text nor a tool call", code=finish)
        if native == "refusal":
            problem = Refused("the model declined to answer", code="refusal")
        elif finish == "content_filter":
            problem = ContentFiltered("the provider's filter blocked the answer", code=finish, billed=True)
        if type(problem).__name__ not in self._call.settings.accept:
            raise problem

    def _request(self) -> tuple[ChatRequest, bool]:
        """(what to ask, whether it continues what was delivered)."""
        request = self._call.request
        if self._delivered.id is not None and self._call.settings.stream_recovery == "continue":
            return continuation(request, self._delivered.text), True
        return request, False

    def _may_go_on(self) -> bool:
        """Whether the next model may take over after a failure."""
        if self._delivered.id is None:
            return True
        recovery = self._call.settings.stream_recovery
        return recovery == "restart" or (recovery == "continue" and not self._delivered.tools)

    def _end(self) -> PointsmanError:
        if self._delivered.id is None:
            return self._call.exhausted()
        return StreamInterrupted(self._delivered.text, self._call.ledger.failures)
