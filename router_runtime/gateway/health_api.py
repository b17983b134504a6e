"""``/health``: the process answers. ``/ready``: it wants traffic."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import Route

from router_runtime.gateway.service import Service
from router_runtime.gateway.wire import Json


def routes(service: Service) -> list[Route]:
    """The endpoints."""

    async def health(_request: Request) -> Json:
        return Json({"status": "ok"})

    async def ready(_request: Request) -> Json:
        if service.draining:
            return Json({"status": "draining"}, 503, {"retry-after": "5"})
        snapshot = service.router.live.snapshot(service.clock())
        bundle = "none" if snapshot.bundle is None else snapshot.bundle.version
        return Json({"status": "ready", "registry": snapshot.registry.version, "bundle": bundle})

    return [Route("/health", health, methods=["GET"]), Route("/ready", ready, methods=["GET"])]
