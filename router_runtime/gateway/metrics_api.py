"""``/metrics`` for Prometheus; an admin key opens it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router_runtime.gateway.metrics import Metric, Metrics, count, gauge
from router_runtime.gateway.service import Service

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STATES = {"closed": 0.0, "half_open": 1.0, "open": 2.0}


def routes(service: Service) -> list[Route]:
    """The endpoint; from here on the metrics hear of everything."""
    metrics = Metrics(lambda: state_of(service))
    service.router.listen(metrics.observe)
    service.on_served.append(metrics.served)
    service.on_problem.append(metrics.problem)

    async def show(_request: Request) -> Response:
        return Response(metrics.render(), media_type=_TYPE)

    return [Route("/metrics", show, methods=["GET"])]


def state_of(service: Service) -> Iterator[Metric]:
    """What is so now: breakers, disabled models, the log, the shared state, versions."""
    router = service.router
    yield gauge("requests_active", "Requests that are being answered", [({}, service.limits.active)])
    yield gauge("draining", "1 from SIGTERM on", [({}, float(service.draining))])
    health = router.engine.health.status()
    words = "0 closed, 1 half open, 2 open; by provider and provider/model"
    yield gauge("breaker_state", words, [({"name": name}, _STATES[cell.state]) for name, cell in health.items()])
    held = [({"name": name}, cell.closed_for_s) for name, cell in health.items()]
    yield gauge("closed_for_seconds", "For how long nothing may be sent", held)
    snapshot = router.live.snapshot(service.clock())
    disabled = [({"model": name}, float(name in snapshot.disabled)) for name in snapshot.registry.models]
    yield gauge("model_disabled", "1 where a person disabled the model", disabled)
    bundle = "none" if snapshot.bundle is None else snapshot.bundle.version
    versions = {"registry": snapshot.registry.version, "bundle": bundle}
    yield gauge("serving_info", "What serves", [(versions, 1.0)])
    yield from _log(service)
    state = router.settings.state
    if state is not None:
        yield gauge(
            "state_shared", "1 while the shared state answers, 0 while limits are local", [({}, float(state.up))]
        )


def _log(service: Service) -> Iterable[Metric]:
    if service.router.log is None:
        return []
    stats = service.router.log.stats
    rows = (("written", stats.written), ("spooled", stats.fallback), ("dropped", stats.dropped))
    return [
        count("log_events", "Events of the outcome log", [({"result": name}, float(n)) for name, n in rows]),
        gauge("log_pending", "Events that wait to be written", [({}, float(stats.pending))]),
    ]
