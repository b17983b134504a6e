"""What exploration may still cost today: a cap that several processes share and no request waits for.

Each process sets a share of the day's cap aside in the shared counts (:class:`router_runtime.budgets.BudgetCounts`) and
spends from that in memory; a thread fetches the next share. What a process has set aside counts as spent, used or not,
so the cap may be reached early (by one share for each process at most) and is never passed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal

from router_runtime.budgets import BudgetCounts, Budgets, Limit, window_bounds
from router_runtime.deciding import Choice, Floats, Predicted, choose
from router_runtime.errors import BudgetExceeded, StoreError
from router_runtime.forking import mind_forks
from router_runtime.policy import override
from router_runtime.snapshot import Plan

ACCOUNT = "exploration"
SHARES = 50
"""A process sets a fiftieth of the cap aside at a time."""
RETRY_S = 5.0
"""After the counts could not be reached, this long nothing is asked of them."""


class Explorer:
    """Chooses with exploration while the cap lets it; a registry without a cap costs nothing here.

    Args:
        counts: Shared counts for the cap; None = counts of this process alone.
        clock: UTC seconds since the epoch.
    """

    def __init__(self, counts: BudgetCounts | None, clock: Callable[[], float]) -> None:
        self._counts, self._clock = counts, clock
        self._cap: ExplorationCap | None = None

    @property
    def cap(self) -> ExplorationCap:
        """What is left of the day's cap, made at the first question."""
        if self._cap is None:
            self._cap = ExplorationCap(
                Budgets(clock=self._clock) if self._counts is None else self._counts, self._clock
            )
        return self._cap

    def choose(
        self,
        predicted: Predicted,
        plan: Plan,
        labels: tuple[str, ...],
        health: Floats | None,
        seed: int,
        limit_usd: float | None,
    ) -> tuple[Plan, Choice]:
        """The plan that was followed, and the choice.

        Whether the cap lets explore goes by the dearest that exploring could choose, never by the draw: the logged
        propensities stay those of the distribution that was drawn from.

        Args:
            limit_usd: The cap of a day; None = no cap. The other arguments are those of
                :func:`router_runtime.deciding.choose`.
        """
        choice = choose(predicted, plan.settings, labels, health, seed)
        if limit_usd is None or plan.settings.exploration == "none":
            return plan, choice
        beyond = predicted.cost_usd - predicted.cost_usd[choice.score.argmax()]
        dearest = max(float(beyond[choice.probability > 0].max()), 0.0)
        if dearest == 0.0:
            return plan, choice
        if self.cap.take(dearest, limit_usd):
            self.cap.give_back(dearest - max(float(beyond[choice.chosen]), 0.0))
            return plan, choice
        settings = override(plan.settings, exploration="none")
        return Plan(settings, settings.fingerprint), choose(predicted, settings, labels, health, seed)


class ExplorationCap:
    """The cap as one process sees it; safe to use from several threads.

    Args:
        counts: What has been set aside, shared by all processes.
        clock: UTC seconds since the epoch.
    """

    def __init__(self, counts: BudgetCounts, clock: Callable[[], float]) -> None:
        self._counts, self._clock = counts, clock
        self.begin_anew()
        mind_forks(self)

    def begin_anew(self) -> None:
        """At the start and in a forked child: what its parent has set aside is its parent's."""
        self._guard = threading.Lock()
        self._left = self._limit = 0.0
        self._day = (0, 0)
        self._not_before = 0.0
        self._fetching: threading.Thread | None = None

    def take(self, cost_usd: float, limit_usd: float) -> bool:
        """Whether exploration that can cost at most ``cost_usd`` fits; sets it aside if so. Never waits for the counts.

        Args:
            cost_usd: The dearest that the choice may come to beyond the best one.
            limit_usd: The cap of a day.
        """
        now = self._clock()
        with self._guard:
            if not self._day[0] <= now < self._day[1]:
                self._day, self._left, self._not_before = window_bounds("day", now), 0.0, now
            if limit_usd != self._limit:  # an edit of the registry: what was refused may be granted now
                self._limit, self._not_before = limit_usd, now
            fits = 0.0 <= cost_usd <= self._left
            self._left -= cost_usd if fits else 0.0
            if self._left < max(limit_usd / SHARES / 2, cost_usd) and now >= self._not_before:
                self._fetch(max(limit_usd / SHARES, cost_usd), limit_usd)
        return fits

    def give_back(self, cost_usd: float) -> None:
        """Returns what was taken and not spent."""
        with self._guard:
            self._left += cost_usd

    def wait(self) -> None:
        """Returns when no share is being fetched."""
        fetching = self._fetching
        if fetching is not None:
            fetching.join()

    def _fetch(self, share_usd: float, limit_usd: float) -> None:
        if self._fetching is None or not self._fetching.is_alive():
            arguments = (share_usd, limit_usd, self._day)
            self._fetching = threading.Thread(target=self._reserve, args=arguments, name="pointsman-exploration")
            self._fetching.daemon = True
            self._fetching.start()

    def _reserve(self, share_usd: float, limit_usd: float, day: tuple[int, int]) -> None:
        limit = Limit(ACCOUNT, "day", usd=Decimal(repr(limit_usd)))
        try:
            self._counts.reserve([limit], share_usd)
        except BudgetExceeded:
            share_usd, pause = 0.0, day[1] - self._clock()
        except StoreError:
            share_usd, pause = 0.0, RETRY_S
        else:
            pause = 0.0
        with self._guard:
            if self._day == day:
                self._left += share_usd
                self._not_before = self._clock() + pause
