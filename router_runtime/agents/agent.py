"""One agent: its system prompt, models, tools and budget put around a call; which model answers stays hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Unpack, cast

from router_runtime.agents.matching import Task, refusal
from router_runtime.agents.reading import tools_of
from router_runtime.agents.roster import Roster
from router_runtime.budgets import Limit
from router_runtime.calling import CallOptions
from router_runtime.errors import ConfigError
from router_runtime.execution import ChatStream, Completion
from router_runtime.execution.sync import SyncStream
from router_runtime.messages import Messages
from router_runtime.options import Options, RouteOptions
from router_runtime.records import Decision
from router_runtime.registry import Registry
from router_runtime.registry_agents import AgentEntry

_OWN = ("model", "models", "order", "agent", "agent_dist")


class Agent:
    """Calls on behalf of one agent, or of the one that fits each task best. Made by ``router.agent(name)``.

    Args:
        roster: Of the router.
        name: Of the registry; None = each task is matched.
    """

    def __init__(self, roster: Roster, name: str | None) -> None:
        self._roster, self.name = roster, name

    def route(self, messages: Messages, **options: Unpack[RouteOptions]) -> Decision:
        """As :meth:`router_runtime.router.Router.route`, for this agent.

        Raises:
            ConfigError: The agent is not for this tier, tool or kind of request, or an option is the agent's own.
            NoCandidateError: No model, or no agent, may take it.
        """
        prepared, chosen = self._prepare(messages, dict(options))
        route: dict[str, Any] = {key: value for key, value in chosen.items() if key in Options._fields}
        return self._roster.calling.decide_for(prepared, Options(**route))

    async def complete(self, messages: Messages, **options: Unpack[CallOptions]) -> Completion:
        """As :meth:`router_runtime.calling.Calling.complete`, for this agent; raises as :meth:`route` does too."""
        calling = self._roster.calling
        prepared, chosen = await calling.off_loop(lambda: self._prepare(messages, dict(options)))
        return await calling.complete(prepared, **chosen)

    def stream(self, messages: Messages, **options: Unpack[CallOptions]) -> ChatStream:
        """As :meth:`complete`, chunk by chunk."""
        prepared, chosen = self._prepare(messages, dict(options))
        return self._roster.calling.stream(prepared, **chosen)

    def complete_sync(self, messages: Messages, **options: Unpack[CallOptions]) -> Completion:
        """:meth:`complete` for code without an event loop."""
        prepared, chosen = self._prepare(messages, dict(options))
        return self._roster.calling.complete_sync(prepared, **chosen)

    def stream_sync(self, messages: Messages, **options: Unpack[CallOptions]) -> SyncStream:
        """:meth:`stream` for code without an event loop."""
        prepared, chosen = self._prepare(messages, dict(options))
        return self._roster.calling.stream_sync(prepared, **chosen)

    def options(self, messages: Messages, options: Mapping[str, Any]) -> tuple[Messages, CallOptions]:
        """What the router is asked instead: messages with the system prompt, and the options of the agent.

        For callers that call the router themselves, such as the gateway.
        """
        return self._prepare(messages, dict(options))

    def _prepare(self, messages: Messages, given: dict[str, Any]) -> tuple[Messages, CallOptions]:
        for key in _OWN:
            if key in given and given[key] not in (None, (), "auto"):
                raise ConfigError(f"{key} is the agent's to say; call the router itself to choose it")
        registry = self._roster.calling.current_registry()
        route = {key: value for key, value in given.items() if key in Options._fields and key not in _OWN}
        task = self._roster.read(messages, Options(**route))
        task = replace(task, tools=task.tools | tools_of(given.get("extra") or {}))
        entry, dist = self._entry(registry, task)
        chosen = {key: value for key, value in given.items() if key not in _OWN}
        chosen |= {"agent": entry.name, "agent_dist": dist}
        if entry.intent is not None and chosen.get("intent") is None:
            chosen["intent"] = entry.intent
        chosen |= self._models(registry, entry, task)
        if entry.budgets:
            chosen["limits"] = (*given.get("limits", ()), *_limits(entry))
        return _with_system(messages, entry.system), cast(CallOptions, chosen)

    def _entry(self, registry: Registry, task: Task) -> tuple[AgentEntry, dict[str, float]]:
        if self.name is None:
            choice = self._roster.choose(registry, task)
            return registry.agents[choice.name], choice.dist
        entry = self._roster.entry(self.name, registry)
        reason = refusal(registry, entry, task)
        if reason is not None:
            raise ConfigError(f"the agent {entry.name!r} {reason}")
        return entry, {entry.name: 1.0}

    def _models(self, registry: Registry, entry: AgentEntry, task: Task) -> dict[str, Any]:
        """Which models may answer, and in what order where the agent says one."""
        if not entry.models:
            return {}
        if entry.strategy == "learned":
            return {"models": [*entry.models, *entry.fallbacks]}
        if entry.strategy == "dedicated":
            order = list(entry.models)
        else:
            first = self._first(registry, entry, task)
            order = [first, *(name for name in entry.models if name != first)]
        return {"order": [*order, *(name for name in entry.fallbacks if name not in order)]}

    def _first(self, registry: Registry, entry: AgentEntry, task: Task) -> str:
        if entry.strategy == "round-robin":
            return self._roster.turns.take(entry.models)
        weakest_first = sorted(entry.models, key=lambda name: registry.models[name].quality_prior)
        return weakest_first[min(int(task.complexity * len(weakest_first)), len(weakest_first) - 1)]


def _limits(entry: AgentEntry) -> list[Limit]:
    return [
        Limit(f"agent:{entry.name}", window, None if usd is None else Decimal(repr(float(usd))), tokens)  # type: ignore[arg-type]
        for window, usd, tokens in entry.budgets
    ]


def _with_system(messages: Messages, system: str) -> Messages:
    if not system:
        return messages
    said = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    return [{"role": "system", "content": system}, *said]
