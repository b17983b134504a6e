"""Where a provider's key comes from."""

from __future__ import annotations

from collections.abc import Mapping

from router_runtime.provider_errors import AuthFailed
from router_runtime.providers.base import sendable
from router_runtime.registry import ProviderEntry


def key_of(provider: ProviderEntry, environ: Mapping[str, str]) -> str | None:
    """The key that ``environ`` holds for ``provider``; None where it needs none.

    Raises:
        AuthFailed: The variable is not set, or holds what cannot be sent; names the variable, never its value.
    """
    name = provider.api_key_env
    if name is None:
        return None
    key = environ.get(name)
    if not key:
        raise AuthFailed(f"provider {provider.name}: set the environment variable {name}")
    if not sendable(key):
        raise AuthFailed(
            f"provider {provider.name}: the environment variable {name} holds characters that no HTTP header may hold"
            " (a line end?)"
        )
    return key
