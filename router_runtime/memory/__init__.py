"""Memory that agents share: written by one, found by those whose scopes allow it, gone when it is forgotten."""

from router_runtime.encoder import Encoder
from router_runtime.memory.access import Access, MemoryRefused
from router_runtime.memory.encoders import HashEncoder
from router_runtime.memory.entries import Entry, Found
from router_runtime.memory.memory import Memory
from router_runtime.memory.opening import open_encoder, open_memory

__all__ = [
    "Access",
    "Encoder",
    "Entry",
    "Found",
    "HashEncoder",
    "Memory",
    "MemoryRefused",
    "open_encoder",
    "open_memory",
]
