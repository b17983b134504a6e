"""A full-information table → decisions of a logging policy, whose true value is known.

Everything is drawn on whole arrays. :func:`draw` gives the decisions as arrays, for studies of estimators;
:mod:`training.simulated_log` writes them as the events that a real router would have logged.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from router_runtime.errors import ConfigError
from training.dataset import Table
from training.simulated_world import Bools, Floats, Ints, SimulationSettings, World, day_policy, day_utility, make_world

NOBODY = -1
"""Index of the served model where every one was down."""
_SLICE = 200_000


@dataclass(frozen=True, eq=False)
class Simulated:
    """n decisions in order of time.

    Args:
        world: Where they were made.
        settings: How.
        prompt: Index of the prompt, int64[n].
        day: Day of the log, int64[n].
        time: UTC seconds since the epoch, float64[n].
        session: int64[n].
        action: Index of the chosen model, int64[n].
        served: Index of the model that answered, :data:`NOBODY` where none did, int64[n].
        pscore: Exact probability of the choice, float64[n].
        held: Decisions of the baseline arm, where one model is fixed, bool[n].
    """

    world: World
    settings: SimulationSettings
    prompt: Ints
    day: Ints
    time: Floats
    session: Ints
    action: Ints
    served: Ints
    pscore: Floats
    held: Bools

    @property
    def reward(self) -> Floats:
        """True quality of the answer that was served, NaN where none was, float64[n]."""
        found = self.world.quality[self.prompt, self.served]
        return np.where(self.served == NOBODY, np.nan, found)

    def truth(self) -> dict[str, Any]:
        """What is known about this log: the value of its policy, of every single model and of the oracle; JSON-ready.

        A baseline arm is no part of its policy.

        Values hold for prompts drawn uniformly from the pool and for the chosen model, as if no model were ever down.
        """
        world, days = self.world, self.settings.days
        by_day = [world.value(day_policy(world, self.settings, day)) for day in range(days)]
        share = np.bincount(self.day, minlength=days) / max(len(self.day), 1)
        logging = {name: float(sum(s * v[name] for s, v in zip(share, by_day, strict=True))) for name in by_day[0]}
        best = np.where(world.eligible, world.quality, -np.inf).argmax(axis=1)
        models = world.table.model_names
        return {
            "table": world.table.name,
            "decisions": len(self.prompt),
            "prompts": len(world.quality),
            "policy_value": logging,
            "uniform": world.value(world.eligible / world.eligible.sum(axis=1, keepdims=True)),
            "oracle": world.value(np.eye(len(models))[best]),
            "single_models": {
                name: world.value(np.eye(len(models))[np.full(len(best), a)])
                for a, name in enumerate(models)
                if world.eligible[:, a].all()
            },
        }


def draw(table: Table, settings: SimulationSettings, n: int, seed: int) -> Simulated:
    """Decisions on n prompts drawn uniformly with replacement; the same arguments give the same decisions.

    Raises:
        ConfigError: Where ``n`` is below 1, or the holdout's model is not known on every prompt.
        DataError: Where the table has nothing to decide on.
    """
    if n < 1:
        raise ConfigError(f"n is {n}, it must be at least 1")
    world = make_world(table, settings, seed)
    rng = np.random.default_rng([seed, 0])
    prompt = rng.integers(len(world.quality), size=n)
    time = settings.start + np.sort(rng.random(n)) * settings.days * 86_400
    day = np.minimum((time - settings.start) // 86_400, settings.days - 1).astype(np.int64)
    session = rng.integers(max(round(n / settings.session_length), 1), size=n)
    action, pscore = _choose(world, settings, prompt, day, rng.random(n))
    held = _held(settings, session, seed)
    if settings.holdout_model:
        action, pscore = np.where(held, _holdout_model(world, settings), action), np.where(held, 1.0, pscore)
    served = _serve(world, settings, prompt, time, action, seed)
    return Simulated(world, settings, prompt, day, time, session, action, served, pscore, held)


def _held(settings: SimulationSettings, session: Ints, seed: int) -> Bools:
    """Which decisions belong to a session of the baseline arm, bool[n]."""
    if not settings.holdout_model:
        return np.zeros(len(session), dtype=np.bool_)
    rng = np.random.default_rng([seed, 4])
    return np.asarray((rng.random(int(session.max()) + 1) < settings.holdout_share)[session])


def _holdout_model(world: World, settings: SimulationSettings) -> int:
    names = world.table.model_names
    name = settings.holdout_model
    if name not in names or not world.eligible[:, names.index(name)].all():
        raise ConfigError(f"holdout_model is {name!r}, it must be a model that the table knows on every prompt")
    return names.index(name)


def _choose(
    world: World, settings: SimulationSettings, prompt: Ints, day: Ints, uniform: Floats
) -> tuple[Ints, Floats]:
    """Draws by inversion, slice by slice: the chosen model int64[n] and its exact probability float64[n]."""
    action, pscore = np.empty(len(prompt), dtype=np.int64), np.empty(len(prompt))
    stops = np.unique(np.concatenate((np.searchsorted(day, np.arange(settings.days + 1)), [len(prompt)])))
    for start, stop in pairwise(stops.tolist()):
        dist = day_policy(world, settings, int(day[start]))
        cumulative = dist.cumsum(axis=1)
        for low in range(start, stop, _SLICE):
            rows = slice(low, min(low + _SLICE, stop))
            bound = cumulative[prompt[rows]]
            drawn = (uniform[rows, None] * bound[:, -1:] >= bound).sum(axis=1)
            action[rows] = drawn
            pscore[rows] = dist[prompt[rows], drawn]
    return action, pscore


def _serve(world: World, settings: SimulationSettings, prompt: Ints, time: Floats, action: Ints, seed: int) -> Ints:
    """The model that answered: the chosen one, or the best one that was up in that hour."""
    if settings.outage_share == 0:
        return action
    rng = np.random.default_rng([seed, 2])
    down = rng.random((settings.days * 24 + 1, world.eligible.shape[1])) < settings.outage_share
    hour = ((time - settings.start) // 3600).astype(np.int64)
    served = action.copy()
    rows = np.flatnonzero(down[hour, action])
    up = np.where(down[hour[rows]], -np.inf, day_utility(world, settings, 0)[prompt[rows]])
    served[rows] = np.where(np.isfinite(up).any(axis=1), up.argmax(axis=1), NOBODY)
    return served
