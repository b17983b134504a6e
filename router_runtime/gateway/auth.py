"""Who calls: the key of a request, and what it opens."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from decimal import Decimal

from router_runtime.budgets import Limit
from router_runtime.errors import GatewayRefusal
from router_runtime.gateway.keys import KeyRecord, Keys
from router_runtime.registry import Registry
from router_runtime.registry_agents import AgentEntry

#: Paths that need no key.
OPEN = frozenset({"/health", "/ready", "/openapi.json"})
#: Beginnings of paths that need no key: files that hold no data.
OPEN_UNDER = ("/ui",)
#: Beginnings of paths that need an admin key, those of the dashboard's data too.
ADMIN_UNDER = ("/admin", "/metrics", "/ui/api")

Headers = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; at ``request.state.caller``.

    Args:
        key_id: Of the key; ``"local"`` where the gateway asks for none.
        tier: Used where the request names none; None = no tier.
        user: Counts for the tier's limits per user where the request names nobody.
        admin: Whether it opens ``/admin``.
        tiers: What the request may name; empty = any.
        limits: The key's own budget.
        requests_per_minute, tokens_per_minute: None for no bound.
    """

    key_id: str
    tier: str | None = None
    user: str | None = None
    admin: bool = False
    tiers: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


LOCAL = Caller("local", admin=True)
"""Everyone, where the gateway was started with ``--insecure-local``."""


def is_open_to(entry: AgentEntry, caller: Caller) -> bool:
    """Whether the caller's key opens a tier that the agent is for; a key without tiers may name any."""
    return entry.tiers is None or not caller.tiers or bool(entry.tiers & set(caller.tiers))


def open_agents(registry: Registry, caller: Caller) -> list[str]:
    """Names of the agents that the caller may use, and hear of."""
    return [name for name, entry in registry.agents.items() if is_open_to(entry, caller)]


def is_open(path: str) -> bool:
    """Whether ``path`` needs no key."""
    if needs_admin(path):
        return False
    return path in OPEN or any(path == under or path.startswith(under + "/") for under in OPEN_UNDER)


def needs_admin(path: str) -> bool:
    """Whether ``path`` needs an admin key."""
    return any(path == under or path.startswith(under + "/") for under in ADMIN_UNDER)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def authenticate(keys: Keys | None, headers: Headers, path: str, now: float) -> Caller:
    """The caller of a request for ``path``.

    Args:
        keys: None lets everyone in, but no web page of another site: see :func:`_local`.
        headers: By name in lower case.
        path: What is asked for.
        now: UTC seconds since the epoch.

    Raises:
        GatewayRefusal: 401 without a good key, 403 where the key does not open ``path``.
    """
    if keys is None:
        return _local(headers)
    given = _given(headers)
    if given is None:
        raise _unknown("no API key; send it as 'Authorization: Bearer pm-…' or 'x-api-key: pm-…'")
    record = keys.find(given)
    if record is None:
        raise _unknown("this API key is not known; 'pointsman keys create' makes one")
    refusal = record.refusal(now)
    if refusal is not None:
        raise _unknown(refusal)
    if record.admin != needs_admin(path):
        need = "an admin key" if needs_admin(path) else "a key for models, which an admin key is not"
        raise GatewayRefusal(f"this path needs {need}", status=403, code="wrong_kind_of_key")
    return caller_of(record)


def _local(headers: Headers) -> Caller:
    """Everyone on this machine, less the web pages that its browser shows.

    A page of any site may post to a loopback port, and by a name that it lets point there (DNS rebinding) even read the
    answer: the first shows in ``Origin``, the second in ``Host``.

    Raises:
        GatewayRefusal: 403.
    """
    host = headers.get(b"host", b"").decode("latin-1")
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    if host and not is_loopback(name.strip("[]").lower()):
        raise _foreign(f"without keys the gateway answers to localhost and 127.0.0.1, not to {host[:100]!r}")
    origin = headers.get(b"origin")
    if origin is not None and origin.lower() != b"http://" + host.lower().encode("latin-1"):
        raise _foreign("without keys the gateway takes no request from the pages of other sites")
    return LOCAL


def _foreign(reason: str) -> GatewayRefusal:
    return GatewayRefusal(f"{reason}; make a key and leave out --insecure-local", status=403, code="not_local")


def caller_of(record: KeyRecord) -> Caller:
    """The caller that holds the key."""
    budget = record.budget_usd
    limits = () if budget is None else (Limit(f"key:{record.id}", record.budget_window, Decimal(repr(float(budget)))),)
    return Caller(
        key_id=record.id,
        tier=record.tiers[0] if record.tiers else None,
        user=f"key:{record.id}",
        admin=record.admin,
        tiers=record.tiers,
        limits=limits,
        requests_per_minute=record.requests_per_minute,
        tokens_per_minute=record.tokens_per_minute,
    )


def _given(headers: Headers) -> str | None:
    bearer = headers.get(b"authorization", b"")
    if bearer[:7].lower() == b"bearer ":
        return bearer[7:].strip().decode("latin-1")
    key = headers.get(b"x-api-key")
    return None if key is None else key.strip().decode("latin-1")


def _unknown(reason: str) -> GatewayRefusal:
    return GatewayRefusal(reason, status=401, code="invalid_api_key")
