"""Stores by their URL."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from router_runtime.errors import ConfigError
from router_runtime.stores.base import EventStore, RemoteStore
from router_runtime.stores.spool import Spool

_DRIVERS = {
    "postgresql": ("psycopg", "postgres"),
    "clickhouse": ("clickhouse_connect", "clickhouse"),
    "clickhouses": ("clickhouse_connect", "clickhouse"),
}
"""By scheme: the module that must be there, and the extra that brings it."""


def open_store(place: str | Path) -> EventStore:
    """The store at ``place``: a folder, ``dir:///path``, or a remote one.

    Raises:
        ConfigError: Where the URL has another scheme, or a folder's URL names a host.
    """
    folder = local_folder(place)
    return open_remote(str(place)) if folder is None else Spool(folder)


def local_folder(place: str | Path) -> Path | None:
    """The folder that ``place`` names; None where it is the URL of a remote store.

    Raises:
        ConfigError: Where the URL has another scheme or no proper address, or a folder's URL names a host.
    """
    if isinstance(place, Path) or "://" not in place:
        return Path(place)
    scheme, _, rest = place.partition("://")
    if scheme.lower() in _DRIVERS:
        address_of(place)
        return None
    if scheme.lower() != "dir" or not rest.startswith("/"):
        raise ConfigError(
            f"the store's URL starts with {scheme[:20]}://; use a folder, dir:///path, postgresql://… or clickhouse://…"
        )
    return Path(unquote(urlsplit(place).path))


def address_of(url: str) -> str:
    """Which remote store ``url`` means: scheme, host and port (PostgreSQL: several) and database, without secrets.

    Raises:
        ConfigError: It has no proper address; what stands there may be a piece of a password, so it is not shown.
    """
    try:
        where = urlsplit(url)
        user, _, hosts = where.netloc.rpartition("@")
        if "@" in user + where.path + where.fragment:
            raise ValueError
        several = where.scheme == "postgresql" and "," in hosts
        ports = [urlsplit(f"//{host}").port for host in hosts.split(",")] if several else [where.port]
    except ValueError:
        raise ConfigError(
            f"the store's URL is not {url.partition('://')[0]}://user:password@host:port/database; in a user and a "
            "password, write @ : / ? # [ ] % as %40 %3A %2F %3F %23 %5B %5D %25"
        ) from None
    return f"{where.scheme}://{hosts if several else f'{where.hostname}:{ports[0]}'}{where.path}"


def open_remote(url: str) -> RemoteStore:
    """The store at ``postgresql://…`` or ``clickhouse://…``; it connects when it is first used.

    Raises:
        ConfigError: Where its driver is not installed.
    """
    scheme = urlsplit(url).scheme
    driver, extra = _DRIVERS[scheme]
    if find_spec(driver) is None:
        raise ConfigError(f"a {scheme}:// store needs {driver}; add it with: pip install 'pointsman[{extra}]'")
    # Here, not above: extras, which a runtime that logs to a folder must not load.
    if scheme == "postgresql":
        from router_runtime.stores.postgres import PostgresStore

        return PostgresStore(url)
    from router_runtime.stores.clickhouse import ClickHouseStore

    return ClickHouseStore.at(url)
