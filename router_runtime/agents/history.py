"""What came of the tasks that agents had: success by agent and domain, learned from feedback as it arrives."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict

_REMEMBERED = 50_000
PRIOR = 4.0
"""Feedback that an agent without a history is taken to have had, half of it good: a few thumbs must not decide."""


class History:
    """Means of feedback, shrunk towards the agents' common mean; thread-safe and bounded.

    Args:
        remembered: Decisions that wait for their feedback; the oldest are forgotten first.
    """

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._guard = threading.Lock()
        self._remembered = remembered
        self._waiting: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._sums: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._all: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def handed(self, decision_id: str, agent: str, domain: str) -> None:
        """Remembers which agent had the task of a decision."""
        with self._guard:
            self._waiting[decision_id] = (agent, domain)
            while len(self._waiting) > self._remembered:
                self._waiting.popitem(last=False)

    def learn(self, decision_id: str, value: float) -> bool:
        """Takes feedback 0..1; False where the decision is not known, or has had feedback."""
        with self._guard:
            task = self._waiting.pop(decision_id, None)
            if task is None:
                return False
            for sums in (self._sums[task], self._all[task[1]]):
                sums[0] += value
                sums[1] += 1.0
            return True

    def lead(self, agent: str, domain: str) -> float:
        """How much better ``agent`` did on ``domain`` than agents do there, −1..1; 0 without a history."""
        with self._guard:
            good, n = self._sums.get((agent, domain), (0.0, 0.0))
            all_good, all_n = self._all.get(domain, (0.0, 0.0))
        usual = (all_good + 0.5 * PRIOR) / (all_n + PRIOR)
        return (good + usual * PRIOR) / (n + PRIOR) - usual
