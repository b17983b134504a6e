"""Prompts × models → outcomes, in long form: the one table that every learner and every evaluation reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from router_runtime.errors import DataError
from training.near_duplicates import near_duplicate_groups
from training.validation import MAX_BAD_SHARE, FrameCheck, RowReport

PROMPT_COLUMNS = ("prompt_id", "text", "task", "domain", "group")
OUTCOME_COLUMNS = ("prompt_id", "model", "quality", "input_tokens", "output_tokens", "cost_usd", "latency_ms")
MODEL_COLUMNS = ("model", "price_in_per_m", "price_out_per_m", "core_pool")
PARTS: Mapping[str, tuple[str, ...]] = {
    "prompts": PROMPT_COLUMNS,
    "outcomes": OUTCOME_COLUMNS,
    "models": MODEL_COLUMNS,
}
OPTIONAL = ("task", "domain", "group", "latency_ms", "core_pool")
"""What a file may lack: labels become ``unknown``, groups are computed, latency is null, all models are core."""


@dataclass(frozen=True)
class Table:
    """Outcomes of models on prompts: every pair (full information) or one model per prompt (a log).

    Args:
        prompts: One row per prompt: ``PROMPT_COLUMNS`` (+ any others). ``group`` joins near-duplicates.
        outcomes: One row per (prompt, model): ``OUTCOME_COLUMNS``, plus ``weight`` (label weight, default 1) and
            ``pscore`` (propensity of the logged choice) in tables that come from a log. Nulls are unknown, not zero.
        models: One row per model: ``MODEL_COLUMNS``; prices in USD per million tokens.
        name: Name for reports.
        report: What became of the rows of its source.
    """

    prompts: pd.DataFrame
    outcomes: pd.DataFrame
    models: pd.DataFrame
    name: str = "table"
    report: RowReport = field(default_factory=RowReport)

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
        outcomes = self.outcomes[among(self.outcomes["prompt_id"], prompts["prompt_id"])].reset_index(drop=True)
        return replace(self, prompts=prompts, outcomes=outcomes)


def labelled_part(table: Table) -> tuple[Table, npt.NDArray[np.bool_]]:
    """The outcomes with a label, of known prompts and models, with their prompts; and which prompts [n] those are."""
    known = among(table.outcomes["prompt_id"], table.prompts["prompt_id"])
    usable = known & table.outcomes["quality"].notna().to_numpy()
    usable &= among(table.outcomes["model"], table.models["model"])
    outcomes = table.outcomes[usable].reset_index(drop=True)
    answered = among(table.prompts["prompt_id"], outcomes["prompt_id"])
    return replace(table, outcomes=outcomes).take(answered), answered


def among(names: pd.Series, known: pd.Series) -> npt.NDArray[np.bool_]:
    """Which of the strings ``names`` stand in ``known``, as ``Series.isin`` says it, without an object for each."""
    found = pc.is_in(_strings(names), value_set=_strings(known))
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _strings(column: pd.Series) -> pa.Array:
    array = pa.array(column, type=pa.large_string(), from_pandas=True)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def load_table(folder: Path, *, max_bad_share: float = MAX_BAD_SHARE) -> Table:
    """Reads and checks ``prompts.parquet``, ``outcomes.parquet`` and ``models.parquet`` of ``folder``.

    Raises:
        DataError: Where a file or a column is missing, or nothing is left.
        TooManyBadRows: Where more than ``max_bad_share`` (0..1) of the rows of a file are malformed.
    """
    frames = {part: _read(folder / f"{part}.parquet", columns) for part, columns in PARTS.items()}
    prompts, outcomes, models = (frames[part] for part in PARTS)
    source = str(folder)
    return checked_table(prompts, outcomes, models, name=folder.name, source=source, max_bad_share=max_bad_share)


def checked_table(
    prompts: pd.DataFrame,
    outcomes: pd.DataFrame,
    models: pd.DataFrame,
    *,
    name: str,
    source: str,
    before: RowReport | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
) -> Table:
    """A table of frames that hold ``PARTS`` (less ``OPTIONAL``), checked row by row.

    Rules: rows of one (prompt, model) pair become one with the mean of each number, equal rows included (several
    samples of one model are draws of one outcome: nine good answers and a bad one are .9); of two prompts with one id
    and one text the first stays; where the texts differ the later ones are rejected, and so are the outcomes of that
    id, for nothing tells which text they are of; a missing cost is tokens × price where those are known, else null.

    Args:
        prompts, outcomes, models: The rows.
        name: Name for reports.
        source: Where they are from, for messages.
        before: What reading the source has already counted.
        max_bad_share: Bound on malformed rows per part, 0..1.

    Raises:
        DataError: Where nothing is left.
        TooManyBadRows: Above the bound.
    """
    good_models, in_models = _check_models(_completed(models, MODEL_COLUMNS))
    given = _completed(prompts, PROMPT_COLUMNS)
    good_prompts, in_prompts = _check_prompts(given)
    found = _completed(outcomes, OUTCOME_COLUMNS)
    good_outcomes, in_outcomes = _check_outcomes(found, good_prompts, good_models, _ambiguous(given))
    for part, report in (("models", in_models), ("prompts", in_prompts), ("outcomes", in_outcomes)):
        report.require(f"{source}, {part}", max_bad_share)
    read = before or RowReport()
    total = RowReport(seen=read.seen - read.used if before else 0, rejected=read.rejected, skipped=read.skipped)
    report = replace(total, filled=read.filled, examples=read.examples) + in_outcomes
    for part, other in (("prompts", in_prompts), ("models", in_models)):
        report += RowReport(rejected={f"{part}.{reason}": count for reason, count in other.rejected.items()})
    return Table(good_prompts, good_outcomes, good_models, name, report)


def save_table(table: Table, folder: Path) -> Path:
    """Writes the three Parquet files of ``table``; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        partial = folder / f".{part}.{os.getpid()}.tmp"
        frame: pd.DataFrame = getattr(table, part)
        frame.to_parquet(partial, index=False, compression="zstd", compression_level=19)
        partial.replace(folder / f"{part}.parquet")
    return folder


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{path} is missing: a table is a folder of prompts, outcomes and models (.parquet)")
    try:
        frame = pd.read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({_first_line(error)})") from error
    missing = [c for c in columns if c not in frame.columns and c not in OPTIONAL]
    if missing:
        raise DataError(f"{path} lacks the column {missing[0]!r} (it has {', '.join(map(str, frame.columns))})")
    return frame


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _completed(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """A copy that has every column, identifiers as text."""
    frame = frame.reset_index(drop=True).copy()
    for column in columns:
        if column not in frame.columns:
            frame[column] = True if column == "core_pool" else None
    for column in ("prompt_id", "model"):
        if column in frame.columns:
            frame[column] = _whole(frame[column]).astype("string").astype("str")
    return frame


def _whole(ids: pd.Series) -> pd.Series:
    """Numbers that are whole as such: pandas makes 7 a 7.0 where one of the others is missing."""
    if not pd.api.types.is_float_dtype(ids) or not (known := ids[ids.notna()]).mod(1).eq(0).all():
        return ids
    return ids.astype("Int64") if known.abs().lt(2**53).all() else ids


def _check_models(frame: pd.DataFrame) -> tuple[pd.DataFrame, RowReport]:
    check = FrameCheck(frame, "models")
    check.text("model")
    for column in ("price_in_per_m", "price_out_per_m"):
        check.numbers(column)
    check.skip(frame.duplicated("model").to_numpy(), "repeated model")
    frame["core_pool"] = frame["core_pool"].fillna(False).astype(bool)
    return check.finish()


def _check_prompts(frame: pd.DataFrame) -> tuple[pd.DataFrame, RowReport]:
    check = FrameCheck(frame, "prompts")
    check.text("prompt_id")
    check.text("text")
    repeated = frame.duplicated("prompt_id").to_numpy()
    check.skip(repeated & frame.duplicated(["prompt_id", "text"]).to_numpy(), "repeated prompt")
    check.reject(repeated, "prompt_id", "stands for another text already")
    good, report = check.finish()
    for column in ("task", "domain"):
        good[column] = good[column].astype("string").fillna("unknown").astype("str")
    return _grouped(good), report


def _ambiguous(prompts: pd.DataFrame) -> pd.Series:
    """Ids that stand for several texts."""
    texts = prompts.drop_duplicates(["prompt_id", "text"])["prompt_id"]
    return texts[texts.duplicated()]


def _grouped(prompts: pd.DataFrame) -> pd.DataFrame:
    """``prompts`` with a group for each: its own, else one computed from the text."""
    given = prompts["group"].astype("string")
    lacking = given.isna().to_numpy()
    if lacking.all():
        prompts["group"] = near_duplicate_groups([str(text) for text in prompts["text"]])
    elif lacking.any():  # a prompt without one stands alone: its text may not be that of any given group
        prompts["group"] = given.fillna("alone:" + prompts["prompt_id"].astype("string")).astype("str")
    else:
        prompts["group"] = given.astype("str")
    return prompts


def _check_outcomes(
    frame: pd.DataFrame, prompts: pd.DataFrame, models: pd.DataFrame, ambiguous: pd.Series
) -> tuple[pd.DataFrame, RowReport]:
    check = FrameCheck(frame, "outcomes")
    check.text("prompt_id")
    check.text("model")
    check.reject(~frame["model"].isin(models["model"]).to_numpy(), "model", "is not among the models")
    check.reject(~frame["prompt_id"].isin(prompts["prompt_id"]).to_numpy(), "prompt_id", "is not among the prompts")
    check.reject(frame["prompt_id"].isin(ambiguous).to_numpy(), "prompt_id", "stands for several texts")
    check.numbers("quality", 0.0, 1.0)
    for column in ("input_tokens", "output_tokens", "cost_usd", "latency_ms"):
        check.numbers(column)
    for column, high in (("weight", np.inf), ("pscore", 1.0)):
        if column in frame.columns:
            check.numbers(column, 0.0, high)
    _fill_cost(check, models)
    good, report = check.finish()
    return _averaged(good, report)


def _fill_cost(check: FrameCheck, models: pd.DataFrame) -> None:
    """Missing costs become tokens × price where all of them are known."""
    frame = check.frame
    lacking = frame["cost_usd"].isna().to_numpy() & check.good
    if not lacking.any():
        return
    price = models.set_index("model")
    per_in = frame["model"].map(price["price_in_per_m"]).to_numpy(dtype=np.float64, na_value=np.nan)
    per_out = frame["model"].map(price["price_out_per_m"]).to_numpy(dtype=np.float64, na_value=np.nan)
    cost = (frame["input_tokens"].to_numpy() * per_in + frame["output_tokens"].to_numpy() * per_out) / 1e6
    check.fill("cost_usd from tokens × price", int((lacking & np.isfinite(cost)).sum()))
    check.fill("cost_usd unknown", int((lacking & ~np.isfinite(cost)).sum()))
    frame["cost_usd"] = np.where(lacking, cost, frame["cost_usd"].to_numpy())


def _averaged(frame: pd.DataFrame, report: RowReport) -> tuple[pd.DataFrame, RowReport]:
    """One row per (prompt, model), the mean of each number over all rows of the pair, equal ones included."""
    pair = ["prompt_id", "model"]
    if not frame.duplicated(pair).any():
        return frame, report
    numbers = frame.select_dtypes("number").columns
    means = frame.groupby(pair, sort=False)[list(numbers)].mean()
    kept = frame.drop_duplicates(pair).reset_index(drop=True)
    kept[list(numbers)] = means.to_numpy()
    merged = len(frame) - len(kept)
    skipped = {**report.skipped, "averaged with another outcome of the same pair": merged}
    return kept, replace(report, used=len(kept), skipped=skipped)
