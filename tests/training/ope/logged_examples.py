"""Logged decisions drawn from a bandit, with features that the runtime could have made."""

from __future__ import annotations

import numpy as np

from router_runtime.features import STRUCTURAL, Features
from tests.training.ope.bandits import Bandit
from training.ope.decisions import LoggedDecisions

BANDIT = Bandit.make()
PRICES = np.array([1e-5, 1e-4, 5e-4, 2e-3])


def features(rows):
    """Two structural numbers carry the prompt; the hashed words carry nothing."""
    rng = np.random.default_rng(0)
    numbers = np.zeros((len(rows), len(STRUCTURAL)), dtype=np.float32)
    numbers[:, :2] = BANDIT.features[rows]
    return [Features(np.unique(rng.integers(0, 1000, 12)), row) for row in numbers]


def logged(logging, n, seed, *, label_rate=(1.0, 1.0, 1.0, 1.0)):
    """n decisions of ``logging`` [prompts, 4], and the prompts' rows."""
    log, rows = BANDIT.draw(logging, n, seed)
    rng = np.random.default_rng((seed, 7))
    labelled = rng.random(n) < np.array(label_rate)[log.action]
    cost = PRICES[log.action] * rng.lognormal(sigma=0.3, size=n)
    shape = (n, 4)
    decisions = LoggedDecisions(
        models=("tiny", "small", "medium", "large"),
        logging_dist=logging[rows],
        eligible=np.ones(shape, dtype=np.bool_),
        action=log.action,
        pscore=log.pscore,
        quality=np.where(labelled, log.reward, np.nan),
        cost=cost,
        predicted_quality=np.clip(BANDIT.means[rows] + rng.normal(scale=0.1, size=shape), 0, 1),
        predicted_cost=np.broadcast_to(PRICES, shape).copy(),
        features=features(rows),
        session=np.arange(n),
        segments={"domain": np.where(BANDIT.features[rows, 1] > 0, "law", "code")},
    )
    return decisions, rows


TRUE_COST = PRICES * np.exp(0.3**2 / 2)
