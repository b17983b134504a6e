"""What can be said of a router from a log alone: calibration on the answers that were logged, by held-out folds.

What a router *would* have done on other choices is a question for off-policy evaluation, not answered here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from training.crossval import Learn
from training.dataset import Table
from training.feature_matrix import AnyFeatures, RepeatedFeatures
from training.progress import QUIET, Progress
from training.reliability import expected_calibration_error
from training.served import Served, known_means, predict_table, served_parts
from training.splits import grouped_folds
from training.sweep import Floats


def is_log(table: Table) -> bool:
    """Whether most prompts have the outcome of one model only, so that models cannot be compared prompt by prompt."""
    answers = table.outcomes.groupby("prompt_id")["model"].nunique()
    return bool("pscore" in table.outcomes.columns or (len(table.models) > 1 and answers.median() < 2))


def logged_report(
    table: Table,
    features: AnyFeatures,
    learn: Learn,
    *,
    folds: int = 5,
    seed: int = 0,
    progress: Progress = QUIET,
) -> dict[str, Any]:
    """Calibration and Brier score of the logged answers in one held-out fold, beside those of each model's mean.

    There are at most ``folds``: no more than groups of prompts.

    Returns:
        JSON-ready: ``calibration``, ``brier_of_model_means``, ``held_out``; ``baselines`` and ``differences`` are
        empty: a log of single answers compares no routers.

    Raises:
        TooFewRows: Where all prompts are of one group.
    """
    groups = table.prompts["group"].astype(str).to_numpy()
    folds = max(min(folds, len(np.unique(groups))), 2)
    index = np.asarray(grouped_folds(groups, folds, seed))
    rows = index == 0
    progress.say(f"learning without {rows.sum()} held-out prompts")
    seen, held = table.take(~rows), table.take(rows)
    predicted = _predicted(served_parts(learn(seen, features.take(~rows))), held, features.take(rows))
    quality = held.matrix("quality")
    means = known_means(seen.matrix("quality"))
    means = np.where(np.isfinite(means), means, np.nanmean(means))
    present = np.isfinite(quality)
    return {
        "table": table.name,
        "calibration": logged_calibration(predicted, quality, present, table.model_names),
        "brier_of_model_means": _brier(np.broadcast_to(means, quality.shape)[present], quality[present]),
        "held_out": f"one of {folds} folds by group, seed {seed}; logged answers only",
        "baselines": {},
        "differences": {},
    }


def _predicted(served: Served, held: Table, features: AnyFeatures) -> Floats:
    """q̂ of the held prompts [n, M]; one that comes again is predicted once."""
    if not isinstance(features, RepeatedFeatures):
        return predict_table(served, held, (features[row] for row in range(len(features)))).quality
    used, first, again = np.unique(features.code, return_index=True, return_inverse=True)
    different = replace(held, prompts=held.prompts.iloc[first].reset_index(drop=True))
    found = predict_table(served, different, (features.distinct[row] for row in used.tolist()))
    return np.asarray(found.quality[again])


def logged_calibration(predicted: Floats, quality: Floats, present: Any, models: list[str]) -> dict[str, Any]:
    """Calibration and Brier score of predictions [n, A] on the answers that were logged.

    Args:
        predicted: Held-out P(good).
        quality: What was observed, NaN where nothing was.
        present: bool [n, A], where ``quality`` counts.
        models: Names.
    """
    heads = {
        name: round(expected_calibration_error(predicted[present[:, m], m], quality[present[:, m], m]), 6)
        for m, name in enumerate(models)
        if present[:, m].sum() >= 100
    }
    overall = expected_calibration_error(predicted[present], quality[present])
    return {
        "ece": heads,
        "ece_max": max(heads.values(), default=overall),
        "ece_mean": round(overall, 6),
        "brier": _brier(predicted[present], quality[present]),
        "labels_per_head": int(present.sum(axis=0).mean()),
    }


def _brier(predicted: Floats, observed: Floats) -> float:
    return round(float(np.square(predicted - observed).mean()), 6)
