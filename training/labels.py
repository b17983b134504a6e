"""Feedback of all sources → one quality per decision, with its weight, its provenance and a count of every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from router_runtime.errors import TooFewRows
from training.judge import JudgeCalibration, fit_judge, rectified

Floats = npt.NDArray[np.float64]
SOURCES = ("test", "user", "judge", "implicit")
FEEDBACK_COLUMNS = ("decision_id", "metric", "value", "source", "time")
DECISION_COLUMNS = ("decision_id", "model")


@dataclass(frozen=True)
class LabelRules:
    """How much each source says.

    Args:
        weights: Weight by source, 0..1: how much of a sure label one signal is worth. 0 leaves the source out.
        metric_weights: Weight by metric, in place of its source's: a retry says more than an edit distance.
        real: Sources that count as truth for the judge's calibration.
        min_used: Fewer labelled decisions than this are an error.
    """

    weights: Mapping[str, float] = field(
        default_factory=lambda: {"test": 1.0, "user": 0.7, "judge": 0.5, "implicit": 0.15}
    )
    metric_weights: Mapping[str, float] = field(default_factory=dict)
    real: tuple[str, ...] = ("test", "user")
    min_used: int = 1


@dataclass(frozen=True, eq=False)
class Labels:
    """One row per decision, in the order of the decisions given.

    Args:
        quality: Weighted mean of the (calibrated) signals 0..1, NaN where there is none, float64[n]: to train on.
        reward: The same information as an unbiased reward (:func:`training.judge.rectified`), NaN where there is none,
            float64[n]: to evaluate on; may lie outside 0..1.
        weight: How sure the label is, 0..1, 0 where there is none, float64[n].
        provenance: Sources joined by ``+``, empty where there is none, [n].
        counts: Rows ``seen | joined | labelled | used`` and why others were dropped.
        judge: The judge's calibration.
        missing: Share of unlabelled decisions by model.
    """

    quality: Floats
    reward: Floats
    weight: Floats
    provenance: list[str]
    counts: dict[str, int]
    judge: JudgeCalibration
    missing: dict[str, float]


def combine(feedback: pd.DataFrame, decisions: pd.DataFrame, rules: LabelRules | None = None) -> Labels:
    """Joins feedback to decisions and weighs the sources.

    Late feedback counts like any other; of repeated feedback (same decision, source and metric) the latest holds;
    feedback on unknown decisions, from unknown sources or with a value outside 0..1 is dropped and counted.

    Args:
        feedback: ``FEEDBACK_COLUMNS``; one row per signal.
        decisions: ``DECISION_COLUMNS``; one row per decision.
        rules: Weights of the sources.

    Raises:
        TooFewRows: Where fewer than ``rules.min_used`` decisions get a label; says how many are missing.
    """
    rules = rules or LabelRules()
    names, model = np.unique(decisions["model"].astype(str), return_inverse=True)
    kept, counts = _clean(feedback, decisions, rules)
    value, weight = _by_source(kept, len(decisions))
    judge = _calibrate(value, weight, model, len(names), rules)
    scores = value[:, SOURCES.index("judge")]
    has = np.isfinite(scores)
    value[has, SOURCES.index("judge")] = judge.apply(scores[has], model[has])
    total = weight.sum(axis=1)
    quality = np.divide(
        (np.nan_to_num(value) * weight).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0
    )
    labelled = np.isfinite(quality)
    counts |= {"decisions": len(decisions), "labelled": int(labelled.sum()), "used": int(labelled.sum())}
    if counts["used"] < rules.min_used:
        lacking = rules.min_used - counts["used"]
        raise TooFewRows(
            f"{counts['used']} decisions have a label, {lacking} more are needed (of {len(decisions)} logged)"
        )
    reward = _rewards(value, weight, model, len(names), rules)
    missing = {str(name): float(1 - labelled[model == m].mean()) for m, name in enumerate(names)}
    return Labels(quality, reward, np.minimum(total, 1.0), _provenance(weight), counts, judge, missing)


def _clean(feedback: pd.DataFrame, decisions: pd.DataFrame, rules: LabelRules) -> tuple[pd.DataFrame, dict[str, int]]:
    """Usable signals with the ``row`` of their decision, and counts of the others."""
    frame = feedback.assign(row=pd.Index(decisions["decision_id"]).get_indexer(feedback["decision_id"]))
    value = pd.to_numeric(frame["value"], errors="coerce")
    checks = {
        "unknown_decision": frame["row"] < 0,
        "unknown_source": ~frame["source"].isin(SOURCES),
        "value_outside_0_1": ~((value >= 0) & (value <= 1)),
    }
    counts = {"seen": len(frame), "joined": int((frame["row"] >= 0).sum())}
    good = np.ones(len(frame), dtype=np.bool_)
    for name, bad in checks.items():
        counts[name] = int((bad.to_numpy() & good).sum())
        good &= ~bad.to_numpy()
    usable = frame.assign(value=value)[good].sort_values("time", kind="stable")
    latest = usable.drop_duplicates(["decision_id", "source", "metric"], keep="last")
    counts["superseded"] = len(usable) - len(latest)
    weight = latest["source"].map(rules.weights).fillna(0.0)
    weight = latest["metric"].map(rules.metric_weights).fillna(weight)
    return latest.assign(weight=weight)[(weight > 0).to_numpy()], counts


def _by_source(signals: pd.DataFrame, n: int) -> tuple[Floats, Floats]:
    """Mean value (NaN = none) and weight of each source, float64[n, sources]; a source's metrics share its weight."""
    row = signals["row"].to_numpy(dtype=np.int64)
    column = signals["source"].map({name: index for index, name in enumerate(SOURCES)}).to_numpy(dtype=np.int64)
    cell, size = row * len(SOURCES) + column, n * len(SOURCES)
    weight = signals["weight"].to_numpy(dtype=np.float64)
    total = np.bincount(cell, weights=weight, minlength=size)
    moment = np.bincount(cell, weights=weight * signals["value"].to_numpy(dtype=np.float64), minlength=size)
    largest = np.zeros(size)
    np.maximum.at(largest, cell, weight)
    value = np.divide(moment, total, out=np.full(size, np.nan), where=total > 0)
    return value.reshape(n, -1), largest.reshape(n, -1)


