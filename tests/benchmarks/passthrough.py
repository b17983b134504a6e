"""The floor of a gateway in Python: Starlette and httpx passing bytes on, looking at nothing.

``python -m tests.benchmarks.passthrough TARGET`` prints its URL and serves until it is ended.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route


def build(target: str) -> Starlette:
    """The application."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    client = httpx.AsyncClient(limits=limits, timeout=30)

    async def chat(request: Request) -> StreamingResponse:
        headers = {"content-type": "application/json"}
        sent = client.build_request("POST", f"{target}/chat/completions", content=await request.body(), headers=headers)
        answer = await client.send(sent, stream=True)

        async def pieces() -> AsyncIterator[bytes]:
            async for data in answer.aiter_raw():
                yield data
            await answer.aclose()

        return StreamingResponse(pieces(), answer.status_code, media_type=answer.headers.get("content-type"))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await client.aclose()

    return Starlette(routes=[Route("/chat/completions", chat, methods=["POST"])], lifespan=lifespan)


class Server(uvicorn.Server):
    """Says where it listens."""

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(None)
        print(f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}", flush=True)


if __name__ == "__main__":
    Server(uvicorn.Config(build(sys.argv[1]), port=0, log_level="error", access_log=False)).run()
