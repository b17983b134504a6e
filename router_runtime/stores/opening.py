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
        ConfigError: Where the URL has another scheme, or a folder's URL names a host.
    """
    if isinstance(place, Path) or "://" not in place:
        return Path(place)
    url = urlsplit(place)
    if url.scheme in _DRIVERS:
        return None
    if url.scheme != "dir" or url.netloc or not url.path:
        raise ConfigError(
            f"the store's URL starts with {url.scheme[:20]}://; use a folder, dir:///path, postgresql://… or clickhouse://…"
        )
    return Path(unquote(url.path))


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
