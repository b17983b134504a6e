"""``/v1/route``: decide only. ``/v1/feedback``: how good an answer was."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast, get_args

from starlette.requests import Request
from starlette.routing import Route

from router_runtime.errors import GatewayRefusal
from router_runtime.explain import explain
from router_runtime.gateway.agents_api import prepared
from router_runtime.gateway.asking import options_of
from router_runtime.gateway.reading import items, maybe_obj, refuse, text, truth
from router_runtime.gateway.service import Service
from router_runtime.gateway.telling import headers_of, reason
from router_runtime.gateway.wire import Json, read_json
from router_runtime.messages import Messages
from router_runtime.options import Options, RouteOptions
from router_runtime.records import Feedback, FeedbackSource, to_dict
from router_runtime.workers import Workers

MAX_BATCH = 1_000
_SOURCES = get_args(FeedbackSource)


def routes(service: Service) -> list[Route]:
    """The endpoints."""
    explaining = Workers("pointsman-explain", 1)  # it takes long: decisions must not wait for it

    async def route(request: Request) -> Json:
        body = read_json(await request.body())
        explained = truth(body.pop("explain", None), "explain")
        messages = body.get("messages")
        if not isinstance(messages, str | list):
            raise refuse("messages", "a text or a list of messages")
        router, influences = service.router, None
        with service.limits.place(request.state.caller):
            said, options = await router.off_loop(lambda: _route_options(service, request, body, messages))
            if explained:
                found = await explaining.run(lambda: explain(router, said, **options))
                decision = found.decision
                influences = [
                    {"kind": i.kind, "name": i.name, "value": i.value, "change": i.change} for i in found.influences
                ]
            else:
                decision = await router.off_loop(lambda: router.route(said, **options))
        told = replace(decision, prompt=None, features=None)  # for the log; the caller knows what was asked
        document = {**to_dict(told), "reason": reason(decision)}
        if influences is not None:
            document["influences"] = influences
        headers = {name.decode(): value.decode() for name, value in headers_of(decision, decision.chosen)}
        return Json(document, headers=headers)

    async def feedback(request: Request) -> Json:
        if service.router.log is None:
            raise GatewayRefusal("this gateway keeps no log; start it with --log", status=503, code="no_log")
        body = read_json(await request.body())
        rows = items(body["feedback"], "feedback") if "feedback" in body else [body]
        if not 0 < len(rows) <= MAX_BATCH:
            raise refuse("feedback", f"a list of 1 to {MAX_BATCH} rows")
        now = service.clock()
        checked = [_feedback(row, f"feedback[{i}]." if "feedback" in body else "", now) for i, row in enumerate(rows)]
        await asyncio.to_thread(_store, service, checked)
        return Json({"accepted": len(checked)})

    return [Route("/v1/route", route, methods=["POST"]), Route("/v1/feedback", feedback, methods=["POST"])]


def _route_options(
    service: Service, request: Request, body: Mapping[str, Any], messages: Messages
) -> tuple[Messages, RouteOptions]:
    registry = service.router.current_registry()
    given = options_of({"model": "auto", **body}, request.state.caller, registry, service.clock())
    if extra := set(given.get("extra") or ()) - {"max_tokens", "max_completion_tokens", "temperature", "top_p"}:
        name = sorted(extra)[0][:100]
        raise GatewayRefusal(f"no field {name!r} in /v1/route", status=400, code="unknown_field", param=name)
    said, chosen = prepared(service.router, messages, given, request.state.caller)
    return said, cast(RouteOptions, {name: value for name, value in chosen.items() if name in Options._fields})


def _feedback(row: Mapping[str, Any], place: str, now: float) -> Feedback:
    score = row.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise refuse(f"{place}score", "a number in 0..1")
    source = row.get("source", "user")
    if source not in _SOURCES:
        raise refuse(f"{place}source", f"one of {', '.join(_SOURCES)}")
    decision = text(row.get("decision_id"), f"{place}decision_id")
    metric = text(row.get("metric", "score"), f"{place}metric")
    if not 0 < len(decision) <= 100 or not 0 < len(metric) <= 100:
        raise refuse(f"{place}decision_id", "an id, and metric a name, of 1 to 100 characters")
    meta = dict(maybe_obj(row.get("meta"), f"{place}meta"))
    return Feedback(decision, now, metric, float(score), source, meta)


def _store(service: Service, rows: list[Feedback]) -> None:
    """Durable on return.

    Raises:
        StoreError: Where the log cannot take them.
    """
    log = service.router.log
    assert log is not None
    log.append(*rows)
    for row in rows:
        service.router.agents.history.learn(row.decision_id, row.value)
