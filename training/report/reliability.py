"""Whether predicted quality came true, week by week."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.bootstrap import draw_weights
from training.report.clustered import mean
from training.report.reading import ReportLog

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
BINS = 10
MIN_LABELLED = 100
_WEEK_S = 7 * 86_400
_BAGS = 200
_REPLICATES = 400


def calibration(log: ReportLog, routed: Bools, until: float) -> dict[str, Any]:
    """Predicted against observed quality of the answers that have a label; JSON-ready.

    Args:
        log: The log.
        routed: Decisions to look at, bool[n].
        until: End of the last week, UTC seconds.

    Returns:
        ``weeks`` (``first``, ``last``, ``n``, ``ece`` and ``gap`` = observed less predicted, with intervals) and
        ``curve`` (mean prediction, mean outcome and number of answers of each bin).
    """
    own = log.predicted_quality[np.arange(len(log)), np.maximum(log.model, 0)]
    usable = routed & (log.model >= 0) & np.isfinite(log.reward) & np.isfinite(own)
    week = ((until - log.column("time")) // _WEEK_S).astype(np.int64)
    found = []
    for number in sorted(set(week[usable].tolist()), reverse=True):
        rows = usable & (week == number)
        if rows.sum() < MIN_LABELLED:
            continue
        gap = mean(log.reward[rows] - own[rows], log.subject[rows])
        value, low, high = ece_interval(own[rows], log.reward[rows], log.subject[rows])
        begun = max(until - (number + 1) * _WEEK_S, float(log.column("time").min()))
        entry: dict[str, Any] = {"first": begun, "last": until - number * _WEEK_S}
        ece = {"value": value, "low": low, "high": high, "n": int(rows.sum())}
        found.append({**entry, "n": int(rows.sum()), "ece": ece, "gap": gap.json()})
    return {"weeks": found, "curve": _curve(own[usable], log.reward[usable]), "labelled": int(usable.sum())}


def ece_interval(
    predicted: Floats, observed: Floats, subject: npt.NDArray[np.int64], seed: int = 0
) -> tuple[float, float, float]:
    """Expected calibration error with a basic bootstrap interval (Davison & Hinkley 1997, §5.2.1) over subjects.

    Subjects are dealt into at most 200 bags that are drawn whole (random groups; Wolter 2007, ch. 2), so that a million
    answers take no longer than a thousand.

    Args:
        predicted, observed: float64[n].
        subject: Whose they are, int64[n].
        seed: Of the draws.
    """
    code, subjects = pd.factorize(subject)
    bags = min(_BAGS, len(subjects))
    place = (code % bags) * BINS + np.clip((predicted * BINS).astype(np.int64), 0, BINS - 1)
    sums, counts = (
        np.bincount(place, weights=part, minlength=bags * BINS).reshape(bags, BINS)
        for part in (observed - predicted, np.ones(len(predicted)))
    )
    value = float(np.abs(sums.sum(axis=0)).sum() / counts.sum())
    drawn = draw_weights(bags, _REPLICATES, seed)
    replicates = np.abs(drawn @ sums).sum(axis=1) / (drawn @ counts).sum(axis=1)
    low, high = np.quantile(replicates, [0.025, 0.975])
    return value, max(2 * value - float(high), 0.0), max(2 * value - float(low), value)


def _curve(predicted: Floats, observed: Floats) -> list[dict[str, float]]:
    place = np.clip((predicted * BINS).astype(np.int64), 0, BINS - 1)
    found = []
    for one in np.unique(place):
        rows = place == one
        means = {
            "predicted": round(float(predicted[rows].mean()), 4),
            "observed": round(float(observed[rows].mean()), 4),
        }
        found.append({**means, "n": int(rows.sum())})
    return found
