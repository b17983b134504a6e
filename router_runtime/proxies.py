"""Calls through a proxy, where the environment names one: ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``.

The names are those of curl, in upper or lower case. What runs on this machine (``localhost``, 127.0.0.1, ::1) is never
asked through a proxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it

from router_runtime.errors import ConfigError
from router_runtime.transport import Response, Transport


def proxy_for(url: str, proxies: Mapping[str, str]) -> str | None:
    """The URL of the proxy that ``url`` is asked through; None = none.

    Args:
        url: http or https.
        proxies: As ``urllib.request.getproxies_environment`` gives them.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_here(host) or proxy_bypass_environment(f"{host}:{parts.port or 0}", dict(proxies)):
        return None
    found = proxies.get(parts.scheme) or proxies.get("all")
    return found if found is None or "://" in found else f"http://{found}"


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or host.endswith(".localhost") or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


class ProxiedTransport:
    """See ``transport.Transport``: goes through a proxy where one is named for the URL, else as ``direct`` does.

    Args:
        direct: For the others.
        proxies: As ``urllib.request.getproxies_environment`` gives them.
    """

    def __init__(self, direct: Transport, proxies: Mapping[str, str]) -> None:
        self._direct, self._proxies = direct, dict(proxies)
        self._through: dict[str, Transport] = {}

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_s: float = 5.0
    ) -> Response:
        """See ``transport.Transport``.

        Raises:
            ConfigError: The environment names a proxy that cannot be used.
        """
        return await self._of(url).open(method, url, headers, body, connect_s)

    async def aclose(self) -> None:
        """See ``transport.Transport``."""
        for transport in (self._direct, *self._through.values()):
            await transport.aclose()

    def _of(self, url: str) -> Transport:
        proxy = proxy_for(url, self._proxies)
        if proxy is None:
            return self._direct
        if proxy not in self._through:
            from router_runtime._http import HttpxTransport  # here: without a proxy it may not be needed

            with suppress(ValueError, ImportError):  # ImportError: socks needs a library of its own
                self._through[proxy] = HttpxTransport.through(proxy)
        if proxy not in self._through:  # raised out here: the library's own error quotes the URL with its password
            scheme = urlsplit(url).scheme.upper()
            raise ConfigError(f"{scheme}_PROXY or ALL_PROXY names no proxy; expected http://host:port or https://…")
        return self._through[proxy]
