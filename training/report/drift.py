"""What changed between the first and the second half of the window: prompts, prices, bundles, quality."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.features import STRUCTURAL
from training.prices import implied_prices
from training.report.clustered import bonferroni, difference, share
from training.report.reading import ReportLog

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
MODERATE, LARGE = 0.1, 0.25
"""The customary bounds of the population stability index."""
_BINS = 10
_SMOOTHING = 0.5
SHOWN = 8
_PRICE_CHANGE = 0.02


def drift(log: ReportLog, routed: Bools) -> dict[str, Any]:
    """All of it, JSON-ready; ``routed`` bool[n] are the decisions whose quality by model is compared."""
    time = log.column("time")
    middle = (float(time[0]) + float(time[-1])) / 2
    late = time >= middle
    return {
        "middle": middle,
        "labels": _labels(log, late),
        "features": _features(log, middle),
        "prices": _versions(log, "price_version"),
        "price_changes": _price_changes(log, late),
        "bundles": _versions(log, "bundle_version"),
        "quality": _quality(log, late, routed),
    }


def stability(first: Floats, second: Floats) -> tuple[float, float]:
    """Population stability index Σ (p − q) ln(p / q) of two histograms, and what chance alone gives.

    Without drift its expectation is about (B − 1)(1/n₁ + 1/n₂) over B bins (Yurdakul & Naranjo 2020).

    Args:
        first, second: Counts, float64[B].
    """
    filled = (first + second) > 0
    p, q = ((side[filled] + _SMOOTHING) / (side[filled] + _SMOOTHING).sum() for side in (first, second))
    noise = (filled.sum() - 1) * (1 / max(first.sum(), 1) + 1 / max(second.sum(), 1))
    return float(((p - q) * np.log(p / q)).sum()), float(noise)


def verdict_of(index: float, noise: float) -> str:
    """``stable``, ``moved`` or ``moved far``, of :func:`stability`."""
    if index < MODERATE or index < 3 * noise:
        return "stable"
    return "moved" if index < LARGE else "moved far"


def _labels(log: ReportLog, late: Bools) -> dict[str, Any]:
    sides = [np.bincount(log.label[rows], minlength=len(log.label_names)).astype(float) for rows in (~late, late)]
    index, noise = stability(*sides)
    shares = [side / max(side.sum(), 1) for side in sides]
    order = np.argsort(-np.abs(shares[1] - shares[0]), kind="stable")[:5]
    moved = [
        {"label": log.label_names[i], "first": round(float(shares[0][i]), 4), "second": round(float(shares[1][i]), 4)}
        for i in order
    ]
    return {"psi": round(index, 4), "noise": round(noise, 4), "verdict": verdict_of(index, noise), "moved": moved}


def _features(log: ReportLog, middle: float) -> dict[str, Any]:
    """Structural numbers of the sampled prompts, in bins of equal size over both halves; the largest shifts."""
    time, numbers = log.prompts
    late = time >= middle
    if min(late.sum(), (~late).sum()) < _BINS * 10:
        return {"prompts": len(time), "shifts": None}
    found = []
    for place, name in enumerate(STRUCTURAL):
        value = numbers[:, place]
        edges = np.unique(np.quantile(value, np.linspace(0, 1, _BINS + 1)[1:-1]))
        bins = np.searchsorted(edges, value, side="right")
        sides = [np.bincount(bins[rows], minlength=len(edges) + 1).astype(float) for rows in (~late, late)]
        index, noise = stability(*sides)
        means = {"first": round(float(value[~late].mean()), 4), "second": round(float(value[late].mean()), 4)}
        found.append(
            {
                "name": name,
                "psi": round(index, 4),
                "noise": round(noise, 4),
                "verdict": verdict_of(index, noise),
                **means,
            }
        )
    found.sort(key=lambda one: (one["verdict"] == "stable", -float(str(one["psi"]))))
    moved = sum(one["verdict"] != "stable" for one in found)
    return {"prompts": len(time), "of": len(found), "moved": moved, "shifts": found[:SHOWN]}


def _versions(log: ReportLog, column: str) -> list[dict[str, Any]]:
    """When each version was first and last seen."""
    groups = log.frame.groupby(column, observed=True)["time"].agg(["min", "max", "size"]).sort_values("min")
    return [
        {"version": str(name), "first": float(row["min"]), "last": float(row["max"]), "decisions": int(row["size"])}
        for name, row in groups.iterrows()
    ]


def _price_changes(log: ReportLog, late: Bools) -> list[dict[str, Any]]:
    """Models whose logged costs imply other prices (USD per million tokens) in the second half."""
    names = ["input_tokens", "output_tokens", "cost_usd"]
    answers = log.frame[["served", *names]].rename(columns={"served": "model"})
    answers["model"] = answers["model"].astype(object)
    first, second = (implied_prices(answers[rows], log.models) for rows in (~late, late))
    found = []
    for model in log.models:
        before, after = np.array(first[model]), np.array(second[model])
        known = np.isfinite(before).all() and np.isfinite(after).all()
        if known and (np.abs(after - before) > _PRICE_CHANGE * np.maximum(before, 1e-9)).any():
            found.append({"model": model, "first": before.round(4).tolist(), "second": after.round(4).tolist()})
    return found


def _quality(log: ReportLog, late: Bools, routed: Bools) -> list[dict[str, Any]]:
    """Quality of each model's answers in both halves; intervals of the differences hold together."""
    served = [m for m in range(len(log.models)) if (routed & (log.model == m)).any()]
    level = bonferroni(len(served))
    found = []
    for model in served:
        rows = routed & (log.model == model)
        first, second = (
            share(log.reward[rows & half], log.subject[rows & half], level=level) for half in (~late, late)
        )
        gap = difference(second, first)
        if min(first.n, second.n) < 2:
            continue
        entry = {"model": log.models[model], "first": first.json(), "second": second.json(), "difference": gap.json()}
        found.append({**entry, "moved": bool(gap.low > 0 or gap.high < 0)})
    return found
