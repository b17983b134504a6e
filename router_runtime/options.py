"""What a caller may say beside the messages: one list for ``route``, ``explain`` and all that calls a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from router_runtime.policy_settings import Strategy
from router_runtime.records import LatencyNeed


class RouteOptions(TypedDict, total=False):
    """The keywords of :meth:`router_runtime.router.Router.route`; all may be left out.

    Args:
        model: ``"auto"``, or a model or alias that is taken without a choice.
        tier: A tier of the registry.
        intent: What the caller wants, such as ``"refactor_function"``; one that the registry does not know counts as
            the nearest known one, where one is near, and is a feature for the prediction as it stands.
        labels: Labels of the task; by default the intent's, else the predicted domain where the registry has it.
        session, user: Ids of the caller; the user's is kept as a hash.
        tools: Tools offered to the model.
        response_format: As in OpenAI's API.
        strategy, trade_off, quality_target: Override the intent's, the tier's and the policy's.
        models: The only models or aliases allowed.
        max_cost_usd: The most that the call may be predicted to cost, beside the tier's own bound.
        headroom_usd: What a budget leaves for it.
        latency_need: Overrides the intent's.
        explore: False takes the best without exploration.
        arm: Experiment arm, for the record.
        capabilities: What the model must be able to do, beside what the request itself needs.
        order: The only models or aliases allowed, the first that may serve first; takes the place of the policy.
        agent: Name of the agent that asks, for the record.
        agent_dist: Probability of each agent that could have been given the task, for the record.
        strict_intent: An unknown intent is an error, instead of the nearest known one or none.
    """

    model: str
    tier: str | None
    intent: str | None
    labels: Sequence[str]
    session: str | None
    user: str | None
    tools: Sequence[Any] | None
    response_format: Any
    strategy: Strategy | None
    trade_off: float | None
    quality_target: float | None
    models: Sequence[str] | None
    max_cost_usd: float | None
    headroom_usd: float | None
    latency_need: LatencyNeed | None
    explore: bool
    arm: str | None
    capabilities: Sequence[str]
    order: Sequence[str]
    agent: str | None
    agent_dist: Mapping[str, float] | None
    strict_intent: bool


class Options(NamedTuple):
    """:class:`RouteOptions` with its defaults filled in."""

    model: str = "auto"
    tier: str | None = None
    intent: str | None = None
    labels: Sequence[str] = ()
    session: str | None = None
    user: str | None = None
    tools: Sequence[Any] | None = None
    response_format: Any = None
    strategy: Strategy | None = None
    trade_off: float | None = None
    quality_target: float | None = None
    models: Sequence[str] | None = None
    max_cost_usd: float | None = None
    headroom_usd: float | None = None
    latency_need: LatencyNeed | None = None
    explore: bool = True
    arm: str | None = None
    capabilities: Sequence[str] = ()
    order: Sequence[str] = ()
    agent: str | None = None
    agent_dist: Mapping[str, float] | None = None
    strict_intent: bool = False
