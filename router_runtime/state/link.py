"""The connection to Redis (extra ``redis``): short waits, and one place that knows whether it is there.

While it is away nothing waits for it: each user of the link goes on with what this process knows, and
:meth:`RedisLink.probe`, called by the background thread, finds out when it is back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from router_runtime.errors import ConfigError, StateAway
from router_runtime.hooks import Observer, StateChanged

T = TypeVar("T")

SCHEMES = ("redis://", "rediss://", "unix://")
#: One hash slot for everything, so that scripts over several keys also run on a cluster.
PREFIX = "{pointsman}:"

_LOG = logging.getLogger("router_runtime.state")
_MISSING = "state: the Redis client is not installed; add it with: pip install 'pointsman[redis]'"


class RedisLink:
    """One Redis, which may come and go. Safe to use from several threads.

    Args:
        url: ``redis://[user:password@]host:port/db``, ``rediss://…`` or ``unix://path``.
        observer: Is told when it goes and when it comes back.
        timeout_s: The longest wait for an answer.

    Raises:
        ConfigError: The URL is none, or the client is not installed.
    """

    def __init__(self, url: str, observer: Observer, timeout_s: float = 0.25) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise ConfigError(_MISSING) from error
        self.place = place_of(url)
        self._observer, self._guard = observer, threading.Lock()
        self._failures: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._up = True
        try:
            self._client: Any = redis.Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),  # a script that was sent twice would count twice
                decode_responses=True,
                encoding_errors="replace",  # what somebody else wrote there must not end an exchange
            )
        except ValueError as error:
            raise ConfigError(f"state: {self.place} is no URL of a Redis") from error

    @property
    def up(self) -> bool:
        """Whether it answered the last time."""
        return self._up

    def script(self, source: str) -> Any:
        """A Lua script that is sent once and then called by its hash."""
        return self._client.register_script(source)

    def call(self, work: Callable[[Any], T]) -> T:
        """What ``work`` makes of the client.

        Raises:
            StateAway: At once while Redis is known to be away, else where it does not answer now.
        """
        if not self._up:
            raise StateAway(f"the shared state at {self.place} is away")
        return self._try(work)

    def probe(self) -> bool:
        """Whether it answers now; called while it is away."""
        try:
            self._try(lambda client: client.ping())
        except StateAway:
            return False
        return True

    def back(self) -> None:
        """Says that what was missed meanwhile has been made good, so that it is used again."""
        with self._guard:
            was, self._up = self._up, True
        if not was:
            _LOG.warning("the shared state at %s is back", self.place)
            self._observer(StateChanged(shared=True))

    def catch_up(self, work: Callable[[Any], T]) -> T:
        """As :meth:`call`, also while it counts as away: for what :meth:`back` waits for."""
        return self._try(work)

    def close(self) -> None:
        """Closes the connections; may be called twice."""
        self._client.close()

    def _try(self, work: Callable[[Any], T]) -> T:
        try:
            return work(self._client)
        except self._failures as error:
            self._lost(type(error).__name__)
            raise StateAway(f"the shared state at {self.place} is away ({type(error).__name__})") from error

    def _lost(self, reason: str) -> None:
        with self._guard:
            was, self._up = self._up, False
        if was:
            _LOG.warning("the shared state at %s is away (%s); limits hold in this process alone", self.place, reason)
            self._observer(StateChanged(shared=False, reason=reason))


def place_of(url: str) -> str:
    """``host:port/db`` of a URL, without its secrets."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname or ''}:{parts.port or 6379}{parts.path}"
    except ValueError:
        return "the URL given"
