"""What a simulated log is drawn from: its settings, the truth of a table, and the policies that may have written it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from router_runtime.errors import ConfigError, DataError
from router_runtime.keeping import LogPrompts
from training.dataset import Table

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
PolicyName = Literal["uniform", "epsilon", "softmax", "deterministic", "drifting"]

POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
_SHRINKAGE = 20.0


@dataclass(frozen=True)
class SimulationSettings:
    """How the log comes about.

    Args:
        policy: ``uniform``; ``epsilon``: the best utility but for a share ``epsilon``; ``softmax`` of utility;
            ``deterministic``: the best utility always; ``drifting``: softmax whose aversion to cost grows from 0 to
            twice ``cost_weight`` from the first day to the last.
        epsilon: Share of uniform choices, 0..1.
        temperature: Of softmax, in units of quality.
        cost_weight: What the mean cost of the dearest model weighs against one unit of quality.
        prediction_noise: Standard deviation of the logging router's error in quality, beside knowing only the mean of
            each model on each task.
        days: Length of the log; the policy of ``drifting`` changes at midnight.
        start: Begin of the first day, UTC seconds since the epoch.
        session_length: Mean number of decisions in a session.
        test_rate, judge_rate, thumbs_rate: Share of answers with feedback of each source, 0..1.
        judge_bias: Added to a judge's score, which then is cut to 0..1.
        judge_noise: Standard deviation of a judge's error.
        thumbs_noise: Share of thumbs that point the wrong way, 0..1.
        silence_when_good: Share of satisfied users who give no thumb, 0..1: feedback that is not missing at random.
        delay_hours: Mean delay of feedback (exponential).
        outage_share: Share of hours in which a model is down, 0..1; the next best model then serves.
        log_prompts: ``full``, ``redacted``, ``features`` or ``none``.
        holdout_model: The one model of a randomised baseline arm, known on every prompt; empty = no experiment.
        holdout_share: Share of the sessions in that arm, 0..1.
        weak_spot: ``model@task``: a pair whose answers are worse than the logging router believes; empty = none.
        weak_by: Share of its quality that it loses, 0..1.
    """

    policy: PolicyName = "epsilon"
    epsilon: float = 0.1
    temperature: float = 0.1
    cost_weight: float = 0.2
    prediction_noise: float = 0.1
    days: int = 7
    start: float = 1_775_001_600.0
    session_length: float = 3.0
    test_rate: float = 1.0
    judge_rate: float = 0.0
    thumbs_rate: float = 0.0
    judge_bias: float = 0.1
    judge_noise: float = 0.05
    thumbs_noise: float = 0.1
    silence_when_good: float = 0.0
    delay_hours: float = 0.0
    outage_share: float = 0.0
    log_prompts: LogPrompts = "full"
    holdout_model: str = ""
    holdout_share: float = 0.1
    weak_spot: str = ""
    weak_by: float = 0.5

    def __post_init__(self) -> None:
        """Checks names and ranges.

        Raises:
            ConfigError: Naming the setting.
        """
        if self.policy not in POLICIES:
            raise ConfigError(f"policy is {self.policy!r}, it must be one of {', '.join(POLICIES)}")
        shares = ("epsilon", "test_rate", "judge_rate", "thumbs_rate", "thumbs_noise", "silence_when_good")
        for name in (*shares, "outage_share", "holdout_share", "weak_by"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be in 0..1")
        for name in ("temperature", "days", "session_length"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be above 0")
        for name in ("prediction_noise", "judge_noise", "delay_hours", "cost_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 0")


@dataclass(frozen=True, eq=False)
class World:
    """The truth of a table, and what the logging router believes of it, for P prompts and A models.

    Args:
        table: The pool that decisions are made on.
        quality, cost: True outcomes, float64[P, A], NaN where the table has none.
        eligible: Pairs with both, bool[P, A]; every prompt has one at least.
        predicted_quality, predicted_cost: What the logging router believes, float64[P, A].
    """

    table: Table
    quality: Floats
    cost: Floats
    eligible: Bools
    predicted_quality: Floats
    predicted_cost: Floats

    def value(self, action_dist: Floats) -> dict[str, float]:
        """The true value of a policy on prompts drawn uniformly: mean quality 0..1 and mean cost in USD.

        Args:
            action_dist: π(a|x), float64[P, A]; 0 where not eligible.
        """
        quality, cost = (np.where(self.eligible, part, 0.0) for part in (self.quality, self.cost))
        return {
            "quality": float((action_dist * quality).sum(axis=1).mean()),
            "cost_usd": float((action_dist * cost).sum(axis=1).mean()),
        }


def make_world(table: Table, settings: SimulationSettings, seed: int) -> World:
    """The table's core pool (all of it where no model is marked) and the logging router's beliefs.

    Raises:
        ConfigError: Where ``weak_spot`` names no model and task of the pool.
        DataError: Where no prompt has a quality and a cost for any model.
    """
    pool = table.core() if table.models["core_pool"].astype(bool).any() else table
    quality, cost = pool.matrix("quality"), pool.matrix("cost_usd")
    eligible = np.isfinite(quality) & np.isfinite(cost)
    some = np.asarray(eligible.any(axis=1), dtype=np.bool_)
    if not some.any():
        raise DataError(f"{table.name}: no prompt has both a quality and a cost for a model of its pool")
    pool, quality, cost, eligible = pool.take(some), quality[some], cost[some], eligible[some]
    task = pd.factorize(pool.prompts["task"], use_na_sentinel=False)[0]
    noise = np.random.default_rng([seed, 1]).normal(0.0, settings.prediction_noise, quality.shape)
    believed = np.clip(_task_means(quality, eligible, task) + noise, 0.0, 1.0)
    if settings.weak_spot:
        quality = _weakened(pool, quality, settings)
    return World(pool, quality, cost, eligible, believed, _task_means(cost, eligible, task))


def _weakened(pool: Table, quality: Floats, settings: SimulationSettings) -> Floats:
    """The true quality with one model worse on one task than its past (which the router learnt from) has shown."""
    model, _, label = settings.weak_spot.partition("@")
    rows = (pool.prompts["task"] == label).to_numpy()
    if model not in pool.model_names or not rows.any():
        raise ConfigError(f"weak_spot is {settings.weak_spot!r}, it must be a model and a task of the pool: model@task")
    worse = quality.copy()
    worse[rows, pool.model_names.index(model)] *= 1 - settings.weak_by
    return worse


def day_policy(world: World, settings: SimulationSettings, day: int) -> Floats:
    """The logging policy of a day as π_b(a|x), float64[P, A]."""
    return _DISTRIBUTIONS[settings.policy](day_utility(world, settings, day), settings)


def day_utility(world: World, settings: SimulationSettings, day: int) -> Floats:
    """Predicted quality less weighted predicted cost, −inf where not eligible, float64[P, A]."""
    weight = settings.cost_weight
    if settings.policy == "drifting":
        weight *= 2 * day / max(settings.days - 1, 1)
    dearest = float(world.predicted_cost.mean(axis=0).max()) or 1.0
    return np.where(world.eligible, world.predicted_quality - weight * world.predicted_cost / dearest, -np.inf)


def _uniform(utility: Floats, _settings: SimulationSettings) -> Floats:
    eligible = np.isfinite(utility)
    return np.asarray(eligible / eligible.sum(axis=1, keepdims=True))


def _deterministic(utility: Floats, _settings: SimulationSettings) -> Floats:
    return np.asarray(np.eye(utility.shape[1])[utility.argmax(axis=1)])


def _epsilon(utility: Floats, settings: SimulationSettings) -> Floats:
    best, spread = _deterministic(utility, settings), _uniform(utility, settings)
    return (1 - settings.epsilon) * best + settings.epsilon * spread


def _softmax(utility: Floats, settings: SimulationSettings) -> Floats:
    raised = np.exp((utility - utility.max(axis=1, keepdims=True)) / settings.temperature)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


_DISTRIBUTIONS: Mapping[PolicyName, Callable[[Floats, SimulationSettings], Floats]] = {
    "uniform": _uniform,
    "epsilon": _epsilon,
    "softmax": _softmax,
    "deterministic": _deterministic,
    "drifting": _softmax,
}


def _task_means(values: Floats, eligible: Bools, task: Ints) -> Floats:
    """Mean of each model on each task, shrunk to the model's mean, for each prompt."""
    held = np.where(eligible, values, 0.0)
    overall = held.sum(axis=0) / np.maximum(eligible.sum(axis=0), 1)
    tasks = int(task.max()) + 1
    total, count = np.zeros((tasks, values.shape[1])), np.zeros((tasks, values.shape[1]))
    np.add.at(total, task, held)
    np.add.at(count, task, eligible)
    return np.asarray(((total + _SHRINKAGE * overall) / (count + _SHRINKAGE))[task])
