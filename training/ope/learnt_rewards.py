"""The router's own learner as the reward model: slower than the ridge, sharper where the log is long."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.log_table import LogTable
from training.ope.reward_model import Predictor, crossfit
from training.outcome_models import LearnConfig, fit
from training.progress import QUIET, Progress
from training.served import served_parts

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.bool_]


def learnt_quality(log: LogTable, fold: Ints, config: LearnConfig | None = None, progress: Progress = QUIET) -> Floats:
    """q̂ float64[n, A]: each fold predicted, through the graph, by a router that learnt from the others.

    Args:
        log: n decisions over A models.
        fold: Fold of each decision, int64[n]; sessions must not be split.
        config: Settings of the learner.
        progress: Says which fold is being fitted.

    Raises:
        TooFewRows: Where a fold leaves too few labels to learn from.
    """
    features, settings = log.features, config or LearnConfig()

    def learn(train: Rows) -> Predictor:
        progress.say(f"reward model: learning from {train.sum():,} of {len(train):,} decisions")
        parts = fit(log.table.take(train), settings, features=features.take(train)).parts
        served = served_parts(parts)
        order = np.array([served.models.index(name) for name in log.models], dtype=np.int64)
        descriptor = np.zeros((len(order), 1 + len(served.scorer.domains)), dtype=np.float32)

        def predict(rows: Rows) -> Floats:
            found = [
                served.scorer.predict(features[i], order, descriptor).quality for i in np.flatnonzero(rows).tolist()
            ]
            return np.array(found, dtype=np.float64).reshape(-1, len(order))

        return predict

    return crossfit(learn, fold, len(log.models))
