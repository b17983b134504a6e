"""Which model holds how much of which conversation in its provider's prompt cache, as far as this process knows.

Providers keep the beginning of a prompt for some minutes and read it again at a lower price. A conversation that goes
on with the same model is so much cheaper; a switch pays the whole prompt anew. This memory says how many tokens that is
about, and the decision takes it off the predicted cost of each candidate: the policy itself knows nothing of sessions.

It is an estimate from this process's own calls: bounded, lost at a restart, not shared between replicas. Where a
provider reports that it read nothing from its cache although it could have, nothing is expected of it for that
conversation until it reports a hit (Anthropic caches only what the caller marks).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from router_runtime.chat import Usage
from router_runtime.registry import ProviderEntry


class Held(NamedTuple):
    """What one model holds of a conversation: about ``tokens``, until ``until`` (UTC seconds since the epoch)."""

    tokens: int
    until: float


class PrefixMemory:
    """Session → model → what it holds; safe to use from several threads.

    Args:
        sessions: How many are remembered; those that were silent longest are forgotten first.
    """

    def __init__(self, sessions: int = 10_000) -> None:
        self._most = sessions
        self._held: OrderedDict[str, dict[str, Held]] = OrderedDict()
        self._guard = threading.Lock()

    def answered(self, session: str, model: str, provider: ProviderEntry, usage: Usage, now: float) -> None:
        """Takes note of a good answer: the provider now holds its prompt.

        Args:
            session: Of the conversation.
            model: The registry's name.
            provider: Says for how long and from what length on it keeps prompts.
            usage: As the provider counted it.
            now: UTC seconds since the epoch.
        """
        if provider.cache_ttl_s <= 0 or usage.input_tokens < provider.cache_min_tokens:
            return
        with self._guard:
            models = self._held.setdefault(session, {})
            self._held.move_to_end(session)
            before = models.get(model)
            missed = before is not None and before.until > now and not (usage.cached_tokens or usage.cache_write_tokens)
            models[model] = Held(0 if missed else usage.input_tokens, now + provider.cache_ttl_s)
            while len(self._held) > self._most:
                self._held.popitem(last=False)

    def held(self, session: str, models: Sequence[str], now: float) -> npt.NDArray[np.float64] | None:
        """Tokens that each of ``models`` holds of the conversation at ``now``, [C]; None where none holds any."""
        with self._guard:
            known = self._held.get(session)
            found = {name: held.tokens for name, held in known.items() if held.until > now} if known else {}
        if not any(found.values()):
            return None
        return np.array([float(found.get(name, 0)) for name in models])
