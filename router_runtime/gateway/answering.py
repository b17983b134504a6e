"""The endpoints that answer: read, decide and call, write. One class for every wire format."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from time import perf_counter
from typing import Any

from starlette.types import Receive, Scope, Send

from router_runtime.chat import ChatChunk
from router_runtime.errors import AllAttemptsFailed, GatewayRefusal, PointsmanError
from router_runtime.execution import ChatStream, StreamItem
from router_runtime.gateway.agents_api import prepared
from router_runtime.gateway.asking import options_of
from router_runtime.gateway.auth import Caller
from router_runtime.gateway.formats import Asked, Encoder, Format, Head
from router_runtime.gateway.problems import error_headers
from router_runtime.gateway.service import Served, Service
from router_runtime.gateway.telling import headers_of
from router_runtime.gateway.wire import Body, ClientGone, Watch, answer, read_json
from router_runtime.records import Attempt, Decision

EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
GONE = 499
SHUTTING_DOWN = GatewayRefusal("the gateway is shutting down", status=503, code="shutting_down", retry_after=1.0)


class Answering:
    """The ASGI endpoint of one format.

    Args:
        service: The gateway.
        form: The wire format.
    """

    def __init__(self, service: Service, form: Format) -> None:
        self.service, self.form = service, form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        caller: Caller = scope["state"]["caller"]
        assert isinstance(receive, Body)
        turn = Turn(self, caller, send)
        try:
            body = await receive.read()
            with self.service.limits.place(caller):
                async with Watch(receive.connection):
                    await turn.run(read_json(body))
        except PointsmanError as error:
            await turn.fail(error)
        except ClientGone:
            turn.status = GONE
        except asyncio.CancelledError:
            if not self.service.draining or turn.begun:
                raise
            await turn.fail(SHUTTING_DOWN)
        finally:
            await turn.close()


class Turn:
    """One request and its answer."""

    def __init__(self, door: Answering, caller: Caller, send: Send) -> None:
        self._service, self._form, self._caller, self._send = door.service, door.form, caller, send
        self._started = perf_counter()
        self._decision: Decision | None = None
        self._attempts: Sequence[Attempt] = ()
        self._tokens = 0
        self._model: str | None = None
        self._streamed = False
        self.begun = False
        """Whether the head of an answer has been sent."""
        self.status = 500

    async def run(self, body: dict[str, Any]) -> None:
        """Reads, calls and writes."""
        service, router = self._service, self._service.router
        asked = self._form.read(body)
        self._streamed = asked.streamed
        given = options_of(asked.chat, self._caller, router.current_registry(), service.clock())
        said, caller = asked.chat.get("messages"), self._caller
        messages, options = await router.off_loop(lambda: prepared(router, said, given, caller))
        if asked.streamed:
            stream = await router.off_loop(lambda: router.stream(messages, **options))
            try:
                async with stream:
                    await self._pass_on(asked, stream)
            finally:  # the books of a stream are closed with it, also where its reader has left
                self._saw(stream.decision, stream.serving, stream.attempts, stream.tokens)
        else:
            completion = await router.complete(messages, **options)
            self._saw(completion.decision, completion.served, completion.attempts, completion.tokens)
            self.status = 200
            headers = headers_of(completion.decision, completion.served, completion.cost_usd)
            self.begun = True
            await answer(self._send, 200, self._form.whole(asked, completion, service.clock()), headers)

    async def fail(self, error: PointsmanError) -> None:
        """Writes an error in place of an answer."""
        problem = self._service.problem(error)
        self.status = problem.status
        if isinstance(error, AllAttemptsFailed):
            self._tokens = max(self._tokens, error.tokens)
        headers = error_headers(problem) + (headers_of(self._decision) if self._decision is not None else [])
        if problem.status in (408, 413):
            headers.append((b"connection", b"close"))  # the rest of the body is still under way
        try:
            await answer(self._send, problem.status, self._form.error(problem), headers)
        except ClientGone:
            self.status = GONE

    async def close(self) -> None:
        """Counts what was used, and tells who watches."""
        await self._service.limits.spent(self._caller, self._tokens)
        if self._service.on_served:
            cost = sum((Decimal(repr(one.cost_usd or 0.0)) for one in self._attempts), Decimal(0))
            seconds = perf_counter() - self._started
            self._service.tell(
                Served(
                    api=self._form.name,
                    status=self.status,
                    streamed=self._streamed,
                    seconds=seconds,
                    decision=self._decision,
                    model=self._model,
                    cost_usd=cost,
                    key_id=self._caller.key_id,
                )
            )

    async def _pass_on(self, asked: Asked, stream: ChatStream) -> None:
        """Streams; nothing is sent before the first content, so that an error until then has its own status."""
        self._decision = stream.decision
        batches = aiter(stream.batches)
        first: Sequence[StreamItem] = await anext(batches, ())
        encoder = await self._begin(asked, stream)
        data = encoder.begin()
        try:
            data += encoder.feed(_chunks(first))
            async for items in batches:
                if data:
                    await self._send({"type": "http.response.body", "body": data, "more_body": True})
                    data = b""  # where the next ones fail, this must not be sent again
                data += encoder.feed(_chunks(items))
            data += encoder.end()
        except PointsmanError as error:
            problem = self._service.problem(error)
            self.status, data = problem.status, data + encoder.failed(problem)
        await self._send({"type": "http.response.body", "body": data})

    async def _begin(self, asked: Asked, stream: ChatStream) -> Encoder:
        """Sends the head of a stream."""
        decision, model = stream.decision, stream.serving or stream.decision.chosen
        self.status = 200
        head = Head(decision.id, model, int(self._service.clock()), round(decision.best.input_tokens))
        headers = EVENTS + headers_of(decision, model)
        self.begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        return self._form.encoder(asked, head)

    def _saw(self, decision: Decision, model: str | None, attempts: Sequence[Attempt], tokens: int) -> None:
        self._decision, self._model, self._attempts, self._tokens = decision, model, attempts, tokens


def _chunks(items: Sequence[StreamItem]) -> list[ChatChunk]:
    """Without restarts, which the gateway never asks for: no wire format can say that what was sent is void."""
    return [item for item in items if isinstance(item, ChatChunk)]
