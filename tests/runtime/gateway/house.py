"""A running gateway in front of scripted providers of each wire format."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from router_runtime import Router
from router_runtime.execution import Engine, RetrySettings
from router_runtime.execution.retry import RetryBudget
from router_runtime.gateway.keys import Keys, create_key
from router_runtime.gateway.limits import Limits
from router_runtime.gateway.serve import Server, make_server, remember, trace
from router_runtime.gateway.service import Service
from router_runtime.gateway.settings import GatewaySettings
from router_runtime.providers.catalog import adapter
from router_runtime.registry import Registry
from tests.runtime.execution.world import QUICK, model, provider, registry

PATIENT: Any = {"first_token_timeout_s": 5.0, "idle_timeout_s": 5.0, "timeout_s": 5.0}
CAPABLE = frozenset({"tools", "vision", "files", "json", "streaming"})


def registry_at(url: str, wires: Sequence[str] = ("openai",), **more: Any) -> Registry:
    """A model ``m-<wire>`` for each wire format, all at ``url``."""
    entries = [provider(f"p-{w}", f"{url}/v1", w, api_key_env=None, **PATIENT) for w in wires]
    models = [replace(model(f"m-{w}", f"p-{w}"), capabilities=CAPABLE) for w in wires]
    return replace(registry(entries, models), **more)


def quick_engine(**parts: Any) -> Engine:
    """One that retries within milliseconds."""
    return Engine(adapter, settings=QUICK, retry=RetryBudget(RetrySettings(base_s=0.001, cap_s=0.002)), **parts)


@dataclass
class Gateway:
    """A gateway that listens."""

    url: str
    service: Service
    server: Server
    state: Path

    def key(self, name: str = "app", **fields: Any) -> str:
        """A new key, in force at once."""
        key, _ = create_key(self.state, name, self.service.clock(), **fields)
        self.service.keys = Keys(self.state)
        return key


@contextmanager
def running(
    known: Registry | Path,
    home: Path,
    *,
    settings: GatewaySettings | None = None,
    open_door: bool = False,
    spans: Any = None,
    memory: Path | None = None,
    **router: Any,
) -> Iterator[Gateway]:
    """A gateway around a router of ``known``."""
    chosen = settings or GatewaySettings(drain_s=5)
    made = Router.open(registry=known, **{"engine": quick_engine(), "state_dir": None, **router})
    rates = None if made.settings.state is None else made.settings.state.rates
    service = Service(made, None if open_door else Keys(home), Limits(chosen, rates=rates), chosen)
    if memory is not None:
        remember(service, str(memory))
    if spans is not None:
        trace(service, spans)
    listening = threading.Event()
    urls: list[str] = []

    def started(url: str) -> None:
        urls.append(url)
        listening.set()

    server = make_server(service, "127.0.0.1", 0, started)
    thread = threading.Thread(target=server.run, name="gateway")
    thread.start()
    try:
        assert listening.wait(20), "the gateway did not start"
        yield Gateway(urls[0], service, server, home)
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive(), "the gateway did not stop"
