"""Real tables as worlds with a known truth: prompts to draw, routers that log, a router to evaluate, challengers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.dataset import Table, load_table
from training.feature_matrix import FeatureMatrix, featurise
from training.learner import learner
from training.ope.estimators import BanditLog
from training.ope.prompt_features import prompt_features
from training.ope.reward_model import assign_folds
from training.outcome_models import LearnConfig
from training.served import predict_table, served_parts

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.bool_]
YESTERDAY = 0.4
"""Share of the groups that earlier routers were trained on; the rest is the population that logs are drawn from."""


@dataclass(frozen=True, eq=False)
class World:
    """A population of N prompts and A models, all outcomes known.

    Args:
        name: The table's.
        features: float64[N, d].
        quality: float64[N, A].
        cost: USD, float64[N, A].
        domain: [N].
        logging: Predicted quality − price of the router that logs, which is our own, float64[N, A].
        evaluated: The same of the router to evaluate, another one, float64[N, A].
        predicted: What the logging router predicts for quality, float64[N, A].
    """

    name: str
    features: Floats
    quality: Floats
    cost: Floats
    domain: npt.NDArray[np.str_]
    logging: Floats
    evaluated: Floats
    predicted: Floats

    def policy(self, name: str) -> Floats:
        """π_b over the population: ``uniform | epsilon | epsilon20 | softmax | deterministic``, float64[N, A]."""
        greedy, actions = one_hot(self.logging), self.quality.shape[1]
        if name == "uniform":
            return np.full(greedy.shape, 1 / actions)
        if name == "softmax":
            raised = np.exp((self.logging - self.logging.max(axis=1, keepdims=True)) / 0.05)
            return 0.95 * raised / raised.sum(axis=1, keepdims=True) + 0.05 / actions
        epsilon = {"deterministic": 0.0, "epsilon": 0.1, "epsilon20": 0.2}[name]
        return (1 - epsilon) * greedy + epsilon / actions

    def draw(self, logging: Floats, n: int, seed: int) -> tuple[BanditLog, Ints, Ints]:
        """n decisions with quality as reward, their prompts int64[n], and folds by prompt int64[n]."""
        rng = np.random.default_rng((seed, n))
        rows = rng.integers(0, len(self.quality), n)
        share = logging[rows]
        action = np.minimum((share.cumsum(axis=1) <= rng.random(n)[:, None]).sum(axis=1), share.shape[1] - 1)
        log = BanditLog(action, self.quality[rows, action], share[np.arange(n), action])
        return log, rows, assign_folds(rows, 5, seed)


def one_hot(score: Floats) -> Floats:
    """The greedy policy of a score, float64[n, A]."""
    return np.eye(score.shape[1])[score.argmax(axis=1)]


def make_world(folder: Path, seed: int = 0) -> World:
    """The core pool of a table: routers learnt on a part of it, the population from the other groups."""
    table = load_table(folder).core()
    quality, cost = table.matrix("quality"), table.matrix("cost_usd")
    read = featurise([str(text) for text in table.prompts["text"]])
    features = prompt_features(read)
    rng = np.random.default_rng(seed)
    groups, code = np.unique(table.prompts["group"].astype(str), return_inverse=True)
    past = (rng.random(len(groups)) < YESTERDAY)[code]
    old, new = _learnt(table, read, past), _ridge(features, quality, past)
    price = np.log(cost.mean(axis=0))
    price = (price - price.min()) / (price.max() - price.min())
    now = ~past
    domain = table.prompts["domain"].astype(str).to_numpy()
    logging, evaluated = old - 0.1 * price, new - 0.05 * price
    return World(
        table.name, features[now], quality[now], cost[now], domain[now], logging[now], evaluated[now], old[now]
    )


def _learnt(table: Table, features: FeatureMatrix, rows: Rows) -> Floats:
    """What a router that learnt from ``rows`` predicts for all prompts."""
    parts = learner(LearnConfig())(table.take(rows), features.take(rows))
    return predict_table(served_parts(parts), table, (features[row] for row in range(len(features)))).quality


def _ridge(features: Floats, quality: Floats, rows: Rows) -> Floats:
    design = np.column_stack([np.ones(len(features)), features])
    gram = design[rows].T @ design[rows] + 100 * np.diag(np.r_[0.0, np.ones(features.shape[1])])
    return np.asarray(design @ np.linalg.solve(gram, design[rows].T @ quality[rows]))


def challenger(world: World, change: float, seed: int, disagreement: float = 0.15) -> tuple[Floats, Floats]:
    """A champion and a challenger whose true qualities differ by about ``change``, each one-hot float64[N, A].

    The challenger takes a cheaper model on some prompts, where it is sometimes better and sometimes worse; which
    prompts is drawn so that the mean difference is as asked.
    """
    rng = np.random.default_rng(seed)
    champion, actions = world.logging.argmax(axis=1), world.quality.shape[1]
    rows, mean_cost = np.arange(len(champion)), world.cost.mean(axis=0)
    cheaper = mean_cost[None, :] < mean_cost[champion][:, None]
    other = np.where(cheaper, world.logging, -np.inf).argmax(axis=1)
    gain = np.where(cheaper.any(axis=1), world.quality[rows, other] - world.quality[rows, champion], 0.0)
    up, down = np.maximum(gain, 0).mean(), np.maximum(-gain, 0).mean()
    level = disagreement * np.ones(len(gain))
    middle = (up - down) * disagreement
    level[gain > 0] += (change - middle) / 2 / up
    level[gain < 0] -= (change - middle) / 2 / down
    swap = (rng.random(len(gain)) < np.clip(level, 0, 1)) & cheaper.any(axis=1)
    return np.eye(actions)[champion], np.eye(actions)[np.where(swap, other, champion)]
