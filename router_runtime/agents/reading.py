"""Messages → the task that agents are matched to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from router_runtime.agents.matching import Task
from router_runtime.errors import PredictionError
from router_runtime.features import extract
from router_runtime.messages import Messages, Request, read_request
from router_runtime.needs import needs_of
from router_runtime.options import Options
from router_runtime.snapshot import Snapshot

UNNAMED = "(without a name)"
_LISTS = ("tools", "functions")
_FIELDS = ("web_search_options", "search_parameters", "mcp_servers", "plugins")
"""Fields of OpenAI, xAI, Anthropic and OpenRouter that give a model tools of the provider's, or of others'."""


def task_of(snapshot: Snapshot, messages: Messages, options: Options) -> Task:
    """What kind of task it is; nothing is decided or logged.

    Raises:
        RequestError: The messages cannot be read.
        ConfigError: A tier or a capability is unknown, or a strict intent.
    """
    intent = None if options.intent is None else snapshot.intent(options.intent, strict=options.strict_intent)
    request = read_request(
        messages, tools=options.tools, response_format=options.response_format, intent=options.intent
    )
    needs = needs_of(snapshot.registry, request, intent, options)
    domains, complexity = _predicted(snapshot, request)
    if intent is not None:
        domains |= dict.fromkeys(intent.labels, 1.0)  # what was declared is certain
    return Task(
        text=request.text,
        domains=domains,
        complexity=complexity,
        signals=_signals(request, options),
        capabilities=frozenset(needs.capabilities),
        tier=options.tier,
        tools=tools_of({"tools": options.tools}),
        closed=snapshot.view(needs).filtered,
    )


def _predicted(snapshot: Snapshot, request: Request) -> tuple[dict[str, float], float]:
    """Probability by domain, and the complexity 0..1 over all models; (nothing, 0.5) where no bundle can say."""
    if snapshot.bundle is None or not snapshot.all.names:
        return {}, 0.5
    bundle, scorer, view = snapshot.bundle, snapshot.bundle.scorer, snapshot.all
    try:
        found = scorer.predict(bundle.encoded(extract(request), request.text), view.indices, view.descriptor)
    except PredictionError:
        return {}, 0.5  # the decision that follows counts and tells it
    complexity = 1.0 - float(found.quality.mean(dtype=np.float64))
    return dict(zip(scorer.domains, found.domain.tolist(), strict=True)), min(max(complexity, 0.0), 1.0)


def _signals(request: Request, options: Options) -> frozenset[str]:
    """Labels that the request itself shows."""
    shown = {"vision": request.images, "tools": request.tools, "agents": request.tool_results}
    return frozenset((*options.labels, *(label for label, count in shown.items() if count)))


def tools_of(body: Mapping[str, Any]) -> frozenset[str]:
    """The tools that a body offers a model, in any provider's way."""
    names = {name for field in _LISTS for tool in body.get(field) or () for name in _names(tool)}
    return frozenset(names | {field for field in _FIELDS if body.get(field) is not None})


def _names(tool: Any) -> Iterator[str]:
    """All that a tool calls itself, wherever a provider may read its name; its type where it has none."""
    said = tool if isinstance(tool, Mapping) else {}
    inner = [said, *(said[kind] for kind in ("function", "custom") if isinstance(said.get(kind), Mapping))]
    found = [one["name"] for one in inner if "name" in one] or [said.get("type")]
    for name in found:
        yield name if isinstance(name, str) else UNNAMED
