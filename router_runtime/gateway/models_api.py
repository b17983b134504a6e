"""``/v1/models``: what may stand in ``model``, in an object that OpenAI's and Anthropic's clients both read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from router_runtime.errors import UnknownModelError
from router_runtime.gateway.asking import AUTO
from router_runtime.gateway.auth import Caller, open_agents
from router_runtime.gateway.service import Service
from router_runtime.gateway.wire import Json
from router_runtime.registry import ModelEntry, Registry
from router_runtime.registry_yaml import did_you_mean


def routes(service: Service) -> list[Route]:
    """The endpoints."""

    async def listed(request: Request) -> Json:
        rows = list(_rows(service.router.current_registry(), request.state.caller))
        ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"], "has_more": False}
        return Json({"object": "list", "data": rows, **ends})

    async def one(request: Request) -> Json:
        registry, name = service.router.current_registry(), request.path_params["model"]
        rows = {row["id"]: row for row in _rows(registry, request.state.caller)}
        row = rows.get(registry.names.get(name, name))
        if row is None:
            raise UnknownModelError(f"no model {name[:100]!r}{did_you_mean(name[:100], rows)}")
        return Json(row)

    return [
        Route("/v1/models", listed, methods=["GET"]),
        Route("/v1/models/{model:path}", one, methods=["GET"]),
    ]


def _rows(registry: Registry, caller: Caller) -> Iterator[dict[str, Any]]:
    """The choices, the intents, the agents, and the models that the caller's tier allows."""
    agents = [f"agent/{name}" for name in open_agents(registry, caller)]
    for name in (*AUTO, *(f"intent/{intent}" for intent in registry.intents), *agents):
        yield _row(name, "pointsman", 0.0)
    tier = registry.tiers.get(caller.tier) if caller.tier is not None else None
    allowed = None if tier is None else tier.models
    for name, model in registry.models.items():
        if model.enabled and (allowed is None or name in allowed):
            yield _row(name, model.provider, _since(model)) | _about(model)


def _row(name: str, owner: str, created: float) -> dict[str, Any]:
    when = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    row = {"id": name, "object": "model", "created": int(created), "owned_by": owner}
    return row | {"type": "model", "display_name": name, "created_at": when}


def _about(model: ModelEntry) -> dict[str, Any]:
    return {
        "aliases": list(model.aliases),
        "context_window": model.context_window,
        "capabilities": sorted(model.capabilities),
    }


def _since(model: ModelEntry) -> float:
    """The day of its first price: the registry knows no other date."""
    first = model.prices[0].valid_from
    return datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()
