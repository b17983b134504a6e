"""``/admin``: what an operator does without a deploy; the same as the command line, behind an admin key."""

from __future__ import annotations

import asyncio
import math
import re
from collections import deque
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from router_runtime.budgets import limits_for
from router_runtime.errors import BundleError, GatewayRefusal
from router_runtime.flags import PREFIX, flag_state, switch_name, switched
from router_runtime.gateway.reading import refuse, refuse_others, text
from router_runtime.gateway.service import Service
from router_runtime.gateway.wire import Json, read_json
from router_runtime.hooks import RouterEvent, Swapped, SwapRefused
from router_runtime.live import CHECK_EVERY_S
from router_runtime.snapshot import Snapshot
from router_runtime.state.shared import finite
from router_runtime.switching import FolderSwitch, Switch

_KEEP = 20
_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhd]?)")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Journal:
    """The last things that were taken over or refused, newest last.

    Args:
        service: Gives the time.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._rows: deque[dict[str, Any]] = deque(maxlen=_KEEP)
        self.refused = 0

    def observe(self, event: RouterEvent) -> None:
        """A router's observer."""
        if isinstance(event, Swapped):
            self._add({"what": event.what, "taken": event.version})
        elif isinstance(event, SwapRefused):
            self.refused += 1
            self._add({"what": event.what, "refused": str(event.error)})

    def rows(self) -> list[dict[str, Any]]:
        """As JSON."""
        return list(self._rows)

    def _add(self, row: dict[str, Any]) -> None:
        self._rows.append({"time": self._service.clock(), **row})


async def look(service: Service) -> None:
    """Looks once a second whether a file changed: else the first request after a quiet time would be the one that
    finds out, and still go to a model that is disabled, or by the former bundle.
    """
    while True:
        await asyncio.sleep(CHECK_EVERY_S)
        service.router.live.snapshot(service.clock())


def routes(service: Service) -> list[Route]:
    """The endpoints."""
    journal = Journal(service)
    service.router.listen(journal.observe)

    async def status(_request: Request) -> Json:
        return Json(await asyncio.to_thread(status_of, service, journal))

    async def disable(request: Request) -> Json:
        seconds = _seconds(await _body(request, "for"))
        return Json(await asyncio.to_thread(_disable, service, _named(request), seconds))

    async def enable(request: Request) -> Json:
        return Json(await asyncio.to_thread(_enable, service, _named(request)))

    async def flags(_request: Request) -> Json:
        return Json({"flags": _flags(service.router.live.snapshot(service.clock()))})

    async def reload(_request: Request) -> Json:
        before = journal.refused
        await asyncio.to_thread(lambda: service.router.live.refresh(again=True))
        refused = journal.refused > before
        document = {**_serving(service), "refused": refused, "changes": journal.rows()[-3:]}
        return Json(document, 409 if refused else 200)

    async def swap(request: Request) -> Json:
        await asyncio.to_thread(_swap, service, await _body(request, "path"))
        return Json(_serving(service))

    return [
        Route("/admin/status", status, methods=["GET"]),
        Route("/admin/models/{model:path}/disable", disable, methods=["POST"]),
        Route("/admin/models/{model:path}/enable", enable, methods=["POST"]),
        Route("/admin/flags", flags, methods=["GET"]),
        Route("/admin/flags/{flag:path}/disable", disable, methods=["POST"]),
        Route("/admin/flags/{flag:path}/enable", enable, methods=["POST"]),
        Route("/admin/reload", reload, methods=["POST"]),
        Route("/admin/bundle", swap, methods=["POST"]),
    ]


def status_of(service: Service, journal: Journal) -> dict[str, Any]:
    """All that an operator asks first, as JSON."""
    router, now = service.router, service.clock()
    snapshot = router.live.snapshot(now)
    health = router.engine.health.status()
    state = router.settings.state
    log = None if router.log is None else router.log.stats
    return {
        **_serving(service),
        "draining": service.draining,
        "active": service.limits.active,
        "decisions": router.counts["decisions"],
        "deadline_missed": router.counts["deadline_missed"],
        "predictions_failed": router.counts["predictions_failed"],
        "models": {
            name: {
                "provider": model.provider,
                "enabled": model.enabled and name not in snapshot.disabled,
                "disabled_until": finite(snapshot.disabled.get(name, math.inf)),
                "flags": sorted(model.flags),
            }
            for name, model in snapshot.registry.models.items()
        },
        "flags": _flags(snapshot),
        "health": {
            name: {
                "state": cell.state,
                "calls": cell.calls,
                "error_rate": cell.error_rate,
                "latency_ms": cell.latency_ms,
                "closed_for_s": cell.closed_for_s,
                "reason": cell.reason,
            }
            for name, cell in health.items()
        },
        "budgets": _budgets(service),
        "log": None
        if log is None
        else {"written": log.written, "spooled": log.fallback, "dropped": log.dropped, "pending": log.pending},
        "state": None if state is None else {"place": state.place, "up": state.up},
        "changes": journal.rows(),
    }


