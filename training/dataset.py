"""Prompts × models → outcomes, in long form: the one table that every learner and every evaluation reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from router_runtime.errors import DataError

PROMPT_COLUMNS = ("prompt_id", "text", "task", "domain", "group")
OUTCOME_COLUMNS = ("prompt_id", "model", "quality", "input_tokens", "output_tokens", "cost_usd", "latency_ms")
MODEL_COLUMNS = ("model", "price_in_per_m", "price_out_per_m", "core_pool")


@dataclass(frozen=True)
class Table:
    """Outcomes of models on prompts: every pair (full information) or one model per prompt (a log).

    Args:
        prompts: One row per prompt: ``PROMPT_COLUMNS`` (+ any others). ``group`` joins near-duplicates.
        outcomes: One row per (prompt, model): ``OUTCOME_COLUMNS``, plus ``weight`` (label weight, default 1) and
            ``pscore`` (propensity of the logged choice) in tables that come from a log. Nulls are unknown, not zero.
        models: One row per model: ``MODEL_COLUMNS``; prices in USD per million tokens.
        name: Name for reports.
    """

    prompts: pd.DataFrame
    outcomes: pd.DataFrame
    models: pd.DataFrame
    name: str = "table"

    @property
    def model_names(self) -> list[str]:
        """Models in the order of ``models``."""
        return [str(m) for m in self.models["model"]]

    def matrix(self, column: str) -> npt.NDArray[np.float64]:
        """``column`` of ``outcomes`` as [prompts, models], NaN where there is no outcome."""
        rows = pd.Index(self.prompts["prompt_id"]).get_indexer(self.outcomes["prompt_id"])
        cols = pd.Index(self.models["model"]).get_indexer(self.outcomes["model"])
        out = np.full((len(self.prompts), len(self.models)), np.nan)
        keep = (rows >= 0) & (cols >= 0)
        out[rows[keep], cols[keep]] = self.outcomes[column].to_numpy(dtype=np.float64, na_value=np.nan)[keep]
        return out

    def core(self) -> Table:
        """Only the models marked ``core_pool``, and only prompts that all of them answered."""
        models = self.models[self.models["core_pool"].astype(bool)].reset_index(drop=True)
        outcomes = self.outcomes[self.outcomes["model"].isin(models["model"])]
        answered = outcomes.dropna(subset=["quality"]).groupby("prompt_id")["model"].nunique()
        complete = answered.index[answered == len(models)]
        return replace(self, models=models, outcomes=outcomes.reset_index(drop=True)).take(
            self.prompts["prompt_id"].isin(complete).to_numpy()
        )

    def take(self, mask: npt.NDArray[np.bool_]) -> Table:
        """The prompts where ``mask`` [prompts] is true, with their outcomes."""
        prompts = self.prompts[mask].reset_index(drop=True)
        outcomes = self.outcomes[self.outcomes["prompt_id"].isin(prompts["prompt_id"])].reset_index(drop=True)
        return replace(self, prompts=prompts, outcomes=outcomes)


def load_table(folder: Path) -> Table:
    """Reads ``prompts.parquet``, ``outcomes.parquet`` and ``models.parquet`` of ``folder``.

    Raises:
        DataError: Where a file or a column is missing.
    """
    frames = {}
    for part, columns in (("prompts", PROMPT_COLUMNS), ("outcomes", OUTCOME_COLUMNS), ("models", MODEL_COLUMNS)):
        path = folder / f"{part}.parquet"
        if not path.is_file():
            raise DataError(f"{path} is missing: a table is a folder of prompts, outcomes and models (.parquet)")
        frame = pd.read_parquet(path)
        missing = [c for c in columns if c not in frame.columns]
        if missing:
            raise DataError(f"{path} lacks the column {missing[0]!r} (it has {', '.join(frame.columns)})")
        frames[part] = frame
    return Table(**frames, name=folder.name)
