"""Stores by their URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from router_runtime.errors import ConfigError
from router_runtime.stores.base import EventStore
from router_runtime.stores.spool import Spool


def open_store(place: str | Path) -> EventStore:
    """The store at ``place``: a folder, or ``dir:///path`` for one.

    Raises:
        ConfigError: Where the URL has another scheme, or names a host.
    """
    if isinstance(place, Path) or "://" not in place:
        return Spool(place)
    url = urlsplit(place)
    if url.scheme != "dir" or url.netloc or not url.path:
        raise ConfigError(
            f"the store's URL starts with {url.scheme[:20]}://{url.netloc[:20]}; use dir:///path, or a folder"
        )
    return Spool(unquote(url.path))
