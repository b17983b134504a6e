"""What the gateway's parts share: one object, made at the start and handed to every module's ``routes``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from starlette.middleware import Middleware

from router_runtime.errors import PointsmanError
from router_runtime.gateway.keys import Keys
from router_runtime.gateway.limits import Limits
from router_runtime.gateway.problems import Problem, problem_of
from router_runtime.gateway.settings import GatewaySettings
from router_runtime.memory import Memory
from router_runtime.records import Decision
from router_runtime.router import Router


@dataclass(frozen=True, slots=True)
class Served:
    """One request for an answer that has ended, for metrics and the like.

    Args:
        api: ``"chat"``, ``"responses"`` or ``"messages"``.
        status: HTTP status of the answer; 499 where the client went away first.
        streamed: Whether it was a stream.
        seconds: From the end of the request's body to the end of the answer.
        decision: None where none was made.
        model: The registry's model that served; None where none did.
        cost_usd: Of all attempts.
        key_id: Who asked.
    """

    api: str
    status: int
    streamed: bool
    seconds: float
    decision: Decision | None = None
    model: str | None = None
    cost_usd: Decimal = Decimal(0)
    key_id: str | None = None


@dataclass
class Service:
    """The state of one gateway process.

    Args:
        router: Decides and calls.
        keys: Who may enter; None lets everyone in (loopback only, see ``serve``).
        limits: Rates and numbers of requests.
        settings: Bounds.
        memory: What agents share; None keeps none.
        keep_s: Seconds after which a day of the log in a folder is deleted; None keeps all.
        clock: UTC seconds since the epoch.
        draining: True from SIGTERM on.
        on_problem: Told of every error that is answered, those at the gate too; as ``on_served``.
        on_served: Told of every request for an answer; must be quick and must not raise.
        around: Middleware outside of the gate, outermost first; traces are one.
        closing: Called in a thread when the server ends, each for a few seconds at most.
    """

    router: Router
    keys: Keys | None
    limits: Limits
    settings: GatewaySettings = field(default_factory=GatewaySettings)
    memory: Memory | None = None
    keep_s: float | None = None
    clock: Callable[[], float] = time.time
    draining: bool = False
    on_problem: list[Callable[[Problem], None]] = field(default_factory=list)
    on_served: list[Callable[[Served], None]] = field(default_factory=list)
    around: list[Middleware] = field(default_factory=list)
    closing: list[Callable[[], object]] = field(default_factory=list)

    def problem(self, error: PointsmanError) -> Problem:
        """What ``error`` is to the client, who is about to be told; tells the observers too."""
        problem = problem_of(error, self.clock())
        for observer in self.on_problem:
            observer(problem)
        return problem

    def tell(self, served: Served) -> None:
        """Tells the observers."""
        for observer in self.on_served:
            observer(served)
