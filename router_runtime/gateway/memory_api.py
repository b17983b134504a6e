"""``/v1/memory``: what agents remember together, for callers that may use those agents."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router_runtime.errors import GatewayRefusal, PointsmanError, UnknownModelError
from router_runtime.gateway.auth import Caller, is_open_to, open_agents
from router_runtime.gateway.reading import refuse, refuse_others, text, truth
from router_runtime.gateway.service import Service
from router_runtime.gateway.wire import Json, read_json
from router_runtime.memory import Found, Memory
from router_runtime.memory.memory import DEPTH
from router_runtime.registry import Registry
from router_runtime.registry_yaml import did_you_mean
from router_runtime.workers import Workers

T = TypeVar("T")

MAX_TAGS, MAX_IDS, MAX_NAME = 64, 1_000, 256
MAX_TTL_S = 10 * 366 * 86_400.0
_HITS = 10
_TIDY_S = 600.0
_THREADS = 8
_LOG = logging.getLogger("router_runtime.memory")


def routes(service: Service) -> list[Route]:
    """The endpoints."""
    desk = _Desk(service)

    async def write(request: Request) -> Response:
        memory, agent, body = await _asked(service, request, ("text", "tags", "scope", "ttl_s"))
        said, scope = text(body.get("text"), "text"), _maybe_name(body, "scope")
        tags, ttl = _names(body, "tags", MAX_TAGS) or [], _ttl(body.get("ttl_s"))
        key = await desk.run(request, lambda: memory.write(agent, said, tags, scope, ttl_s=ttl))
        return Json({"object": "memory", "id": key})

    async def search(request: Request) -> Response:
        memory, agent, body = await _asked(service, request, ("query", "agents", "k"))
        query, authors, k = text(body.get("query"), "query"), _names(body, "agents", MAX_TAGS), _hits(body.get("k"))
        found = await desk.run(request, lambda: memory.search(query, reader=agent, agents=authors, k=k))
        return Json({"object": "list", "data": [_hit(one) for one in found]})

    async def forget(request: Request) -> Response:
        memory, agent, body = await _asked(service, request, ("ids", "scope", "everything"))
        ids, scope = _names(body, "ids", MAX_IDS), _maybe_name(body, "scope")
        everything = truth(body.get("everything"), "everything")
        if everything and (ids is not None or scope is not None):
            raise refuse("everything", "given alone: with ids or a scope it would say two things")
        count = await desk.run(request, lambda: memory.forget(agent, ids=ids, scope=scope, everything=everything))
        return Json({"object": "memory.forgotten", "forgotten": count})

    return [
        Route("/v1/memory/search", search, methods=["POST"]),
        Route("/v1/memory", write, methods=["POST"]),
        Route("/v1/memory", forget, methods=["DELETE"]),
    ]


async def tidy(service: Service) -> None:
    """Deletes what has expired, and encodes again what another encoder had encoded; now and every ten minutes.

    What fails is told and tried again the next time: searches leave out what has expired all the same.
    """
    workers = Workers("pointsman-tidy", 1)
    while service.memory is not None:
        for work in (service.memory.purge, service.memory.reembed):
            try:
                await workers.run(work)
            except PointsmanError as error:
                _LOG.warning("the memory's upkeep (%s): %s", work.__name__, error)
        await asyncio.sleep(_TIDY_S)


class _Desk:
    """Calls of the memory: few at a time, on threads of their own, because an encoder that hangs holds up each of them.

    Args:
        service: The gateway.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._workers, self._under_way = service, Workers("pointsman-memory", _THREADS), 0

    async def run(self, request: Request, work: Callable[[], T]) -> T:
        """``work()``.

        Raises:
            GatewayRefusal: 503 where the memory or the gateway is full, 429 where the key is.
        """
        if self._under_way >= self._service.settings.max_concurrent_memory:
            raise GatewayRefusal("the memory is full", status=503, code="memory_full", retry_after=1.0)
        with self._service.limits.place(request.state.caller):
            self._under_way += 1
            try:
                return await self._workers.run(work)
            finally:
                self._under_way -= 1


async def _asked(service: Service, request: Request, fields: Collection[str]) -> tuple[Memory, str, dict[str, Any]]:
    """The memory, the agent on whose behalf, and the body.

    Raises:
        GatewayRefusal: There is no memory, the body is not what is meant, or the key does not open the agent.
        UnknownModelError: No such agent.
    """
    if service.memory is None:
        raise GatewayRefusal("this gateway keeps no memory; start it with --memory", status=404, code="no_memory")
    body = read_json(await request.body())
    refuse_others(body, ("agent", *fields))
    agent = _name(body.get("agent"), "agent").removeprefix("agent/")
    _check(service.router.current_registry(), agent, request.state.caller)
    return service.memory, agent, body


def _check(registry: Registry, agent: str, caller: Caller) -> None:
    entry = registry.agents.get(agent)
    if entry is None:
        known = open_agents(registry, caller)
        raise UnknownModelError(f"no agent {agent[:100]!r}{did_you_mean(agent[:100], known)}")
    if not is_open_to(entry, caller):
        raise GatewayRefusal(
            f"this key does not open the agent {agent!r}", status=403, code="agent_not_allowed", param="agent"
        )


def _hit(found: Found) -> dict[str, Any]:
    return {"score": found.score, **asdict(found.entry)}


def _name(value: Any, place: str) -> str:
    """A text that can name something: NUL and lone surrogates, which no store takes, are refused."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise refuse(place, f"a text of 1 to {MAX_NAME} printable characters")
    return value


def _maybe_name(body: Mapping[str, Any], place: str) -> str | None:
    return None if body.get(place) is None else _name(body[place], place)


def _names(body: Mapping[str, Any], place: str, most: int) -> list[str] | None:
    values = body.get(place)
    if values is None:
        return None
    if not isinstance(values, list) or len(values) > most:
        raise refuse(place, f"a list of at most {most} texts")
    return [_name(value, f"{place}[{index}]") for index, value in enumerate(values)]


def _ttl(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_TTL_S:
        raise refuse("ttl_s", "a number of seconds above 0, at most ten years")
    return float(value)


def _hits(value: Any) -> int:
    if value is None:
        return _HITS
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= DEPTH or value != int(value):
        raise refuse("k", f"a whole number of 1 to {DEPTH}")
    return int(value)
