"""The dashboard's numbers: the log's aggregates, and the arms of experiments with their intervals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from router_runtime.experiments import Estimate, arm_mean, arm_share, difference, saving, share_difference
from router_runtime.gateway import ui_queries as sql
from router_runtime.gateway.ui_log import opened
from router_runtime.gateway.ui_sealed import SealedDays
from router_runtime.registry import Registry

Floats = npt.NDArray[np.float64]
POINTS = 24
"""Bars of the picture over time."""


def overview(
    place: str | Path, since: float, now: float, registry: Registry, sealed: SealedDays | None = None
) -> dict[str, Any]:
    """All that the log says of the time from ``since`` to ``now`` (UTC seconds), JSON-ready.

    Args:
        place: Folder or URL of the log.
        since, now: UTC seconds.
        registry: Says which arms are baselines.
        sealed: What was read of sealed files before, so that this reads new files and open spools alone.

    Raises:
        StoreError: Where the log cannot be read.
    """
    step = (now - since) / POINTS
    with opened(place, since, sealed) as db:
        found: dict[str, Any] = {"totals": _rows(db, sql.TOTALS)[0]}
        for name, query in (
            ("recent", sql.RECENT),
            ("models", sql.MODELS),
            ("cells", sql.CELLS),
            ("providers", sql.PROVIDERS),
            ("tiers", sql.TIERS),
            ("agents", sql.AGENTS),
        ):
            found[name] = _rows(db, query)
        found["series"] = {"step_s": step, "points": _series(_rows(db, sql.SERIES, since=since, step=step))}
        by_session = [name for name, entry in registry.experiments.items() if entry.unit == "session"]
        subjects = db.execute(sql.SUBJECTS, {"by_session": by_session}).fetchnumpy()
    return {"since": since, "until": now, **found, "experiments": experiments(subjects, registry)}


def experiments(subjects: dict[str, Any], registry: Registry) -> list[dict[str, Any]]:
    """The arms that were seen, by experiment; each against the arm with a fixed model, where the registry has one.

    Args:
        subjects: Columns ``arm, cost, priced, quality, labelled, decisions``, one row for each arm and subject.
        registry: Says which arm is the baseline.
    """
    arms = np.asarray(subjects["arm"]).astype(str)
    columns = {name: np.ma.filled(subjects[name], 0.0).astype(np.float64) for name in subjects if name != "arm"}
    seen = [(name, *name.split("/", 1)) for name in np.unique(arms).tolist() if "/" in name]
    found = []
    for experiment in sorted({one for _, one, _ in seen}):
        parts = {arm: {k: v[arms == full] for k, v in columns.items()} for full, one, arm in seen if one == experiment}
        found.append(_experiment(experiment, parts, registry))
    return found


def _experiment(name: str, parts: dict[str, dict[str, Floats]], registry: Registry) -> dict[str, Any]:
    entry = registry.experiments.get(name)
    fixed = {} if entry is None else {arm.name: arm.model for arm in entry.arms if arm.model is not None}
    baseline = next((arm for arm in fixed if arm in parts), None)
    rows = []
    for arm, part in parts.items():
        against = None if baseline is None or arm == baseline else parts[baseline]
        rows.append({"arm": arm, "model": fixed.get(arm), **_arm(part, against)})
    return {"name": name, "baseline": baseline, "baseline_model": fixed.get(baseline or ""), "arms": rows}


def _arm(part: dict[str, Floats], baseline: dict[str, Floats] | None) -> dict[str, Any]:
    cost, quality = _pair(part, "cost", "priced"), _pair(part, "quality", "labelled")
    row: dict[str, Any] = {
        "decisions": int(part["decisions"].sum()),
        "subjects": len(part["decisions"]),
        "cost_per_1000": _json(arm_mean(*cost), 1000.0),
        "quality": _json(arm_share(*quality)),
    }
    if baseline is None:
        return row
    other = _pair(baseline, "cost", "priced")
    spent, share = difference(cost, other), saving(cost, other)
    saved = Estimate(-spent.value, -spent.high, -spent.low, spent.subjects)
    row["saving"] = None if math.isnan(share.value) else _json(share)
    row["saved_usd"] = _json(saved, float(cost[1].sum()))
    row["quality_difference"] = _json(share_difference(quality, _pair(baseline, "quality", "labelled")))
    return row


def _pair(part: dict[str, Floats], total: str, count: str) -> tuple[Floats, Floats]:
    used = part[count] > 0
    return part[total][used], part[count][used]


def _json(found: Estimate, unit: float = 1.0) -> dict[str, float | int | None]:
    numbers = {"value": found.value * unit, "low": found.low * unit, "high": found.high * unit}
    finite = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
    return {**finite, "subjects": found.subjects}


def _series(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A point for each part of the time, those without requests too."""
    by_place = {row.pop("place"): row for row in rows}
    nothing = {"decisions": 0, "spent_usd": 0.0, "unanswered": 0}
    return [by_place.get(place, nothing) for place in range(POINTS)]


def _rows(db: duckdb.DuckDBPyConnection, query: str, **parameters: float) -> list[dict[str, Any]]:
    """The rows as mappings; numbers that are not finite are null."""
    cursor = db.execute(query, parameters or None)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, map(_plain, row), strict=True)) for row in cursor.fetchall()]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
