"""``/ui``: the dashboard. Its files are open and hold no data; its data needs an admin key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from router_runtime.errors import GatewayRefusal
from router_runtime.gateway.service import Service
from router_runtime.gateway.ui_about import about_of
from router_runtime.gateway.ui_sealed import SealedDays
from router_runtime.gateway.wire import Json

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
#: Hours that may be looked at.
SPANS = (1, 24, 168, 336)
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_FRESH_S = 3.0
_SHARE = 0.1
"""Of one processor that reading the log may take: what took two seconds is kept for twenty."""


class _Kept(NamedTuple):
    until: float
    value: Any


class Cache:
    """Answers that are dear to make, each made once at a time and kept the longer, the longer it took.

    Args:
        timer: Monotonic seconds.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._kept: dict[str, _Kept] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, key: str, make: Callable[[], Any]) -> Any:
        """The value of ``key``, made in a thread where none is kept."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            kept = self._kept.get(key)
            if kept is None or kept.until <= self._timer():
                started = self._timer()
                value = await asyncio.to_thread(make)
                ended = self._timer()
                kept = self._kept[key] = _Kept(ended + max(_FRESH_S, (ended - started) / _SHARE), value)
            return kept.value


def routes(service: Service) -> list[Route]:
    """The endpoints."""
    cache, sealed = Cache(), SealedDays()

    async def overview(request: Request) -> Json:
        from router_runtime.gateway.ui_data import overview as gather  # DuckDB, which deciding does not need

        place, hours = _place(service), _hours(request)
        now = service.clock()
        registry = service.router.current_registry()
        since = now - 3600 * hours
        found = await cache.get(f"overview {hours}", lambda: gather(place, since, now, registry, sealed))
        return Json(found)

    async def decision(request: Request) -> Json:
        from router_runtime.gateway.ui_log import find_decision

        named = request.path_params["id"]
        found = await asyncio.to_thread(find_decision, _place(service), named)
        if found is None:
            raise GatewayRefusal("the log has no decision of this id", status=404, code="unknown_decision")
        return Json(found)

    async def about(_request: Request) -> Json:
        return Json(await asyncio.to_thread(about_of, service))

    async def bare(_request: Request) -> Response:
        return RedirectResponse("/ui/", 308)

    return [
        Route("/ui", bare, methods=["GET"]),
        Route("/ui/api/overview", overview, methods=["GET"]),
        Route("/ui/api/decisions/{id}", decision, methods=["GET"]),
        Route("/ui/api/about", about, methods=["GET"]),
        *(_file(name, content) for name, content in static_files().items()),
    ]


def static_files() -> dict[str, bytes]:
    """The dashboard's files by name."""
    folder = files("router_runtime.gateway").joinpath("ui")
    return {one.name: one.read_bytes() for one in folder.iterdir() if Path(one.name).suffix in TYPES}


def _file(name: str, content: bytes) -> Route:
    async def file(_request: Request) -> Response:
        return Response(content, media_type=TYPES[Path(name).suffix], headers=HEADERS)

    return Route("/ui/" if name == "index.html" else f"/ui/{name}", file, methods=["GET"])


def _place(service: Service) -> str | Path:
    """Where the log is.

    Raises:
        GatewayRefusal: 503 where there is none, or what reads it is not installed.
    """
    log = service.router.log
    if log is None or log.place is None:
        raise GatewayRefusal("this gateway keeps no log; start it with --log", status=503, code="no_log")
    if find_spec("duckdb") is None or find_spec("pyarrow") is None:
        raise GatewayRefusal(
            "reading the log needs duckdb and pyarrow: pip install 'pointsman[gateway]'", status=503, code="no_duckdb"
        )
    return log.place


def _hours(request: Request) -> int:
    given = request.query_params.get("hours", "24")
    if given not in map(str, SPANS):
        names = ", ".join(map(str, SPANS))
        raise GatewayRefusal(f"hours must be one of {names}", status=400, code="invalid_request", param="hours")
    return int(given)
