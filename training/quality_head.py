"""The trees above the text scores: one booster for all models, on rows of (prompt, candidate)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from training.centred_loss import CENTRING, centred_cross_entropy
from training.graph_parts import Floats

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TreeConfig:
    """Settings of the booster; every 50 trees of 15 leaves cost about 20 µs for 20 candidates.

    The rows of one prompt share its difficulty, so a leaf needs many prompts or it remembers them (what was
    tried stands in training/README.md).

    Args:
        rounds: Number of trees at most; 0 leaves the linear stack alone. The fit chooses how many, see ``offered``.
        leaves: Leaves of a tree.
        learning_rate: Shrinkage of each tree.
        min_prompts: Least number of prompts in a leaf; that many rows per model.
        centring: Share of what a prompt's models have in common that is taken out of the gradient.
        threads: Threads, on which the result does not depend; 0 = as ``OMP_NUM_THREADS`` says, else all cores.
    """

    rounds: int = 50
    leaves: int = 15
    learning_rate: float = 0.06
    min_prompts: int = 50
    centring: float = CENTRING
    threads: int = 0

    @property
    def offered(self) -> tuple[int, ...]:
        """Numbers of trees to choose from on held-out prompts: all, half, a quarter."""
        return tuple(sorted({self.rounds, max(self.rounds // 2, 1), max(self.rounds // 4, 1)} if self.rounds else {0}))

    def params(self, n_rows: int, n_models: int, seed: int) -> dict[str, Any]:
        """LightGBM's parameters but the objective: the same trees from the same seed."""
        return {
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": max(5, min(self.min_prompts * n_models, n_rows // 20)),
            "lambda_l2": 10.0,
            "feature_fraction": 0.5,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "max_bin": 63,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": self.threads,
            "seed": seed,
            "verbosity": -1,
        }


@dataclass(frozen=True)
class CandidateRows:
    """Labelled pairs of a prompt and a candidate.

    Args:
        rows: float32 [P, F], what the trees read.
        own: float32 [P], the linear stack's logit, to which the trees add.
        label: float32 [P], quality 0..1.
        weight: float32 [P].
        n_models: How many models there are.
        prompts: intp [P], which prompt each row is of.
    """

    rows: Floats
    own: Floats
    label: Floats
    weight: Floats
    n_models: int
    prompts: npt.NDArray[np.intp]


def fit_trees(data: CandidateRows, config: TreeConfig, seed: int) -> lgb.Booster | None:
    """Trees that correct the linear stack; None where there is nothing to learn (no rounds, one kind of label)."""
    if config.rounds == 0 or len(data.label) == 0 or float(np.ptp(data.label)) == 0.0:
        return None
    dataset = lgb.Dataset(
        np.ascontiguousarray(data.rows), data.label, weight=data.weight, init_score=data.own.astype(np.float64)
    )
    params = config.params(len(data.label), data.n_models, seed)
    return lgb.train(
        params | {"objective": centred_cross_entropy(data.prompts, config.centring)}, dataset, config.rounds
    )


def tree_logits(booster: lgb.Booster | None, rows: Floats, threads: int, rounds: int | None = None) -> Doubles:
    """What the first ``rounds`` trees, or all of them, add to the logit [P]."""
    if booster is None:
        return np.zeros(len(rows))
    raw = booster.predict(rows, raw_score=True, num_threads=threads, num_iteration=rounds)
    return np.asarray(raw, dtype=np.float64)