def _serving(service: Service) -> dict[str, Any]:
    snapshot = service.router.live.snapshot(service.clock())
    return {
        "registry": snapshot.registry.version,
        "bundle": None if snapshot.bundle is None else snapshot.bundle.version,
    }


def _flags(snapshot: Snapshot) -> dict[str, Any]:
    """Every flag, whether it is on, and who carries it."""
    models = snapshot.registry.models.values()
    return {
        flag: {
            **flag_state(until),
            "models": [model.name for model in models if flag in model.flags],
        }
        for flag, until in snapshot.flags_off.items()
    }


def _budgets(service: Service) -> list[dict[str, Any]]:
    """Spending of the tiers; users' and keys' are not listed here."""
    counts = service.router.engine.budgets
    if counts is None:
        return []
    rows = []
    for tier in service.router.current_registry().tiers.values():
        for limit in limits_for(tier):
            usd, tokens = counts.spent(limit.account, limit.window)
            rows.append(
                {
                    "account": limit.account,
                    "window": limit.window,
                    "spent_usd": float(usd),
                    "limit_usd": None if limit.usd is None else float(limit.usd),
                    "spent_tokens": tokens,
                    "limit_tokens": limit.tokens,
                }
            )
    return rows


def _disable(service: Service, named: str, seconds: float | None) -> dict[str, Any]:
    name = switch_name(service.router.current_registry(), named)
    until = math.inf if seconds is None else service.clock() + seconds
    state = service.router.settings.state
    (_folder_switch(service) if state is None else state).disable(name, until)
    service.router.live.refresh()
    return {**switched(name), "disabled": True, "until": finite(until), "everywhere": state is not None}


def _enable(service: Service, named: str) -> dict[str, Any]:
    name = switch_name(service.router.current_registry(), named)
    places: list[Switch] = [] if service.router.settings.state is None else [service.router.settings.state]
    if service.router.live.state_dir is not None:  # it may have been disabled on this machine alone
        places.append(_folder_switch(service))
    was = [place.enable(name) for place in places]
    service.router.live.refresh()
    return {**switched(name), "disabled": False, "was_disabled": any(was)}


def _named(request: Request) -> str:
    """What the path names, as :func:`router_runtime.flags.switch_name` takes it."""
    flag = request.path_params.get("flag")
    return str(request.path_params["model"]) if flag is None else PREFIX + str(flag)


def _folder_switch(service: Service) -> Switch:
    folder = service.router.live.state_dir
    if folder is None:
        raise GatewayRefusal("this gateway keeps no state; start it with --state", status=503, code="no_state")
    return FolderSwitch(folder, service.clock)


def _swap(service: Service, body: dict[str, Any]) -> None:
    path = text(body.get("path"), "path")
    try:
        service.router.live.swap_bundle(Path(path))
    except BundleError as error:
        raise GatewayRefusal(str(error), status=409, code="bundle_refused", param="path") from error


async def _body(request: Request, field: str) -> dict[str, Any]:
    """The body, which holds nothing but ``field``, and may be left out: the field may stand in the URL instead."""
    data = await request.body()
    body: dict[str, Any] = read_json(data) if data else {}
    asked = request.query_params.multi_items()
    for part in (body, dict(asked)):
        refuse_others(part, (field,))
    if len(asked) + len(body) > 1:
        raise refuse(field, "given once, in the body or in the URL")
    return body | dict(asked)


def _seconds(body: dict[str, Any]) -> float | None:
    """``{"for": "30s"}`` or seconds; None = until enabled."""
    given = body.get("for")
    if given is None:
        return None
    match = _TIME.fullmatch(repr(given) if isinstance(given, int | float) else text(given, "for"))
    if match is None or float(match[1]) == 0.0:
        raise refuse("for", "a time such as 30s, 5m, 2h or 1d")
    return float(match[1]) * _UNITS[match[2] or "s"]
