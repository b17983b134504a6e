"""Messages → the task that agents are matched to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from router_runtime.agents.matching import Task
from router_runtime.errors import PredictionError
from router_runtime.features import extract
from router_runtime.filters import needed_capabilities
from router_runtime.messages import Messages, Request, read_request
from router_runtime.options import Options
from router_runtime.snapshot import Snapshot


def task_of(snapshot: Snapshot, messages: Messages, options: Options) -> Task:
    """What kind of task it is; nothing is decided or logged.

    Raises:
        RequestError: The messages cannot be read.
        ConfigError: A strict intent is unknown.
    """
    intent = None if options.intent is None else snapshot.intent(options.intent, strict=options.strict_intent)
    request = read_request(
        messages, tools=options.tools, response_format=options.response_format, intent=options.intent
    )
    domains, complexity = _predicted(snapshot, request)
    if intent is not None:
        domains |= dict.fromkeys(intent.labels, 1.0)  # what was declared is certain
    return Task(
        text=request.text,
        domains=domains,
        complexity=complexity,
        signals=_signals(request, options),
        capabilities=frozenset(needed_capabilities(request, intent)),
        tier=options.tier,
        tools=frozenset(_names(options.tools or ())),
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


def _names(tools: Sequence[Any]) -> Iterator[str]:
    """Names of offered tools in OpenAI's or Anthropic's shape; others have none."""
    for tool in tools:
        if isinstance(tool, Mapping):
            inner = tool.get("function", tool)
            name = inner.get("name") if isinstance(inner, Mapping) else None
            if isinstance(name, str):
                yield name
