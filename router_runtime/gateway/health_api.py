"""``/health``: the process answers. ``/ready``: it wants traffic."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from router_runtime.gateway.service import Service


def routes(service: Service) -> list[Route]:
    """The endpoints."""

    async def health(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def ready(_request: Request) -> JSONResponse:
        if service.draining:
            return JSONResponse({"status": "draining"}, 503, {"retry-after": "5"})
        snapshot = service.router.live.snapshot(service.clock())
        bundle = "none" if snapshot.bundle is None else snapshot.bundle.version
        return JSONResponse({"status": "ready", "registry": snapshot.registry.version, "bundle": bundle})

    return [Route("/health", health, methods=["GET"]), Route("/ready", ready, methods=["GET"])]
