"""Events of a log → decisions as arrays, with labels joined and every row counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from router_runtime.errors import DataError, NotSupported
from router_runtime.features import STRUCTURAL, Features, extract
from router_runtime.messages import Request
from training.event_log import sealed_files, spooled_events
from training.labels import FEEDBACK_COLUMNS, LabelRules, Labels, combine
from training.ope.decisions import LoggedDecisions

Floats = npt.NDArray[np.float64]
Record = Mapping[str, Any]
_NOTHING = Features(np.zeros(0, dtype=np.int64), np.zeros(len(STRUCTURAL), dtype=np.float32))


@dataclass(frozen=True, eq=False)
class ReadLog:
    """Decisions ready to be asked, the labels behind them, and what was left out."""

    decisions: LoggedDecisions
    labels: Labels
    counts: dict[str, int]
    first_time: float
    last_time: float


def read_log(folder: Path, rules: LabelRules | None = None) -> ReadLog:
    """Reads the sealed days and the open spools of a log's folder; an event that stands in both counts once.

    Raises:
        DataError: Where the folder holds no event.
        NotSupported: Where no decision holds a propensity.
        TooFewRows: Where too few decisions get a label.
    """
    parts = [pq.read_table(path, partitioning=None) for path in sealed_files(folder)]
    parts += [events for _, events in spooled_events(folder)]
    seen = sum(len(part) for part in parts)
    if not seen:
        raise DataError(
            f"{folder} holds no event: a log is a folder of day=YYYY-MM-DD/*.parquet, with or without spool/"
        )
    events = pa.concat_tables(parts).to_pandas().drop_duplicates("id")
    bodies = {kind: [json.loads(body) for body in rows["body"]] for kind, rows in events.groupby("kind")}
    attempts = pd.DataFrame(bodies.get("attempt", []), columns=["decision_id", "cost_usd"])
    feedback = pd.DataFrame(bodies.get("feedback", []), columns=list(FEEDBACK_COLUMNS))
    return read_decisions(bodies.get("decision", []), attempts.astype({"cost_usd": float}), feedback, rules)


def read_decisions(
    records: Sequence[Record], attempts: pd.DataFrame, feedback: pd.DataFrame, rules: LabelRules | None = None
) -> ReadLog:
    """Joins the three kinds of events.

    A decision without candidates or without a propensity cannot be learnt from off-policy: it is dropped and counted.
    The choice is the action, also where a fallback served: what a policy earns includes what its choices lead to. A
    decision's cost is that of all its attempts.

    Args:
        records: Decision events as dicts (:class:`router_runtime.records.Decision`).
        attempts: ``decision_id``, ``cost_usd`` of each attempt.
        feedback: ``decision_id``, ``metric``, ``value``, ``source``, ``time`` of each signal.
        rules: How labels are made.

    Raises:
        NotSupported: Where no decision holds a propensity.
        TooFewRows: Where too few decisions get a label.
    """
    kept = {str(one["id"]): one for one in records if _usable(one)}
    counts = {
        "decisions_seen": len(records),
        "decisions_used": len(kept),
        "decisions_dropped": len(records) - len(kept),
    }
    if not kept:
        raise NotSupported(
            f"none of the {len(records):,} logged decisions holds its candidates' probabilities and the propensity of "
            "the choice: log them, with exploration (ε = 0.05 or more), before anything is claimed from this log"
        )
    rows = list(kept.values())
    chosen = pd.DataFrame({"decision_id": list(kept), "model": [str(one["chosen"]) for one in rows]})
    labels = combine(feedback[list(FEEDBACK_COLUMNS)], chosen, rules)
    models = sorted({str(candidate["model"]) for one in rows for candidate in one["candidates"]})
    place = {name: index for index, name in enumerate(models)}
    share, quality, cost = (_matrix(rows, place, key) for key in ("probability", "quality", "cost_usd"))
    action = np.array([place[str(one["chosen"])] for one in rows], dtype=np.int64)
    logging = np.nan_to_num(share)
    logging /= logging.sum(axis=1, keepdims=True)
    decisions = LoggedDecisions(
        models=tuple(models),
        logging_dist=logging,
        eligible=np.isfinite(share),
        action=action,
        pscore=logging[np.arange(len(rows)), action],
        quality=labels.reward,
        cost=_costs(attempts, list(kept)),
        predicted_quality=quality,
        predicted_cost=cost,
        features=[_features(one) for one in rows],
        session=_sessions(rows),
        segments=_segments(rows),
    )
    times = np.array([float(one["time"]) for one in rows])
    return ReadLog(decisions, labels, counts, float(times.min()), float(times.max()))


def _usable(one: Record) -> bool:
    """Whether candidates are logged, their probabilities are a distribution, and the propensity is the choice's."""
    shares = {str(candidate["model"]): candidate.get("probability") for candidate in one.get("candidates") or ()}
    chosen, propensity = shares.get(str(one.get("chosen"))), one.get("propensity")
    if chosen is None or propensity is None or any(share is None for share in shares.values()):
        return False
    return bool(chosen > 0 and abs(chosen - propensity) < 1e-4 and abs(sum(shares.values()) - 1) < 1e-3)


def _matrix(rows: Sequence[Record], place: Mapping[str, int], key: str) -> Floats:
    """``key`` of the candidates, float64[n, A], NaN where a model was no candidate or the value is null."""
    out = np.full((len(rows), len(place)), np.nan)
    for index, one in enumerate(rows):
        for candidate in one["candidates"]:
            value = candidate.get(key)
            if value is not None:
                out[index, place[str(candidate["model"])]] = value
    return out


def _costs(attempts: pd.DataFrame, ids: Sequence[str]) -> Floats:
    """Cost of all attempts of each decision in USD, NaN where none is known, float64[n]."""
    total = attempts.groupby("decision_id")["cost_usd"].sum(min_count=1)
    return total.reindex(list(ids)).to_numpy(dtype=np.float64)


def _features(one: Record) -> Features:
    """From the logged features, else from the logged prompt, else nothing."""
    logged = one.get("features")
    if logged:
        ids = np.array(logged["ids"], dtype=np.int64)
        return Features(ids, np.array(logged["structural"], dtype=np.float32))
    prompt = one.get("prompt")
    return _NOTHING if prompt is None else extract(Request(str(prompt), intent=one.get("intent")))


def _sessions(rows: Sequence[Record]) -> npt.NDArray[np.int64]:
    """Session numbers; decisions without one are sessions of their own."""
    names = [str(one["session"]) if one.get("session") is not None else f"\0{one['id']}" for one in rows]
    return np.asarray(pd.factorize(np.array(names, dtype=object))[0], dtype=np.int64)


def _segments(rows: Sequence[Record]) -> dict[str, npt.NDArray[np.str_]]:
    """Domain and tier of each decision; a dimension with a single value says nothing and is left out."""
    labels = {
        "domain": [str((one.get("task") or {}).get("domain") or "unknown") for one in rows],
        "tier": [str(one.get("tier") or "none") for one in rows],
    }
    return {name: np.array(values) for name, values in labels.items() if len(set(values)) > 1}
