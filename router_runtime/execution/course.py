"""Which candidate is tried next. The one place that decides on fallback, retries and the last resort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from router_runtime.execution.retry import RetryBudget, backoff_s
from router_runtime.execution.settings import Route
from router_runtime.health import Health
from router_runtime.hooks import AttemptReason
from router_runtime.provider_errors import (
    AuthFailed,
    CallTimeout,
    ConnectFailed,
    ContextOverflow,
    Overloaded,
    ProviderError,
    RateLimited,
    StaleConnection,
)


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next.

    Args:
        route: Whom to ask.
        wait_s: How long to wait before; 0 for everything but retries.
        taken: Retry tokens that were drawn from the provider's bucket.
        reason: Why this one.
    """

    route: Route
    wait_s: float = 0.0
    taken: int = 0
    reason: AttemptReason = "first"


class Course:
    """The way of one call through its candidates.

    First every candidate once, best first, those left out whose door is closed or whose provider has just shown that it
    is down as a whole; one whose kept connection was stale is asked once more at once. Then second tries, where the
    error says that one may help. Both draw on the provider's bucket. At last the closed doors, soonest to open first.

    Args:
        routes: Best first.
        health: Doors.
        retry: Buckets.
        max_attempts: Of the call.
        random: Uniform in [0, 1), for the jitter.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        health: Health,
        retry: RetryBudget,
        *,
        max_attempts: int,
        random: Callable[[], float],
    ) -> None:
        self._fresh = list(routes)
        self._health, self._retry, self._random = health, retry, random
        self._left, self._begun = max_attempts, False
        self._again: list[tuple[Route, ProviderError]] = []
        self._stale: list[Route] = []
        self._tries: dict[str, int] = {}
        self._down: set[str] = set()
        self._window = 0

    @property
    def has_next(self) -> bool:
        """Whether another candidate is waiting that was not asked yet."""
        return bool(self._fresh)

    def failed(self, route: Route, error: ProviderError) -> None:
        """Learns from the failure of ``route``."""
        tries = self._tries[route.model.name] = self._tries.get(route.model.name, 0) + 1
        may_retry = error.retry_same and tries <= self._retry.settings.same_provider
        if isinstance(error, StaleConnection):
            self._stale += [route] if may_retry else []
            return
        if isinstance(error, ContextOverflow):
            self._window = max(self._window, route.model.context_window)
        if isinstance(error, Overloaded | ConnectFailed | AuthFailed) or (
            isinstance(error, RateLimited) and error.scope != "request"
        ):
            self._down.add(route.provider.name)
        if may_retry:
            self._again.append((route, error))

    def unsent(self) -> None:
        """The last step led to nothing that was sent, so that it does not count."""
        self._left += 1

    def next(self, time_left_s: float) -> Step | None:
        """The next step; None where the call is at its end.

        Args:
            time_left_s: Until the deadline; no wait goes beyond it.
        """
        if self._left <= 0 or time_left_s <= 0:
            return None
        fresh = self._next_stale() or self._next_fresh("fallback" if self._begun else "first")
        step = fresh or self._next_again(time_left_s) or self._last_resort(time_left_s)
        if step is not None:
            self._left -= 1
            self._begun = True
        return step

    def hedge(self) -> Step | None:
        """A candidate to be asked beside the one that is slow; never a retry, never a closed door."""
        step = self._next_fresh("hedge") if self._left > 0 else None
        if step is not None:
            self._left -= 1
        return step

    def _next_stale(self) -> Step | None:
        while self._stale:
            route = self._stale.pop()
            if self._health.may_retry(route.target, 0.0):
                taken = self._retry.take(route.provider.name)
                if taken is not None:
                    return Step(route, taken=taken, reason="retry")
        return None

    def _next_fresh(self, reason: AttemptReason) -> Step | None:
        for route in tuple(self._fresh):
            if route.model.context_window <= self._window:
                self._fresh.remove(route)  # it would overflow as well
            elif route.provider.name not in self._down and self._health.admit(route.target):
                self._fresh.remove(route)
                return Step(route, reason=reason)
        return None

    def _next_again(self, time_left_s: float) -> Step | None:
        for index, (route, error) in enumerate(self._again):
            tries = self._tries[route.model.name]
            wait = max(backoff_s(self._retry.settings, tries - 1, self._random), error.retry_after or 0.0)
            if wait >= time_left_s or not self._health.may_retry(route.target, wait):
                continue
            taken = self._retry.take(route.provider.name, after_timeout=isinstance(error, CallTimeout))
            if taken is not None:
                del self._again[index]
                return Step(route, wait, taken, "retry")
        return None

    def _last_resort(self, time_left_s: float) -> Step | None:
        """A closed door: our own verdicts are tried all the same, what the provider asked for is waited out."""
        for index in self._health.last_resort([route.target for route in self._fresh]):
            wait = self._health.asked_for(self._fresh[index].target)
            if wait < time_left_s:
                return Step(self._fresh.pop(index), wait, reason="last_resort")
        return None
