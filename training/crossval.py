"""Held-out predictions: fit on the other folds, export, and predict the fold as the runtime would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.baselines import BASELINES, Fit, Prompts
from training.dataset import Table
from training.feature_matrix import AnyFeatures
from training.graph_parts import GraphParts
from training.held_out import HeldOut
from training.progress import QUIET, Progress
from training.served import predict_table, served_parts
from training.sweep import Predicted, Truth

Learn = Callable[[Table, AnyFeatures], GraphParts]
"""Fits a router on a table and the features of its prompts; :func:`training.outcome_models.fit` behind its settings."""


@dataclass(frozen=True)
class Folds:
    """A split of n prompts.

    Args:
        index: int [n], each prompt's fold.
        test: The folds that are held out in turn; all of them, or one where one holdout is enough.
    """

    index: npt.NDArray[np.intp]
    test: tuple[int, ...]

    @property
    def rows(self) -> npt.NDArray[np.bool_]:
        """The prompts that are held out at some time."""
        return np.isin(self.index, self.test)


def out_of_fold(
    table: Table,
    held: HeldOut,
    features: AnyFeatures,
    folds: Folds,
    learn: Learn,
    progress: Progress = QUIET,
) -> Predicted:
    """Predictions [n, M] for the held-out prompts, each by a router that saw none of its group; NaN for others.

    The router learns from the whole table's other folds, models beyond the pool and incomplete prompts included.

    Args:
        table: What is learnt from.
        held: The complete part of it that is measured; ``folds`` is of its prompts.
        features: Of the prompts of ``table``, in order.
        folds: The split of the held prompts.
        learn: Fits a router.
        progress: Says which fold is being fitted.
    """
    quality, cost = np.full((2, *held.truth.quality.shape), np.nan)
    place = pd.Index(table.prompts["prompt_id"]).get_indexer(held.table.prompts["prompt_id"])
    for fold in folds.test:
        rows = folds.index == fold
        progress.say(f"fold {fold + 1}: learning without {rows.sum()} held-out prompts")
        unseen = _unseen(table, held, rows)
        parts = learn(table.take(unseen), features.take(unseen))
        asked = (features[i] for i in place[rows].tolist())
        found = predict_table(served_parts(parts), held.table.take(rows), asked)
        quality[rows], cost[rows] = found.quality, found.cost
    return Predicted(quality, cost)


def _unseen(table: Table, held: HeldOut, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The prompts of ``table`` that share no group with the held-out ones."""
    groups = set(held.truth.groups[rows].tolist())
    return ~table.prompts["group"].fillna("unknown").astype(str).isin(groups).to_numpy()


def baselines_out_of_fold(
    held: HeldOut,
    folds: Folds,
    *,
    names: Sequence[str] = tuple(BASELINES),
    seed: int = 0,
    progress: Progress = QUIET,
) -> dict[str, Predicted]:
    """The same for the baselines, on the same folds."""
    return {name: _baseline(BASELINES[name], name, held, folds, seed, progress) for name in names}


def _baseline(fit: Fit, name: str, held: HeldOut, folds: Folds, seed: int, progress: Progress) -> Predicted:
    truth, texts = held.truth, held.texts
    quality, cost = np.full((2, *truth.quality.shape), np.nan)
    for fold in folds.test:
        rows = folds.index == fold
        progress.say(f"fold {fold + 1}: baseline {name}")
        fitted = fit([texts[i] for i in np.flatnonzero(~rows)], truth.take(~rows), seed=seed)
        found = fitted.predict(Prompts([texts[i] for i in np.flatnonzero(rows)], truth.tasks[rows]))
        quality[rows], cost[rows] = found.quality, found.cost
    return Predicted(quality, cost)


def restrict(held: HeldOut, rows: npt.NDArray[np.bool_]) -> HeldOut:
    """The held-out prompts of ``rows`` alone."""
    truth: Truth = held.truth.take(rows)
    return HeldOut(held.table.take(rows), truth, {**held.counts, "prompts_used": int(rows.sum())}, held.source)


def restrict_all(predicted: Mapping[str, Predicted], rows: npt.NDArray[np.bool_]) -> dict[str, Predicted]:
    """The predictions for ``rows`` alone."""
    return {name: one.take(rows) for name, one in predicted.items()}
