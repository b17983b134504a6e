"""The headers that tell what the router did: ``x-pointsman-decision``, ``-model``, ``-cost-usd`` and ``-reason``."""

from __future__ import annotations

from decimal import Decimal

from router_runtime.gateway.wire import Headers
from router_runtime.records import Decision


def headers_of(decision: Decision, served: str | None = None, cost_usd: Decimal | None = None) -> Headers:
    """Of a decision and what came of it.

    Args:
        decision: The decision.
        served: The registry's model that answered; None where none did.
        cost_usd: Of all attempts; None where it is not known yet, as in a stream: then what was predicted is told.
    """
    name = decision.id.encode()
    headers = [
        (b"x-request-id", name),  # where OpenAI's clients look for one
        (b"request-id", name),  # where Anthropic's do
        (b"x-pointsman-decision", name),
        (b"x-pointsman-reason", _ascii(reason(decision, served))),
    ]
    if served is not None:
        headers.append((b"x-pointsman-model", _ascii(served)))
    usd = f"{cost_usd:f}" if cost_usd is not None else f"{decision.best.cost_usd:.9f}"
    return [*headers, (b"x-pointsman-cost-usd", usd.encode())]


def reason(decision: Decision, served: str | None = None) -> str:
    """One line on why this model."""
    best, count = decision.best, len(decision.candidates)
    quality = f"predicted quality {best.quality:.2f} at ${best.cost_usd:.6f}"
    if count == 1:
        words = f"{decision.chosen}: the only candidate, {quality}"
    else:
        words = f"{decision.chosen}: {decision.policy}, {quality}, of {count} candidates"
    if decision.propensity < 1.0:
        words += f", drawn with probability {decision.propensity:.3f}"
    if served is not None and served != decision.chosen:
        words += f"; it failed and {served} took over"
    return words


def _ascii(text: str) -> bytes:
    if text.isascii() and text.isprintable():
        return text.encode()
    return "".join(c if " " <= c <= "~" else "?" for c in text).encode()
