"""Words and tables for people: plain ASCII but for the user's own words, at most 100 columns."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from router_runtime.bundle import Bundle
from router_runtime.explain import Explanation, Influence
from router_runtime.flags import Outage
from router_runtime.pricing import price_at
from router_runtime.records import Candidate, Decision
from router_runtime.registry import Registry

_END_OF_DATES = datetime.max.replace(tzinfo=UTC).timestamp()

WIDTH = 100


def decision(made: Decision) -> str:
    """The choice, the candidates and what was filtered."""
    return "\n".join([*_headline(made), "", *_candidates(made), *_filtered(made)])


def explanation(found: Explanation) -> str:
    """As :func:`decision`, with the task and what moved the prediction."""
    made = found.decision
    task = made.task
    lines = [
        *_headline(made),
        f"task      {task.domain} ({task.domain_probability:.0%}), complexity {task.complexity:.2f}, "
        f"{task.modality}, {task.latency_need}",
        f"versions  bundle {made.bundle_version}, policy {made.policy_version}, prices {made.price_version}",
        "",
        *_candidates(made),
        *_filtered(made),
    ]
    return "\n".join([*lines, "", *_influences(found.influences, made)])


def registry(path: str, checked: Registry, now: float) -> str:
    """What a valid registry holds."""
    rows = [("model", "provider", "USD/M in", "out", "context", "quality prior", "")]
    for model in checked.models.values():
        price = price_at(model, now)
        note = "" if model.enabled else "disabled"
        rows.append(
            (
                *(model.name, model.provider, f"{price.input:g}", f"{price.output:g}", f"{model.context_window:,}"),
                *(f"{model.quality_prior:.2f}", note),
            )
        )
    counts = (
        f"{len(checked.providers)} providers, {len(checked.models)} models, {len(checked.tiers)} tiers, "
        f"{len(checked.labels)} labels, {len(checked.intents)} intents"
    )
    return "\n".join([f"{path} is valid: {counts}", "", *table(rows, numeric={2, 3, 4, 5})])


def status(
    checked: Registry,
    out: Mapping[str, Outage],
    flags: Mapping[str, float | None],
    bundle: Bundle | None,
    state: str,
) -> str:
    """Which models would serve now."""
    rows = [("model", "provider", "state")]
    for model in checked.models.values():
        words = "enabled" if model.enabled else "disabled in the registry"
        rows.append((model.name, model.provider, _outage(out[model.name]) if model.name in out else words))
    serving = "none (the static table chooses)" if bundle is None else f"{bundle.path} (version {bundle.version})"
    switches = [f"{flag} {'on' if end is None else f'off {until(end)}'}" for flag, end in flags.items()]
    head = [f"bundle    {serving}", f"registry  version {checked.version}", f"state     {state}"]
    return "\n".join([*head, *([f"flags     {', '.join(switches)}"] if switches else []), "", *table(rows)])


def _outage(outage: Outage) -> str:
    by = "" if outage.flag is None else f"with the flag {outage.flag} "
    return f"disabled {by}{until(outage.until)}"


def until(end: float) -> str:
    """``until 2026-04-01 12:00:00 UTC``, or ``until it is enabled``."""
    if end >= _END_OF_DATES:
        return "until it is enabled"
    return f"until {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M:%S} UTC"


def show(as_json: bool, document: Mapping[str, Any], words: str) -> None:
    """Prints one JSON document, or the words for people."""
    if as_json:
        print(json.dumps(document, allow_nan=False))  # ASCII, whatever the terminal's encoding
    else:
        encoding = sys.stdout.encoding or "ascii"
        print(words.encode(encoding, "replace").decode(encoding))


def table(rows: Sequence[Sequence[str]], numeric: frozenset[int] | set[int] = frozenset()) -> list[str]:
    """Aligned lines; the first row is the head."""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [
            c.rjust(w) if place in numeric else c.ljust(w) for place, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip()[:WIDTH])
    rule = "  ".join("-" * width for width in widths).rstrip()[:WIDTH]
    return [lines[0], rule, *lines[1:]]


def plain(text: str) -> str:
    """``text`` on one line, without control characters that a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _headline(made: Decision) -> list[str]:
    best = made.best
    dearest = max(made.candidates, key=lambda c: c.cost_usd)
    saved = ""
    if dearest.cost_usd > best.cost_usd:
        saved = f", {1 - best.cost_usd / dearest.cost_usd:.0%} less than {plain(dearest.model)}"
    labels = [f"labels    {plain(', '.join(made.labels))}"[:WIDTH]] if made.labels else []
    return [
        f"choice    {plain(made.chosen)}",
        f"because   {_reason(made)} (policy {made.policy})"[:WIDTH],
        *labels,
        f"cost      {_usd(best.cost_usd)} predicted{saved}",
        f"took      {made.elapsed_ms:.2f} ms, id {made.id}",
    ]


def _reason(made: Decision) -> str:
    best = made.best
    if len(made.candidates) == 1:
        return "the only model left"
    if made.propensity < 1.0:
        return f"drawn with probability {made.propensity:.3f}"
    words = {
        "cost-first": "cheapest that is good enough, else the best",
        "capability-first": "preferred for the labels, by predicted quality",
        "balanced": "most quality for the money",
        "static": "first in the static table",
    }
    return f"{words[made.policy]}, quality {best.quality:.2f}"


def _candidates(made: Decision) -> list[str]:
    head = ("", "model", "quality", "cost USD", "tokens in", "out", "latency", "score", "prob.", "")
    rows = [head, *(_row(candidate, made.chosen) for candidate in made.candidates)]
    return table(rows, numeric={2, 3, 4, 5, 6, 7, 8})


def _row(candidate: Candidate, chosen: str) -> tuple[str, ...]:
    latency = "-" if candidate.latency_ms is None else f"{candidate.latency_ms / 1000:.1f} s"
    return (
        "->" if candidate.model == chosen else "",
        candidate.model,
        f"{candidate.quality:.3f}",
        _usd(candidate.cost_usd),
        f"{candidate.input_tokens:,.0f}",
        f"{candidate.output_tokens:,.0f}",
        latency,
        f"{candidate.score:.4f}",
        f"{candidate.probability:.3f}",
        "" if candidate.known else "by prior",
    )


def _filtered(made: Decision) -> list[str]:
    if not made.filtered:
        return []
    rows = [("filtered out", "why"), *sorted(made.filtered.items())]
    return ["", *table(rows)]


def _influences(influences: Sequence[Influence], made: Decision) -> list[str]:
    if made.bundle_version == "none":
        return ["No bundle is open, so nothing was predicted: priors of the registry and the static table chose."]
    if not influences:
        return ["Nothing in the request moved the prediction."]
    rows = [("what moved it", "kind", "value", "change")]
    for item in influences:
        value = f"{item.value:.0f}x" if item.kind == "word" else f"{item.value:.3g}"
        name = f'"{item.name}"' if item.kind == "word" else item.name
        rows.append((name, item.kind, value, f"{item.change:+.4f}"))
    return [f"Predicted quality of {plain(made.chosen)}: change that each brings", *table(rows, numeric={2, 3})]


def _usd(amount: float) -> str:
    return f"${amount:.6f}" if amount < 0.1 else f"${amount:.4f}"
