"""The gateway's application: the routes of every subject behind one gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from router_runtime.errors import PointsmanError
from router_runtime.gateway import (
    admin,
    agents_api,
    anthropic_api,
    health_api,
    log_care,
    memory_api,
    metrics_api,
    models_api,
    openai_api,
    openapi,
    responses_api,
    routing_api,
    ui,
)
from router_runtime.gateway.answering import Answering
from router_runtime.gateway.gate import Gate
from router_runtime.gateway.problems import Problem, error_body, error_headers
from router_runtime.gateway.service import Service
from router_runtime.gateway.wire import to_json

#: Modules that export ``routes(service)``; those asked most often first, because routes are matched in order.
SUBJECTS = (
    openai_api,
    anthropic_api,
    responses_api,
    health_api,
    models_api,
    agents_api,
    memory_api,
    routing_api,
    openapi,
    metrics_api,
    admin,
    ui,
)


_CLOSE_S = 3.0


def build_app(service: Service) -> Starlette:
    """The application; it closes the router when the server ends."""

    async def pointsman_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, PointsmanError)
        return _problem(request, service.problem(error))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        tidying = [asyncio.create_task(work(service)) for work in (memory_api.tidy, log_care.care, admin.look)]
        yield
        for task in tidying:
            task.cancel()
        await asyncio.gather(*tidying, return_exceptions=True)
        await service.router.aclose()
        for close in service.closing:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(close), _CLOSE_S)

    routes: list[Route] = [route for subject in SUBJECTS for route in subject.routes(service)]
    posts = {route.path: route.endpoint for route in routes if isinstance(route.endpoint, Answering)}
    return Starlette(
        routes=routes,
        middleware=[*service.around, Middleware(Gate, service=service, posts=posts)],
        exception_handlers={
            HTTPException: _http_error,
            PointsmanError: pointsman_error,
            ClientDisconnect: _gone,
            Exception: _bug,
        },
        lifespan=lifespan,
    )


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "not_found", 405: "method_not_allowed"}
    message = {404: "there is no such path; /openapi.json lists them", 405: "this path does not take this method"}
    code = words.get(error.status_code, "invalid_request")
    problem = Problem(error.status_code, code, message.get(error.status_code, str(error.detail)))
    response = _problem(request, problem)
    response.headers.update(error.headers or {})
    return response


async def _gone(_request: Request, _error: Exception) -> Response:
    """Nobody reads it: the client left in the middle of its body."""
    return Response(status_code=499)


async def _bug(request: Request, _error: Exception) -> Response:
    return _problem(request, Problem(500, "internal_error", "the gateway failed; its log says why"))


def _problem(request: Request, problem: Problem) -> Response:
    headers = {name.decode(): value.decode() for name, value in error_headers(problem)}
    body = to_json(error_body(problem, request.url.path))
    return Response(body, problem.status, headers, media_type="application/json")
