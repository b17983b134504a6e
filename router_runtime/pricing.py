"""What a call costs, at the price in force at a time. Prices stay outside the learnt model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from router_runtime.registry import ModelEntry, Price

Floats = npt.NDArray[np.float64]

PER_TOKEN = 1e-6
"""Prices are per million tokens."""


class PriceTable(NamedTuple):
    """The prices of C models that are in force now, in USD per token.

    Args:
        input, output, cached_input: float64 [C].
        version: Fingerprint of models and prices, 12 hex digits.
        valid_until: UTC seconds since the epoch at which one of them changes; infinity where none is announced.
    """

    input: Floats
    output: Floats
    cached_input: Floats
    version: str
    valid_until: float


def price_at(model: ModelEntry, when: float) -> Price:
    """The price in force at ``when`` (UTC seconds since the epoch); the first one for any time before it."""
    today = datetime.fromtimestamp(when, UTC).date()
    return next((price for price in reversed(model.prices) if price.valid_from <= today), model.prices[0])


def cost_usd(
    price: Price, input_tokens: float | Floats, output_tokens: float | Floats, cached_tokens: float | Floats = 0.0
) -> float | Floats:
    """Cost of calls in USD, for one or for arrays of any one shape.

    Args:
        price: In force.
        input_tokens: Prompt tokens, the cached ones included.
        output_tokens: Completion tokens.
        cached_tokens: Prompt tokens that came from the provider's cache.
    """
    cached = price.input if price.cached_input is None else price.cached_input
    fresh = (input_tokens - cached_tokens) * price.input
    return (fresh + cached_tokens * cached + output_tokens * price.output) * PER_TOKEN


def price_table(models: Iterable[ModelEntry], when: float) -> PriceTable:
    """The prices in force at ``when``, ready for whole decisions."""
    listed = list(models)
    prices = [price_at(model, when) for model in listed]
    cached = [price.input if price.cached_input is None else price.cached_input for price in prices]
    return PriceTable(
        input=np.array([price.input for price in prices]) * PER_TOKEN,
        output=np.array([price.output for price in prices]) * PER_TOKEN,
        cached_input=np.array(cached) * PER_TOKEN,
        version=price_version(listed, when),
        valid_until=_next_change(listed, when),
    )


def price_version(models: Iterable[ModelEntry], when: float) -> str:
    """Fingerprint of the prices in force at ``when``: equal if and only if every model costs the same."""
    rows = sorted(((model.name, price_at(model, when)) for model in models), key=lambda row: row[0])
    text = ";".join(f"{name}:{p.input!r}:{p.output!r}:{p.cached_input!r}" for name, p in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _next_change(models: list[ModelEntry], when: float) -> float:
    starts = (_midnight(price.valid_from) for model in models for price in model.prices)
    return min((start for start in starts if start > when), default=math.inf)


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()
