"""A bundle's predictions for a table, prompt by prompt through the runtime's own features and scorer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.bundle import Bundle
from router_runtime.features import extract
from router_runtime.messages import Request
from training.dataset import Table
from training.sweep import Predicted

Floats = npt.NDArray[np.float64]
Track = Callable[[Sequence[str]], Iterable[str]]
BYTES_PER_TOKEN = 4.0
UNKNOWN_PRIOR = 0.5


def bundle_predictions(
    bundle: Bundle, table: Table, *, priors: Mapping[str, float] | None = None, track: Track | None = None
) -> Predicted:
    """q̂ and ĉ of the table's prompts and models, as the runtime would compute them.

    Models that the bundle does not know are described by their prior: ``priors``, else the table's ``quality_prior``
    column, else 0.5.

    Args:
        bundle: An opened bundle.
        table: Prompts and models (with prices).
        priors: Quality prior by model.
        track: Wraps the prompts to show progress.
    """
    texts = [str(text) for text in table.prompts["text"]]
    known = {model.name: index for index, model in enumerate(bundle.manifest.models)}
    models = np.array([known.get(name, len(known)) for name in table.model_names], dtype=np.int64)
    descriptor = np.zeros((len(models), 1 + len(bundle.manifest.domains)), dtype=np.float32)
    descriptor[:, 0] = [declared_priors(table, priors).get(name, UNKNOWN_PRIOR) for name in table.model_names]
    quality, tokens = [], []
    for text in texts if track is None else track(texts):
        found = bundle.scorer.predict(extract(Request(text)), models, descriptor)
        quality.append(found.quality)
        tokens.append(found.output_tokens)
    return Predicted(np.array(quality, dtype=np.float64), predicted_cost(table, np.array(tokens, dtype=np.float64)))


def declared_priors(table: Table, priors: Mapping[str, float] | None = None) -> dict[str, float]:
    """Quality priors by model: the table's own column, overridden by ``priors``."""
    declared: dict[str, float] = {}
    if "quality_prior" in table.models.columns:
        column: Any = table.models.set_index("model")["quality_prior"].dropna()
        declared = {str(name): float(value) for name, value in column.items()}
    return {**declared, **(priors or {})}


def input_tokens(texts: Sequence[str]) -> Floats:
    """Estimated prompt tokens [n]: UTF-8 bytes / 4, at least 1."""
    return np.array([max(1.0, len(t.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN) for t in texts])


def predicted_cost(table: Table, output_tokens: Floats) -> Floats:
    """ĉ [n, M] in USD: estimated prompt tokens and predicted output tokens [n, M] at the table's prices.

    Where a price is null, the model's mean logged cost stands for every prompt.
    """
    texts = [str(text) for text in table.prompts["text"]]
    price_in = table.models["price_in_per_m"].to_numpy(dtype=np.float64, na_value=np.nan)
    price_out = table.models["price_out_per_m"].to_numpy(dtype=np.float64, na_value=np.nan)
    cost: Floats = (input_tokens(texts)[:, None] * price_in + output_tokens * price_out) / 1e6
    unpriced = np.flatnonzero(~np.isfinite(price_in + price_out))
    if len(unpriced):
        cost[:, unpriced] = np.nanmean(table.matrix("cost_usd")[:, unpriced], axis=0)
    return cost
