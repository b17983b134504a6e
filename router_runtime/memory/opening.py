"""The memory as a registry says: its agents bound it, its ``memory.encoder`` makes the vectors."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from router_runtime.encoder import Encoder
from router_runtime.memory.access import by_registry
from router_runtime.memory.encoders import HashEncoder
from router_runtime.memory.endpoint_encoder import EndpointEncoder
from router_runtime.memory.memory import Memory
from router_runtime.opening import open_local
from router_runtime.registry import Registry
from router_runtime.registry_agents import EndpointEncoderEntry, OnnxEncoderEntry


def open_memory(place: str | Path, registry: Callable[[], Registry], clock: Callable[[], float] = time.time) -> Memory:
    """The memory at ``place``.

    Args:
        place: A file, or ``postgresql://…``.
        registry: In force; who may do what follows its changes, the encoder stays that of now.
        clock: UTC seconds since the epoch.

    Raises:
        ConfigError: The encoder's files cannot be used, or an extra is not installed.
        StoreError: The store cannot be opened.
    """
    memory = Memory.open(place, by_registry(lambda: registry().agents), open_encoder(registry()), clock=clock)
    memory.store.state()  # now rather than at the first use
    return memory


def open_encoder(registry: Registry) -> Encoder:
    """The encoder of ``memory.encoder``; the one that needs no network where there is none.

    Raises:
        ConfigError: Its files cannot be used, or an extra is not installed.
    """
    entry = registry.memory_encoder
    if isinstance(entry, EndpointEncoderEntry):
        return EndpointEncoder(registry.providers[entry.provider], entry.model, entry.dims)
    if isinstance(entry, OnnxEncoderEntry):
        return open_local(entry)
    return HashEncoder()