def _mean_of(names: tuple[str, ...], value: Floats, weight: Floats) -> Floats:
    """The weighted mean of some sources, NaN where they said nothing, float64[n]."""
    columns = [SOURCES.index(name) for name in names]
    total = weight[:, columns].sum(axis=1)
    moment = (np.nan_to_num(value[:, columns]) * weight[:, columns]).sum(axis=1)
    return np.asarray(np.divide(moment, total, out=np.full(len(total), np.nan), where=total > 0))


def _rewards(value: Floats, weight: Floats, model: npt.NDArray[np.int64], models: int, rules: LabelRules) -> Floats:
    """Rewards to evaluate on: stand-ins corrected by the real labels, which alone stand where there is no stand-in."""
    real = _mean_of(rules.real, value, weight)
    stand_in = _mean_of(tuple(name for name in SOURCES if name not in rules.real), value, weight)
    reward, has = real.copy(), np.isfinite(stand_in)
    reward[has] = rectified(stand_in[has], real[has], model[has], models)
    return reward


def _calibrate(
    value: Floats, weight: Floats, model: npt.NDArray[np.int64], models: int, rules: LabelRules
) -> JudgeCalibration:
    real, scores = _mean_of(rules.real, value, weight), value[:, SOURCES.index("judge")]
    both = np.isfinite(real) & np.isfinite(scores)
    return fit_judge(scores[both], real[both], model[both], models)


def _provenance(weight: Floats) -> list[str]:
    return ["+".join(name for name, has in zip(SOURCES, row > 0, strict=True) if has) for row in weight]
