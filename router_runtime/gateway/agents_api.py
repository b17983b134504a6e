"""Agents over HTTP: ``"model": "agent/coding"`` where a model is named, and ``/v1/agents`` to list them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, cast

from starlette.requests import Request
from starlette.routing import Route

from router_runtime.calling import CallOptions
from router_runtime.errors import NoCandidateError, UnknownModelError
from router_runtime.gateway.asking import options_of
from router_runtime.gateway.auth import Caller, open_agents
from router_runtime.gateway.reading import refuse, refuse_others
from router_runtime.gateway.service import Service
from router_runtime.gateway.wire import Json, read_json
from router_runtime.messages import Messages
from router_runtime.registry_agents import AgentEntry
from router_runtime.registry_yaml import did_you_mean
from router_runtime.router import Router


def routes(service: Service) -> list[Route]:
    """The endpoints."""

    def rows(caller: Caller) -> dict[str, dict[str, Any]]:
        registry = service.router.current_registry()
        return {name: _row(registry.agents[name]) for name in open_agents(registry, caller)}

    async def listed(request: Request) -> Json:
        return Json({"object": "list", "data": list(rows(request.state.caller).values())})

    async def one(request: Request) -> Json:
        found, name = rows(request.state.caller), request.path_params["agent"]
        if name not in found:
            raise UnknownModelError(f"no agent {name[:100]!r}{did_you_mean(name[:100], found)}")
        return Json(found[name])

    async def match(request: Request) -> Json:
        body = read_json(await request.body())
        refuse_others(body, ("messages", "tier", "intent"))
        registry, caller = service.router.current_registry(), request.state.caller
        options = options_of({**body, "model": "auto"}, caller, registry, service.clock())
        messages = body.get("messages")
        if not isinstance(messages, str | list):
            raise refuse("messages", "a text or a list of messages")
        tier, intent = options["tier"], options.get("intent")
        with service.limits.place(caller), _hiding_agents(service.router, caller):
            choice = await service.router.off_loop(
                lambda: service.router.agents.match(messages, tier=tier, intent=intent)
            )
        visible = rows(caller)
        refused = {name: reason for name, reason in choice.refused.items() if name in visible}
        return Json({**asdict(choice), "refused": refused})

    return [
        Route("/v1/agents", listed, methods=["GET"]),
        Route("/v1/agents/match", match, methods=["POST"]),
        Route("/v1/agents/{agent}", one, methods=["GET"]),
    ]


def prepared(router: Router, messages: Any, options: Mapping[str, Any], caller: Caller) -> tuple[Messages, CallOptions]:
    """What the router is asked: as given, or on behalf of the agent that ``options["agent"]`` names.

    Raises:
        ConfigError: The agent is not for this tier, tool or kind of request.
        NoCandidateError: No agent may take the task.
        GatewayRefusal, RequestError: The messages cannot be read.
    """
    name = options.get("agent")
    if name is None:
        return cast(Messages, messages), cast(CallOptions, options)
    if not isinstance(messages, str | list):
        raise refuse("messages", "a text or a list of messages")
    others = {key: value for key, value in options.items() if key != "agent"}
    with _hiding_agents(router, caller):
        return router.agent(name).options(messages, others)


@contextmanager
def _hiding_agents(router: Router, caller: Caller) -> Iterator[None]:
    """Takes out of the refusal of all agents those that the caller may not list."""
    try:
        yield
    except NoCandidateError as error:
        known = open_agents(router.current_registry(), caller)
        told = {name: reason for name, reason in error.filtered.items() if name in known}
        raise NoCandidateError(told or {"agents": "none is open to this key"}) from None


def _row(entry: AgentEntry) -> dict[str, Any]:
    """What callers may know: not the system prompt, and not which models answer."""
    return {
        "id": f"agent/{entry.name}",
        "object": "agent",
        "name": entry.name,
        "description": entry.description,
        "strategy": entry.strategy,
        "labels": list(entry.labels),
        "intent": entry.intent,
        "tiers": None if entry.tiers is None else sorted(entry.tiers),
        "tools": None if entry.tools is None else sorted(entry.tools),
    }
