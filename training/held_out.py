"""A table → the complete matrix of outcomes that routers are measured on, with a count of what was left out and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from router_runtime.errors import DataError, TooFewRows
from training.dataset import Table
from training.sweep import Truth

MIN_PROMPTS = 10
COMPLETE_SHARE = 0.8


@dataclass(frozen=True)
class HeldOut:
    """Prompts with complete outcomes.

    Args:
        table: The same prompts and models as a table.
        truth: Their outcomes.
        counts: What was seen, used and left out, JSON-ready.
        source: The table that they were taken from.
    """

    table: Table
    truth: Truth
    counts: dict[str, Any]
    source: Table

    @property
    def texts(self) -> list[str]:
        """The prompts' texts [n]."""
        return [str(text) for text in self.table.prompts["text"]]


def select_pool(table: Table, pool: str = "auto") -> Table:
    """The candidate models to measure on.

    Args:
        table: The table.
        pool: ``core`` = those marked ``core_pool``, ``all``, or ``auto`` = the core pool where at least two are marked.
    """
    marked = table.models["core_pool"].fillna(value=False).astype(bool)
    if pool == "all" or (pool == "auto" and marked.sum() < 2):
        return table
    models = table.models[marked].reset_index(drop=True)
    outcomes = table.outcomes[table.outcomes["model"].isin(models["model"])].reset_index(drop=True)
    return replace(table, models=models, outcomes=outcomes)


def held_out(table: Table, pool: str = "auto") -> HeldOut:
    """The complete part of ``table``: models that most prompts lack go first, then prompts that lack a model.

    Comparing single models needs the same prompts for all of them, so a pair that is missing costs either its prompt or
    its model; models go (most missing first) until 80 % of the prompts are complete.

    Raises:
        TooFewRows: Where fewer than ten prompts or two models are left.
        DataError: Where qualities lie outside 0..1 or costs below 0.
    """
    chosen = select_pool(table, pool)
    quality, cost = chosen.matrix("quality"), filled_cost(chosen)
    present = np.isfinite(quality) & np.isfinite(cost)
    kept = _kept_models(present)
    complete: npt.NDArray[np.bool_] = np.all(present[:, kept], axis=1)
    n, m = int(complete.sum()), len(kept)
    if n < MIN_PROMPTS or m < 2:
        raise TooFewRows(
            f"{table.name}: {n} prompts with outcomes of {m} models are complete, at least {MIN_PROMPTS} × 2 are needed"
        )
    names = chosen.model_names
    used = _narrow(chosen, complete, kept)
    truth = _truth(used.prompts, quality[complete][:, kept], cost[complete][:, kept], [names[i] for i in kept])
    counts = {
        "prompts_seen": len(table.prompts),
        "prompts_used": n,
        "prompts_incomplete": len(chosen.prompts) - n,
        "models_seen": len(table.models),
        "models_used": m,
        "models_dropped": [name for i, name in enumerate(names) if i not in set(kept.tolist())],
    }
    return HeldOut(used, truth, counts, table)


def filled_cost(table: Table) -> npt.NDArray[np.float64]:
    """Costs [prompts, models] in USD; where a cost is null, tokens times prices, and NaN where those are null too."""
    cost = table.matrix("cost_usd")
    price_in = table.models["price_in_per_m"].to_numpy(dtype=np.float64, na_value=np.nan)
    price_out = table.models["price_out_per_m"].to_numpy(dtype=np.float64, na_value=np.nan)
    counted = (table.matrix("input_tokens") * price_in + table.matrix("output_tokens") * price_out) / 1e6
    return np.where(np.isfinite(cost), cost, counted)


def _kept_models(present: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    kept = np.arange(present.shape[1])
    while len(kept) > 2 and present[:, kept].all(axis=1).mean() < COMPLETE_SHARE:
        missing = (~present[:, kept]).sum(axis=0)
        if missing.max() == 0:
            break
        kept = np.delete(kept, missing.argmax())
    return kept


def _narrow(table: Table, rows: npt.NDArray[np.bool_], kept: npt.NDArray[np.intp]) -> Table:
    models = table.models.iloc[kept].reset_index(drop=True)
    outcomes = table.outcomes[table.outcomes["model"].isin(models["model"])].reset_index(drop=True)
    return replace(table, models=models, outcomes=outcomes).take(rows)


def _truth(
    prompts: pd.DataFrame, quality: npt.NDArray[np.float64], cost: npt.NDArray[np.float64], models: list[str]
) -> Truth:
    if quality.min() < 0 or quality.max() > 1:
        raise DataError(f"quality {quality.min():g}..{quality.max():g} lies outside 0..1")
    if cost.min() < 0:
        raise DataError(f"cost_usd {cost.min():g} is negative")
    return Truth(quality, cost, _names(prompts["group"]), _names(prompts["task"]), tuple(models))


def _names(column: pd.Series[Any]) -> npt.NDArray[np.str_]:
    names: npt.NDArray[np.str_] = column.fillna("unknown").astype(str).to_numpy().astype(str)
    return names
