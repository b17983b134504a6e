"""Task → agent: who may take it, how well it fits, and with what probability each is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from router_runtime import policy
from router_runtime.agents.history import History
from router_runtime.agents.turns import Turns
from router_runtime.errors import NoCandidateError
from router_runtime.likeness import Likeness, stems
from router_runtime.policy_settings import PolicySettings
from router_runtime.registry import Registry
from router_runtime.registry_agents import AgentEntry

DOMAIN_WEIGHT, WORDS_WEIGHT, SIGNAL_WEIGHT, HISTORY_WEIGHT = 1.0, 0.5, 1.0, 0.5
"""Of the learned task head, the description, what the request carries (a picture, tools), and the history."""

_KIN: Mapping[str, str] = {
    "code": "code coding programming python software computer human_eval mbpp livecodebench crux",
    "math": "math mathematics algebra arithmetic gsm gsm8k mgsm aime geometry",
    "reasoning": "reasoning logic puzzle logicgrid zebra",
    "science": "science biology chemistry physics health medicine anatomy engineering gpqa astronomy clinical",
    "knowledge": "knowledge mmlu trivia qa history law economics econometrics philosophy psychology business openbook",
    "chat": "chat conversation dialogue",
    "writing": "writing essay story commongen",
    "agents": "agents agent multi_turn",
    "tool_use": "tool_use tool tools bfcl",
    "commonsense": "commonsense arc_challenge",
}
"""Words of benchmarks and domains that stand for a label."""


@dataclass(frozen=True, slots=True)
class Task:
    """What matching looks at.

    Args:
        text: Of the request.
        domains: Probability by domain of the bundle's task head; empty without a bundle.
        complexity: 0 .. 1, see :class:`router_runtime.records.TaskProfile`.
        signals: Labels that the request itself shows: ``vision`` for a picture, ``tools`` for tools.
        capabilities: That a model must have.
        tier: Of the caller.
        tools: Names of the tools that the request offers.
        closed: Reason by model that cannot serve it now: disabled, not in the tier, or unable.
    """

    text: str
    domains: Mapping[str, float]
    complexity: float
    signals: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    tier: str | None = None
    tools: frozenset[str] = frozenset()
    closed: Mapping[str, str] = field(default_factory=dict)

    @property
    def domain(self) -> str:
        """The most probable domain."""
        return max(self.domains, key=lambda name: self.domains[name]) if self.domains else "unknown"


@dataclass(frozen=True, slots=True)
class AgentChoice:
    """The agent of a task.

    Args:
        name: The agent.
        propensity: Probability with which it was chosen, 0..1.
        dist: Probability by agent that may take the task; sums to 1.
        scores: How well each fits; higher is better.
        refused: Reason by agent that may not take it.
        domain: Most probable domain of the task.
    """

    name: str
    propensity: float
    dist: dict[str, float]
    scores: dict[str, float]
    refused: dict[str, str]
    domain: str


def choose(registry: Registry, task: Task, history: History, turns: Turns, seed: int) -> AgentChoice:
    """The agent for ``task`` by the registry's ``dispatch``.

    Raises:
        NoCandidateError: No agent may take it; holds the reason of each.
    """
    refused = {
        name: reason
        for name, entry in registry.agents.items()
        if (reason := refusal(registry, entry, task) or _lack(registry, entry, task))
    }
    names = [name for name in registry.agents if name not in refused]
    if not names:
        raise NoCandidateError(refused or {"agents": "the registry lists none"})
    rule = registry.dispatch
    if rule.strategy == "round-robin":
        # In turns each agent is as likely as any other to be met by a task, which is what the log needs to know.
        even = dict.fromkeys(names, 1.0 / len(names))
        return AgentChoice(turns.take(names), 1.0 / len(names), even, even, refused, task.domain)
    score = _scores(registry, names, task, history)
    settings = PolicySettings(exploration="epsilon" if rule.epsilon else "none", epsilon=rule.epsilon)
    values = np.array(list(score.values()))
    dist = policy.action_dist(values, None, settings)
    place = policy.draw(dist, seed)
    shares = dict(zip(names, dist.tolist(), strict=True))
    return AgentChoice(names[place], float(dist[place]), shares, score, refused, task.domain)


def refusal(registry: Registry, entry: AgentEntry, task: Task) -> str | None:
    """Why ``entry`` may not take ``task``; None where it may."""
    if entry.tiers is not None and task.tier not in entry.tiers:
        return f"is for the tiers {', '.join(sorted(entry.tiers))}"
    if entry.tools is not None and (others := task.tools - entry.tools):
        return f"may not use the tool {sorted(others)[0]!r}"
    if not any(task.capabilities <= registry.models[name].capabilities for name in _models(registry, entry)):
        return f"none of its models can do {', '.join(sorted(task.capabilities))}"
    return None


def _lack(registry: Registry, entry: AgentEntry, task: Task) -> str | None:
    """Why no model can serve ``task`` for ``entry`` now, without their names; None where one can."""
    reasons = {task.closed.get(name) for name in _models(registry, entry)}
    if None in reasons:
        return None
    told = sorted((one for one in reasons if one), key=lambda one: (not one.startswith("disabled"), one))
    return f"{', '.join(told)} (its models)"


def _models(registry: Registry, entry: AgentEntry) -> tuple[str, ...]:
    return (*entry.models, *entry.fallbacks) or tuple(registry.models)


def _scores(registry: Registry, names: Sequence[str], task: Task, history: History) -> dict[str, float]:
    rule = registry.dispatch.strategy
    if rule == "dedicated":
        return {name: -float(place) for place, name in enumerate(names)}
    if rule == "complexity-match":
        order = sorted(names, key=lambda name: strength(registry, registry.agents[name]))
        wanted = min(int(task.complexity * len(order)), len(order) - 1)
        return {name: -float(abs(order.index(name) - wanted)) for name in names}
    entries = [registry.agents[name] for name in names]
    words = likeness(tuple(entries)).of_text(task.text[:4096])
    return {entry.name: _fit(entry, task, words[entry.name], history) for entry in entries}


def _fit(entry: AgentEntry, task: Task, words: float, history: History) -> float:
    domain = sum(share * affinity(entry, name) for name, share in task.domains.items())
    signal = float(bool(task.signals & set(entry.labels)))
    lead = history.lead(entry.name, task.domain)
    return DOMAIN_WEIGHT * domain + WORDS_WEIGHT * words + SIGNAL_WEIGHT * signal + HISTORY_WEIGHT * lead


def strength(registry: Registry, entry: AgentEntry) -> float:
    """Quality prior of the best model that answers for the agent, 0..1."""
    names = entry.models or tuple(registry.models)
    return max(registry.models[name].quality_prior for name in names)


@lru_cache(maxsize=64)
def likeness(entries: tuple[AgentEntry, ...]) -> Likeness:
    """Of the agents' names, labels and descriptions."""
    return Likeness({one.name: f"{' '.join(one.labels)} {one.description}" for one in entries})


@lru_cache(maxsize=1024)
def _label_stems(label: str) -> frozenset[str]:
    return frozenset(stems(f"{label} {_KIN.get(label, '')}"))


@lru_cache(maxsize=4096)
def _kin_of(domain: str) -> frozenset[str]:
    """The labels that a domain's name stands for, told by its last part where that says anything.

    ``mmlu_pro/math`` is mathematics and not knowledge, although ``mmlu`` alone is knowledge.
    """
    for part in (domain.rpartition("/")[2], domain):
        found = frozenset(stems(part))
        kin = frozenset(label for label in _KIN if found & _label_stems(label))
        if kin:
            return kin
    return frozenset()


def affinity(entry: AgentEntry, domain: str) -> float:
    """Whether the agent is for a domain of the task head: 1 by its name, .8 by a word that stands for it, else 0."""
    if domain in entry.labels:
        return 1.0
    last = frozenset(stems(domain.rpartition("/")[2]))
    known = _kin_of(domain)
    return 0.8 if any(label in known or last & _label_stems(label) for label in entry.labels) else 0.0
