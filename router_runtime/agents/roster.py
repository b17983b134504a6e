"""All agents of a router: who there is, and who takes a task that names nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from router_runtime.agents.history import History
from router_runtime.agents.matching import AgentChoice, Task, choose
from router_runtime.agents.turns import Turns
from router_runtime.calling import Calling
from router_runtime.errors import UnknownModelError
from router_runtime.messages import Messages
from router_runtime.options import Options
from router_runtime.registry import Registry
from router_runtime.registry_agents import AgentEntry
from router_runtime.registry_yaml import did_you_mean


class Roster:
    """The agents of the registry in force; at ``router.agents``. Any number of threads may use it.

    Args:
        calling: The router.
        read: Messages and options → the task, as the bundle sees it.
        seed: Gives a new 53-bit seed for each draw.
    """

    def __init__(self, calling: Calling, read: Callable[[Messages, Options], Task], seed: Callable[[], int]) -> None:
        self.calling, self.read, self._seed = calling, read, seed
        self.turns, self.history = Turns(), History()

    def __iter__(self) -> Iterator[AgentEntry]:
        return iter(self.calling.current_registry().agents.values())

    def entry(self, name: str, registry: Registry | None = None) -> AgentEntry:
        """The definition of ``name`` in ``registry``; None = the one in force.

        Raises:
            UnknownModelError: The registry lists no such agent; names the one meant.
        """
        agents = (registry or self.calling.current_registry()).agents
        if name not in agents:
            raise UnknownModelError(f"no agent {name[:100]!r}{did_you_mean(name[:100], agents)}")
        return agents[name]

    def match(self, messages: Messages, *, tier: str | None = None, intent: str | None = None) -> AgentChoice:
        """Who would take the task; nothing is called or logged, and nobody's turn passes.

        Raises:
            NoCandidateError: No agent may take it.
        """
        task = self.read(messages, Options(tier=tier, intent=intent))
        return choose(self.calling.current_registry(), task, self.history, self.turns.copy(), self._seed())

    def choose(self, registry: Registry, task: Task) -> AgentChoice:
        """As :meth:`match`, of a task that was read, and the turn is taken."""
        return choose(registry, task, self.history, self.turns, self._seed())
