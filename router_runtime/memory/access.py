"""Who may read and write which scope of the memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from router_runtime.errors import MemoryRefused
from router_runtime.registry_agents import EVERYONE, AgentEntry

__all__ = ["Access", "Directory", "MemoryRefused", "access_of", "by_registry", "private"]


def private(agent: str) -> str:
    """The scope that ``agent`` alone reads and writes."""
    return f"agent:{agent}"


@dataclass(frozen=True, slots=True)
class Access:
    """What one agent may do.

    Args:
        agent: Its name.
        read: Scopes that it reads.
        write: Scopes that it writes.
        usual: The one that it writes where it names none.
    """

    agent: str
    read: frozenset[str]
    write: frozenset[str]
    usual: str

    def target(self, scope: str | None) -> str:
        """The scope of a write.

        Raises:
            MemoryRefused: The agent may not write there.
        """
        chosen = self.usual if scope is None else scope
        if chosen not in self.write:
            raise MemoryRefused(f"the agent {self.agent!r} may not write to the scope {chosen!r}")
        return chosen


Directory = Callable[[str], Access]


def access_of(entry: AgentEntry) -> Access:
    """By the registry: its own scope, those it reads, the one it writes, and ``everyone``."""
    own, shared = private(entry.name), entry.memory.write
    write = frozenset((own, EVERYONE)) if shared is None else frozenset((own, EVERYONE, shared))
    return Access(entry.name, write | entry.memory.read, write, own if shared is None else shared)


def by_registry(agents: Callable[[], Mapping[str, AgentEntry]]) -> Directory:
    """Looks agents up in the registry in force; others are refused."""

    def find(agent: str) -> Access:
        entry = agents().get(agent)
        if entry is None:
            raise MemoryRefused(f"no agent {agent[:100]!r} in the registry")
        return access_of(entry)

    return find
