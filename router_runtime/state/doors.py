"""Doors of providers and disabled models that replicas agree on: what each tells the others, a few times a second.

Nothing is asked of Redis while a request waits. Each process pushes what changed in its own
:class:`~router_runtime.health.Health` and takes over what changed in others'; the later word counts, by Redis's own
clock, so that the machines' clocks need not agree. One probe at a time holds for each process, not for all together.
"""

from __future__ import annotations

import json
import math
import uuid
from typing import Any, NamedTuple

from router_runtime.breaker import Door
from router_runtime.health import Health
from router_runtime.state.link import PREFIX, RedisLink

DOORS = PREFIX + "doors"
DISABLED = PREFIX + "disabled"

_FORGET_S = 600.0  # a word that old says nothing
_SAME_S = 0.05  # two readings of one moment differ by the clocks' grain


class _Word(NamedTuple):
    """What is known of one door, at absolute times of Redis's clock."""

    opened: float | None
    held: float
    reason: str | None
    asked: float

    def door(self, now: float) -> Door:
        opened_ago_s = None if self.opened is None else max(0.0, now - self.opened)
        return Door(opened_ago_s, max(0.0, self.held - now), self.reason, max(0.0, self.asked - now))


def _word(door: Door, now: float) -> _Word:
    opened = None if door.opened_ago_s is None else now - door.opened_ago_s
    return _Word(opened, now + door.held_for_s, door.reason, now + door.asked_for_s)


def _read_word(text: str) -> tuple[float, str, _Word]:
    """When, by whom and what; raises where it is none."""
    word = json.loads(text)
    at, held = _moment(word["at"]), _moment(word["held"])
    opened = None if word["opened"] is None else _moment(word["opened"])
    reason = None if word["reason"] is None else str(word["reason"])
    return at, str(word["by"]), _Word(opened, held, reason, _moment(word.get("asked", held)))


def _moment(value: Any) -> float:
    if not math.isfinite(moment := float(value)):
        raise ValueError("no moment")
    return moment


class Doors:
    """Keeps one ``Health`` and those of other replicas in step.

    Args:
        link: The Redis.
        health: Of this process.
    """

    def __init__(self, link: RedisLink, health: Health) -> None:
        self._link, self._health = link, health
        self._me = uuid.uuid4().hex[:12]
        self._last: dict[str, _Word] = {}
        self._seen: dict[str, float] = {}

    def exchange(self) -> None:
        """One round: others' words first, then ours.

        Raises:
            StateAway: Redis does not answer.
        """
        now, words = self._link.call(_read)
        old = [name for name, text in words.items() if not self._adopt(name, text, now)]
        told = self._changes(now)
        if told or old:
            self._link.call(lambda client: _write(client, told, old))

    def _adopt(self, name: str, text: str, now: float) -> bool:
        """Takes one word over where it is news; False where it is too old to keep, or nobody can read it."""
        try:
            at, by, found = _read_word(text)
        except (ValueError, TypeError, KeyError, RecursionError):
            return False
        if now - at > _FORGET_S and found.held < now:
            return False
        if by != self._me and at > self._seen.get(name, 0.0):
            self._health.adopt(name, found.door(now))
            self._last[name] = found
        self._seen[name] = max(at, self._seen.get(name, 0.0))
        return True

    def _changes(self, now: float) -> dict[str, str]:
        """What others do not know yet, as it is written."""
        told = {}
        doors = self._health.doors()
        for name in {*doors, *self._last}:
            word = _word(doors.get(name, Door(None, 0.0, None)), now)
            if _differs(word, self._last.get(name), now):
                told[name] = json.dumps({"at": now, "by": self._me, **word._asdict()})
            if name in doors:
                self._last[name] = word
            else:
                self._last.pop(name, None)
        return told


def _differs(word: _Word, last: _Word | None, now: float) -> bool:
    if last is None:
        return True
    if (word.opened is None) != (last.opened is None):
        return True
    if word.opened is not None and last.opened is not None and abs(word.opened - last.opened) > _SAME_S:
        return True
    return abs(max(word.held, now) - max(last.held, now)) > _SAME_S


def _read(client: Any) -> tuple[float, dict[str, str]]:
    pipe = client.pipeline(transaction=False)
    pipe.time()
    pipe.hgetall(DOORS)
    (seconds, micros), words = pipe.execute()
    return seconds + micros / 1e6, words


def _write(client: Any, told: dict[str, str], old: list[str]) -> None:
    pipe = client.pipeline(transaction=False)
    if told:
        pipe.hset(DOORS, mapping=told)
    gone = [name for name in old if name not in told]
    if gone:
        pipe.hdel(DOORS, *gone)
    pipe.execute()


def read_disabled(client: Any, now: float) -> dict[str, float]:
    """Until when models are disabled on every replica, in UTC seconds since the epoch; infinity without an end."""
    found = {}
    for name, end in client.hgetall(DISABLED).items():
        try:
            until = float(end)
        except ValueError:
            until = math.inf  # what nobody can read keeps a model out until somebody looks
        if until > now:
            found[name] = until
    return found


def write_disabled(client: Any, model: str, until: float) -> None:
    """Disables ``model`` on every replica until a time."""
    client.hset(DISABLED, model, repr(until))


def clear_disabled(client: Any, model: str) -> bool:
    """Enables ``model`` again; whether it was disabled."""
    return bool(client.hdel(DISABLED, model))
