"""What the registry says of agents: who they are, which models answer for them, and how a task finds its agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

AGENT_STRATEGIES = ("dedicated", "round-robin", "complexity-match", "learned")
AgentStrategy = Literal["dedicated", "round-robin", "complexity-match", "learned"]

EVERYONE = "everyone"
"""The memory scope that all agents write to and read from where it is named."""


@dataclass(frozen=True, slots=True)
class MemoryEntry:
    """What an agent may do with the shared memory; its own private scope is always its own.

    Args:
        write: The scope that it writes to where it names none; None = its private one.
        read: The shared scopes that it reads, beside the one it writes to.
    """

    write: str | None = None
    read: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AgentEntry:
    """One agent.

    Args:
        name: The registry's name, as in ``"agent/coding"``.
        description: What it is for; tasks without an agent are matched against it.
        system: Its system prompt, put before the caller's; empty = none.
        models: Registry names: empty = ``auto``, the router's choice among all; one = dedicated; more = a pool.
        fallbacks: Tried in order where the models fail; empty = as the policy ranks the others of the pool.
        strategy: How one of ``models`` is taken: the first that may serve; in turns; stronger ones for harder tasks;
            or as the router has learned.
        labels: Labels and domains that it is for.
        intent: Declared with its requests where the caller declares none.
        tiers: Who may use it; None = all.
        tools: Names of tools that it may be offered; those without a name go by their type; None = all.
        budgets: (window, USD or None, tokens or None), for all of its calls together.
        memory: Its share in the memory.
    """

    name: str
    description: str = ""
    system: str = ""
    models: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    strategy: AgentStrategy = "learned"
    labels: tuple[str, ...] = ()
    intent: str | None = None
    tiers: frozenset[str] | None = None
    tools: frozenset[str] | None = None
    budgets: tuple[tuple[str, float | None, int | None], ...] = ()
    memory: MemoryEntry = field(default_factory=MemoryEntry)


@dataclass(frozen=True, slots=True)
class DispatchEntry:
    """How a task that names no agent gets one.

    Args:
        strategy: ``learned`` = by the task head, the descriptions and what came of earlier tasks; ``round-robin`` = in
            turns; ``complexity-match`` = agents with stronger models for harder tasks; ``dedicated`` = the first one.
        epsilon: Share of tasks that go to any agent, so that the log can tell what another one would have done, 0..1.
    """

    strategy: AgentStrategy = "learned"
    epsilon: float = 0.0


@dataclass(frozen=True, slots=True)
class EndpointEncoderEntry:
    """The memory's vectors come from a provider's ``/embeddings``.

    Args:
        provider: Name of a provider of the registry.
        model: The provider's id of the model.
        dims: Length of its vectors.
    """

    provider: str
    model: str
    dims: int


@dataclass(frozen=True, slots=True)
class OnnxEncoderEntry:
    """Vectors come from a model on this machine: the memory's, or those that a router learnt on.

    Args:
        onnx, tokenizer: Paths of the model and of its ``tokenizer.json``.
        max_tokens: Of longer texts the beginning and the end are read.
    """

    onnx: str
    tokenizer: str
    max_tokens: int = 512


Agents = Mapping[str, AgentEntry]
