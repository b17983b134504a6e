"""Real tables as logs of one answer per decision: what a router learns from them, and what else one might do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from training.dataset import Table, load_table
from training.feature_matrix import FeatureMatrix, RepeatedFeatures, featurise
from training.learner import learner
from training.outcome_models import LearnConfig
from training.served import predict_table, served_parts
from training.simulate import Simulated, draw
from training.simulated_world import SimulationSettings, day_policy
from training.splits import grouped_folds

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LOGGING = SimulationSettings(policy="epsilon", epsilon=0.1)
TEST_SHARE = 4
"""One group of prompts in so many is held out: no decision of the log is about it."""
CLIP = 10.0
"""Bound of inverse propensities where they weigh labels, relative to the most probable choice."""
_NUMBERS = ("input_tokens", "output_tokens", "cost_usd", "latency_ms")


@dataclass(frozen=True, eq=False)
class LogWorld:
    """A week's log of one table, and prompts that it says nothing of.

    Args:
        train, test: Full information, one table for each part.
        features, test_features: Of their prompts.
        log: The decisions on the prompts of ``train``.
        seed: Of split, log and learner.
    """

    train: Table
    test: Table
    features: FeatureMatrix
    test_features: FeatureMatrix
    log: Simulated
    seed: int

    @classmethod
    def make(cls, folder: Path, decisions: int, seed: int) -> LogWorld:
        """A log of ``decisions`` on three quarters of the table's groups."""
        table = load_table(folder).core()
        fold = grouped_folds(table.prompts["group"].astype(str).to_numpy(), TEST_SHARE, seed)
        train, test = table.take(fold != 0), table.take(fold == 0)
        read = [featurise([str(text) for text in part.prompts["text"]]) for part in (train, test)]
        return cls(train, test, read[0], read[1], draw(train, LOGGING, decisions, seed), seed)

    @property
    def groups(self) -> npt.NDArray[np.str_]:
        """Group of each test prompt."""
        return self.test.prompts["group"].to_numpy().astype(np.str_)

    def utility(self) -> Floats:
        """What each model would truly earn on the test prompts, as the logging router counts it: [n, M]."""
        cost = self.test.matrix("cost_usd")
        return self.test.matrix("quality") - LOGGING.cost_weight * cost / cost.mean(axis=0).max()

    def rows(self, weights: Floats | None = None) -> tuple[Table, RepeatedFeatures]:
        """The log as the learner gets it, one prompt and one outcome for each decision."""
        log, pool = self.log, self.log.world.table
        ids = np.array([f"d{row}" for row in range(len(log.prompt))])
        prompts = pool.prompts.iloc[log.prompt].assign(prompt_id=ids).reset_index(drop=True)
        columns = {name: pool.matrix(name)[log.prompt, log.action] for name in _NUMBERS}
        outcomes = pd.DataFrame(
            {
                "prompt_id": ids,
                "model": np.array(pool.model_names)[log.action],
                "quality": log.reward,
                "weight": np.ones(len(ids)) if weights is None else weights,
                "pscore": log.pscore,
                **columns,
            }
        )
        return Table(prompts, outcomes, pool.models, self.train.name), RepeatedFeatures(self.features, log.prompt)


def learnt(world: LogWorld, config: LearnConfig, what: str) -> Ints:
    """The model that our learner chooses on each test prompt, learnt from ``full`` information, the ``log`` or …"""
    if what == "full":
        table, features = world.train, world.features
        parts = learner(replace(config, seed=world.seed))(table, features)
    else:
        inverse = np.minimum(1.0 / world.log.pscore, CLIP)
        weights = inverse / inverse.mean() if what == "weighted" else None
        parts = learner(replace(config, seed=world.seed))(*world.rows(weights))
    asked = (world.test_features[row] for row in range(len(world.test_features)))
    found = predict_table(served_parts(parts), world.test, asked)
    dearest = world.test.matrix("cost_usd").mean(axis=0).max()
    return np.asarray((found.quality - LOGGING.cost_weight * found.cost / dearest).argmax(axis=1))


def imitated(world: LogWorld) -> Ints:
    """The choice of a classifier of the logged choices: what learns the logging router and not the answers."""
    bags = [normalize(part.bag()) for part in (world.features, world.test_features)]
    first = np.random.default_rng(world.seed).choice(len(world.log.prompt), 10_000, replace=False)
    model = LogisticRegression(C=3.0, max_iter=60).fit(bags[0][world.log.prompt[first]], world.log.action[first])
    return np.asarray(model.predict(bags[1]), dtype=np.int64)


def logged_means(world: LogWorld) -> Ints:
    """The model with the best mean of what was logged on the prompt's task (told), whoever was asked and why."""
    log, models = world.log, len(world.train.models)
    cost = world.log.world.cost
    earned = log.reward - LOGGING.cost_weight * cost[log.prompt, log.action] / cost.mean(axis=0).max()
    tasks, code = np.unique(world.train.prompts["task"].astype(str), return_inverse=True)
    cell = code[log.prompt] * models + log.action
    count = np.bincount(cell, minlength=len(tasks) * models).reshape(-1, models)
    total = np.bincount(cell, weights=earned, minlength=len(tasks) * models).reshape(-1, models)
    overall = total.sum(axis=0) / np.maximum(count.sum(axis=0), 1)
    best = np.where(count > 0, total / np.maximum(count, 1), -np.inf).argmax(axis=1)
    known = {name: int(model) for name, model in zip(tasks, best, strict=True)}
    return np.array([known.get(str(task), int(overall.argmax())) for task in world.test.prompts["task"]])


def logging_earned(world: LogWorld) -> Floats:
    """What the logging router, exploration included, would earn on the test prompts: [n]."""
    own = draw(world.test, LOGGING, 1, world.seed).world
    return np.asarray((day_policy(own, LOGGING, 0) * np.nan_to_num(world.utility())).sum(axis=1))
