"""Predictions for a table as the runtime makes them: its own features, the exported graph, prompt by prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.bundle import Bundle
from router_runtime.features import Features
from router_runtime.filters import estimate_tokens
from router_runtime.messages import Request
from router_runtime.scorer import Scorer
from training.dataset import Table
from training.export import export_graph
from training.graph_parts import GraphParts
from training.sweep import Predicted

Floats = npt.NDArray[np.float64]
UNKNOWN_PRIOR = 0.5


@dataclass(frozen=True)
class Served:
    """A router as it would serve.

    Args:
        scorer: A session over its graph.
        models: The models that it knows, in the graph's order.
        input_scale: float64 [M + 1], prompt tokens counted for each estimated one; the last is for unknown models.
    """

    scorer: Scorer
    models: tuple[str, ...]
    input_scale: Floats


def served_bundle(bundle: Bundle) -> Served:
    """The router of an opened bundle."""
    known = bundle.manifest.models
    scales = [float(model.details.get("input_scale", 1.0)) for model in known]
    return Served(bundle.scorer, tuple(model.name for model in known), np.array([*scales, 1.0]))


def served_parts(parts: GraphParts) -> Served:
    """The router of fitted parts, through the graph that they are exported to."""
    scales = np.ones(len(parts.models)) if parts.input_scale is None else parts.input_scale
    return Served(Scorer(export_graph(parts), parts), parts.models, np.append(scales, 1.0))


def predict_table(
    served: Served, table: Table, features: Iterable[Features], *, priors: Mapping[str, float] | None = None
) -> Predicted:
    """q̂ and ĉ of the table's prompts and models.

    Models that the router does not know are described by their prior: ``priors``, else the table's ``quality_prior``
    column, else 0.5.

    Args:
        served: The router.
        table: Prompts and models (with prices).
        features: Of the table's prompts, in order.
        priors: Quality prior by model.
    """
    known = {name: index for index, name in enumerate(served.models)}
    models = np.array([known.get(name, len(known)) for name in table.model_names], dtype=np.int64)
    descriptor = np.zeros((len(models), 1 + len(served.scorer.domains)), dtype=np.float32)
    declared = declared_priors(table, priors)
    descriptor[:, 0] = [declared.get(name, UNKNOWN_PRIOR) for name in table.model_names]
    found = [served.scorer.predict(one, models, descriptor) for one in features]
    shape = (len(found), len(models))
    quality = np.array([one.quality for one in found], dtype=np.float64).reshape(shape)
    tokens = np.array([one.output_tokens for one in found], dtype=np.float64).reshape(shape)
    return Predicted(quality, predicted_cost(table, tokens, served.input_scale[models]))


def declared_priors(table: Table, priors: Mapping[str, float] | None = None) -> dict[str, float]:
    """Quality priors by model: the table's own column, overridden by ``priors``."""
    declared: dict[str, float] = {}
    if "quality_prior" in table.models.columns:
        column: Any = table.models.set_index("model")["quality_prior"].dropna()
        declared = {str(name): float(value) for name, value in column.items()}
    return {**declared, **(priors or {})}


def predicted_cost(table: Table, output_tokens: Floats, input_scale: Floats) -> Floats:
    """ĉ [n, M] in USD: estimated prompt tokens and predicted output tokens [n, M] at the table's prices.

    The prompt's are estimated as the runtime does, times ``input_scale`` [M]. Where a price is null, the model's mean
    logged cost stands for every prompt.
    """
    texts = [str(text) for text in table.prompts["text"]]
    price_in = table.models["price_in_per_m"].to_numpy(dtype=np.float64, na_value=np.nan)
    price_out = table.models["price_out_per_m"].to_numpy(dtype=np.float64, na_value=np.nan)
    estimated = np.array([estimate_tokens(Request(text)) for text in texts])
    cost: Floats = (estimated[:, None] * input_scale * price_in + output_tokens * price_out) / 1e6
    unpriced = np.flatnonzero(~np.isfinite(price_in + price_out))
    if len(unpriced):
        cost[:, unpriced] = known_means(table.matrix("cost_usd")[:, unpriced])
    return cost


def known_means(values: Floats) -> Floats:
    """The mean of each column's finite values, NaN where it has none."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(values.shape[1], np.nan), where=count > 0))
