"""Virtual API keys: shown once, kept as salted hashes in one small file that every gateway of this machine reads.

A key is ``pm-<id>-<secret>``; the secret is 32 random bytes, so one round of salted SHA-256 is as good as many. The id
finds the record, the hashes are compared in constant time, and an unknown id is compared all the same.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from router_runtime.errors import ConfigError, StoreError
from router_runtime.registry import MAX_BUDGET_USD, WINDOWS, Window
from router_runtime.shared_file import read_file, rewrite

FILE = "keys.json"
CHECK_EVERY_S = 1.0
MAX_BYTES = 16 << 20

_KEY = re.compile(r"pm-([0-9a-f]{12})-([A-Za-z0-9_-]{43})")
_NOBODY = hashlib.sha256(b"nobody").hexdigest()


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key, without its secret.

    Args:
        id: 12 hexadecimal digits; the middle of the key.
        name: For people.
        salt, digest: Of the secret, in hexadecimal.
        created: UTC seconds since the epoch.
        tiers: The first is used where the caller names none, the others on request; empty leaves the tier open.
        budget_usd: Most that may be spent in a window; None for no bound.
        budget_window: Of the budget.
        requests_per_minute, tokens_per_minute: None for no bound.
        expires: UTC seconds since the epoch; None for never.
        admin: Opens ``/admin`` and the like instead of the models.
        revoked: When it was revoked; None while it holds.
    """

    id: str
    name: str
    salt: str
    digest: str
    created: float
    tiers: tuple[str, ...] = ()
    budget_usd: float | None = None
    budget_window: Window = "month"
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    expires: float | None = None
    admin: bool = False
    revoked: float | None = None

    def refusal(self, now: float) -> str | None:
        """Why the key does not hold at ``now`` (UTC seconds); None where it does."""
        if self.revoked is not None:
            return "this key was revoked"
        if self.expires is not None and now >= self.expires:
            return "this key has expired"
        return None

    def public(self) -> dict[str, Any]:
        """JSON-ready, without salt and digest."""
        return {name: value for name, value in asdict(self).items() if name not in ("salt", "digest")}


class Keys:
    """The keys of a folder; a change of the file is seen within a second.

    Args:
        folder: Where the file is.
        clock: UTC seconds since the epoch.
        timer: Monotonic seconds, for when to look: a clock that is set back must not keep a revoked key alive.

    Raises:
        StoreError: Where the file is there but cannot be read.
    """

    def __init__(
        self, folder: Path, clock: Callable[[], float] = time.time, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._clock, self._timer = folder, clock, timer
        self._seen = _signature(folder / FILE)
        self._records = read_keys(folder)
        self._check_at = timer() + CHECK_EVERY_S

    def find(self, key: str) -> KeyRecord | None:
        """The record of a whole key; None where there is none. Expiry and revocation are the caller's to ask."""
        if self._timer() >= self._check_at:
            self._refresh()
        match = _KEY.fullmatch(key)
        record = self._records.get(match[1]) if match else None
        salt, expected = (record.salt, record.digest) if record else ("00", _NOBODY)
        given = _digest(match[2] if match else "", salt)
        return record if hmac.compare_digest(given, expected) else None

    @property
    def empty(self) -> bool:
        """Whether no key is in force."""
        now = self._clock()
        return all(record.refusal(now) is not None for record in self._records.values())

    def _refresh(self) -> None:
        self._check_at = self._timer() + CHECK_EVERY_S
        signature = _signature(self._folder / FILE)
        if signature == self._seen:
            return
        try:
            self._records = read_keys(self._folder)
        except (
            StoreError
        ):  # a damaged file must not lock everyone out: the keys of before go on, and are looked at again
            return
        self._seen = signature


def create_key(folder: Path, name: str, now: float, **fields: Any) -> tuple[str, KeyRecord]:
    """A new key and its record; the key is nowhere else.

    Args:
        folder: Where the file is.
        name: For people; 1..100 characters.
        now: UTC seconds since the epoch.
        fields: Of :class:`KeyRecord`: tiers, budget_usd, budget_window, …

    Raises:
        ConfigError: A name or a number that is out of range.
        StoreError: The file cannot be read or written.
    """
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    salt = secrets.token_hex(16)
    record = KeyRecord(secrets.token_hex(6), name, salt, _digest(secret, salt), now, **fields)
    _check(record)
    _edit(folder, lambda records: {**records, record.id: record})
    return f"pm-{record.id}-{secret}", record


def revoke_key(folder: Path, name: str, now: float) -> KeyRecord:
    """Revokes the key with this id or this name.

    Raises:
        ConfigError: No key in force, or several, are called so.
        StoreError: The file cannot be read or written.
    """
    found = [r for r in read_keys(folder).values() if r.revoked is None and name in (r.id, r.name)]
    if len(found) != 1:
        raise ConfigError(f"{len(found)} keys in force are called {name[:100]!r}; pointsman keys list shows their ids")
    revoked = replace(found[0], revoked=now)
    _edit(folder, lambda records: {**records, revoked.id: revoked})
    return revoked


def read_keys(folder: Path) -> dict[str, KeyRecord]:
    """The records by id; none where there is no file.

    Raises:
        StoreError: Where the file is there but cannot be read.
    """
    path = folder / FILE
    data = read_file(path, MAX_BYTES)
    if data is None:
        return {}
    try:
        rows = json.loads(data)["keys"]
        return {row["id"]: KeyRecord(**{**row, "tiers": tuple(row["tiers"])}) for row in rows}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreError(f"{path} is no list of keys; restore it from a backup, or delete it to begin anew") from error


def _digest(secret: str, salt: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + secret.encode()).hexdigest()


def _check(record: KeyRecord) -> None:
    numbers = (record.budget_usd, record.requests_per_minute, record.tokens_per_minute)
    if not 1 <= len(record.name) <= 100:
        raise ConfigError("a key's name has 1 to 100 characters")
    if any(number is not None and not 0 < number < 1e12 for number in numbers):
        raise ConfigError("a key's budget and rates are greater than 0")
    if record.budget_usd is not None and record.budget_usd > MAX_BUDGET_USD:
        raise ConfigError(f"a key's budget is at most ${MAX_BUDGET_USD:,.0f}; leave it out for none")
    if record.budget_window not in WINDOWS:
        raise ConfigError(f"a key's budget window is one of {', '.join(WINDOWS)}")


def _edit(folder: Path, change: Callable[[Mapping[str, KeyRecord]], dict[str, KeyRecord]]) -> None:
    """Changes the file in one step, one writer at a time; only its owner may read it."""

    def document() -> dict[str, list[dict[str, Any]]]:
        return {"keys": [asdict(record) for record in change(read_keys(folder)).values()]}

    rewrite(folder / FILE, ".keys.lock", document)


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
