"""Prices as the package genai-prices knows them (extra ``prices``): its own data, no network.

The only module that imports it. Its figures are by time of day for some models and by length of the prompt for others;
ours are one figure, so that the dearest hour of the day is taken, and the prices of prompts below the first threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from importlib.util import find_spec
from typing import Any

from router_runtime.errors import ConfigError
from router_runtime.registry import Price


def known_price(base_url: str, names: Sequence[str], day: date) -> Price | None:
    """The price of a model from ``day`` (UTC) on; None where the package does not know the model at that provider.

    Args:
        base_url: Of the provider, which tells who it is.
        names: What the model is called, the provider's own name first.
        day: When.

    Raises:
        ConfigError: Where the package is not installed.
    """
    if find_spec("genai_prices") is None:
        raise ConfigError("prices need genai-prices; add it with: pip install 'pointsman[prices]'")
    from genai_prices.data_snapshot import get_snapshot  # here: an extra, which no other command needs

    snapshot = get_snapshot()
    for name in names:
        try:
            _, model = snapshot.find_provider_model(name, None, None, base_url)
        except LookupError:
            continue
        hours = [model.get_prices(datetime.combine(day, time(hour), UTC)) for hour in range(24)]
        columns = [[_base(getattr(found, key)) for found in hours] for key in _KEYS]
        paid, answered, cached = (max((x for x in column if x is not None), default=None) for column in columns)
        if paid is not None and answered is not None:
            return Price(day, paid, answered, cached)
    return None


_KEYS = ("input_mtok", "output_mtok", "cache_read_mtok")


def _base(price: Any) -> float | None:
    """USD per million tokens; where the price rises with the prompt's length, that of short ones."""
    return None if price is None else float(getattr(price, "base", price))
