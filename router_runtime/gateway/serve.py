"""Runs the gateway: opens the router, listens, and drains on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import math
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.middleware import Middleware

from router_runtime.budgets import Budgets
from router_runtime.errors import ConfigError
from router_runtime.gateway.app import build_app
from router_runtime.gateway.auth import is_loopback
from router_runtime.gateway.keys import Keys
from router_runtime.gateway.limits import Limits
from router_runtime.gateway.protocol import protocol_of
from router_runtime.gateway.service import Service
from router_runtime.gateway.settings import GatewaySettings
from router_runtime.hooks import RouterEvent, Swapped, SwapRefused
from router_runtime.memory import open_memory
from router_runtime.router import Router
from router_runtime.stores.opening import local_folder
from router_runtime.stores.spool import SPOOL_FOLDER

if TYPE_CHECKING:
    from router_runtime.tracing import Spans


def open_service(router: Router, state_dir: Path | None, settings: GatewaySettings | None = None) -> Service:
    """A service around ``router``; ``state_dir`` holds the keys, None asks for none.

    Raises:
        StoreError: The keys cannot be read.
    """
    chosen = settings or GatewaySettings()
    keys = None if state_dir is None else Keys(state_dir)
    rates = None if router.settings.state is None else router.settings.state.rates
    return Service(router, keys, Limits(chosen, rates=rates), chosen)


def open_router(bundle: str | None, registry: str, state_dir: Path, log: str | None, **settings: Any) -> Router:
    """The gateway's router: with budgets in the state folder, so that they outlive a restart.

    Where ``settings`` or the registry name a shared ``state``, budgets are kept there instead.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    if log is not None and (folder := local_folder(log)) is not None:
        _check_writable(folder)
    budgets = Budgets(state_dir / "budgets.sqlite")
    router = Router.open(bundle, registry=registry, state_dir=state_dir, log=log, budgets=budgets, **settings)
    router.listen(say_swaps)
    return router


def _check_writable(folder: Path) -> None:
    """A log that takes nothing must be told at the start: later its events are dropped, and counted, in silence."""
    try:
        (folder / SPOOL_FOLDER).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder / SPOOL_FOLDER):
            pass
    except OSError as error:
        raise ConfigError(f"the log {folder} cannot be written: {error.strerror}") from error


def remember(service: Service, place: str) -> None:
    """Opens the memory that agents share: a file, or ``postgresql://…``.

    Raises:
        ConfigError: The registry's encoder cannot be used.
        StoreError: It cannot be read.
    """
    service.memory = open_memory(place, service.router.current_registry, service.clock)
    service.closing.append(service.memory.close)


def trace(service: Service, spans: Spans) -> None:
    """Makes a span of each request, decision and attempt."""
    from router_runtime.tracing import Traced  # here: the extra otel, which only those who trace have

    service.router.listen(spans.observe)
    service.around.insert(0, Middleware(Traced, tracer=spans.tracer))


def check_door(host: str, *, insecure_local: bool) -> None:
    """Raises ConfigError where anyone could come in from outside."""
    if insecure_local and not is_loopback(host):
        raise ConfigError(f"--insecure-local lets everyone in, and {host} is no loopback address; use --host 127.0.0.1")


class Server(uvicorn.Server):
    """Drains: ``/ready`` says no first, then the listener closes, then requests under way end within a bound.

    Args:
        config: uvicorn's.
        service: The gateway.
        started: Is told the URL once it listens.
    """

    def __init__(self, config: uvicorn.Config, service: Service, started: Callable[[str], None]) -> None:
        super().__init__(config)
        self._service, self._tell_started = service, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, and says where."""
        await super().startup(sockets)
        if self.started and self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._tell_started(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends at once."""
        if self._service.draining:
            super().handle_exit(sig, frame)
            return
        self._service.draining = True
        self._captured_signals.append(sig)
        delay = self._service.settings.ready_delay_s
        asyncio.get_running_loop().call_later(delay, self._leave)

    def _leave(self) -> None:
        self.should_exit = True


def make_server(service: Service, host: str, port: int, started: Callable[[str], None] = lambda _url: None) -> Server:
    """A server that is ready to run."""
    settings = service.settings
    config = uvicorn.Config(
        build_app(service),
        host=host,
        port=port,
        http=protocol_of(settings),
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        timeout_keep_alive=int(settings.keep_alive_s),
        timeout_graceful_shutdown=math.ceil(settings.drain_s),
    )
    return Server(config, service, started)


_NEW_OBJECTS = 10_000


def settle() -> None:
    """Shortens the longest pauses of a process that serves.

    The garbage collector passes over what is loaded by now (a full pass takes 10 ms and more), and looks at what is new
    every thousandth call for 2 ms, not every seventieth for a quarter: one call in a hundred shall not wait for it.
    Another thread, such as the log's, hands the interpreter back after half a millisecond, not five.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 10, 10)
    sys.setswitchinterval(0.0005)


def say(url: str) -> None:
    """One line on stderr, for people and for scripts that wait for it."""
    _say(f"pointsman serves {url}")


def say_swaps(event: RouterEvent) -> None:
    """An observer: says on stderr what was taken over, and what was refused and why."""
    if isinstance(event, Swapped):
        _say(f"pointsman took over {event.what} {event.version}")
    elif isinstance(event, SwapRefused):
        _say(f"pointsman keeps the former {event.what}: {event.error}")


def _say(line: str) -> None:
    print(" ".join(line.split()), file=sys.stderr, flush=True)  # noqa: T201 - the command's own output
