"""Several routers on the same held-out prompts: their metrics, intervals, and paired differences to one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.bootstrap import Estimate, draw_weights, interval
from training.metrics import Reference, frontier_metrics, pair_metrics, regret
from training.sweep import REGRET_TRADE_OFF, Field, Floats, Points, Predicted, Truth, choose, sweep_choices

REPLICATES = 1000
CHUNK = 50

Values = dict[str, Floats]
"""By metric: [1 + B], the sample's own value first, then the replicates'."""


@dataclass(frozen=True)
class Runner:
    """One router as it runs the race.

    Args:
        points: Its settings.
        preference: [n] its preference for the strongest model over the cheapest one; None where it has none.
        regret: [n] its regret at :data:`REGRET_TRADE_OFF`; None where it has no setting for it.
    """

    points: Points
    preference: Floats | None = None
    regret: Floats | None = None


def runner(field: Field, predicted: Predicted) -> Runner:
    """The runner of a router's predictions on the prompts of ``field``."""
    truth = field.truth
    price = trade_off_price(truth)
    return Runner(
        points=field.points(sweep_choices(predicted)),
        preference=predicted.quality[:, truth.best] - predicted.quality[:, truth.cheapest],
        regret=None if price is None else regret(truth.quality, truth.cost, choose(predicted, price), price),
    )


def trade_off_price(truth: Truth) -> float | None:
    """λ of the stated trade-off: :data:`REGRET_TRADE_OFF` of quality for one call of the best single model.

    None where that model is free: no price can be stated in its calls.
    """
    paid = float(truth.cost[:, truth.best].mean())
    return REGRET_TRADE_OFF / paid if paid > 0 else None


def plain_runners(field: Field) -> dict[str, Runner]:
    """What needs no training: Zero router, random mix, oracle."""
    truth = field.truth
    pair = [truth.cheapest, truth.best]
    mixed = Points(field.singles.quality[:, pair], field.singles.cost[:, pair])
    return {
        "zero": Runner(field.singles, preference=np.zeros(len(truth.quality))),
        "random_mix": Runner(mixed, preference=np.zeros(len(truth.quality))),
        "oracle": runner(field, Predicted(truth.quality, truth.cost)),
    }


def single_runners(field: Field) -> dict[str, Runner]:
    """Every single model, called for every prompt."""
    names = field.truth.models
    return {
        f"single:{name}": Runner(Points(field.singles.quality[:, [m]], field.singles.cost[:, [m]]))
        for m, name in enumerate(names)
    }


class Race:
    """Runs routers over one set of bootstrap draws, so that any two can be compared pair by pair.

    Args:
        field: The prompts.
        replicates: Number of bootstrap replicates.
        seed: Seed of the draws.
    """

    def __init__(self, field: Field, *, replicates: int = REPLICATES, seed: int = 0) -> None:
        self.field = field
        self._weights = np.vstack((field.ones(), draw_weights(field.n_groups, replicates, seed)))
        self._references = field.references(self._weights)

    def run(self, one: Runner) -> Values:
        """All metrics of one router, for the sample and for every replicate."""
        values = self._frontier(one.points, self._references)
        if one.preference is not None:
            values |= self._pair(one.preference)
        if one.regret is not None:
            values["regret"] = self._mean(one.regret)
        return values

    def _frontier(self, points: Points, references: list[Reference]) -> Values:
        cost, quality = points.means(self._weights, self.field.sizes)
        rows = [frontier_metrics(c, q, ref) for c, q, ref in zip(cost, quality, references, strict=True)]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def _pair(self, preference: Floats) -> Values:
        truth = self.field.truth
        if truth.best == truth.cheapest:
            return {}
        gain = truth.quality[:, truth.best] - truth.quality[:, truth.cheapest]
        parts = [
            pair_metrics(gain, preference, self._weights[start : start + CHUNK][:, self.field.codes])
            for start in range(0, len(self._weights), CHUNK)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _mean(self, values: Floats) -> Floats:
        sums = np.bincount(self.field.codes, weights=values, minlength=self.field.n_groups)
        mean: Floats = (self._weights @ sums) / (self._weights @ self.field.sizes)
        return mean


def estimates(values: Values) -> dict[str, Estimate]:
    """Value and interval of each metric."""
    return {name: interval(float(column[0]), column[1:]) for name, column in values.items()}


def differences(ours: Values, theirs: Values) -> dict[str, Estimate]:
    """Paired differences ours − theirs of each metric that both have."""
    return estimates({name: ours[name] - theirs[name] for name in ours if name in theirs})


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` → ``{"a": {"b": 1}}``."""
    out: dict[str, Any] = {}
    for name, value in flat.items():
        head, _, tail = name.partition(".")
        if tail:
            out.setdefault(head, {})[tail] = value
        else:
            out[head] = value
    return out


def as_json(found: Mapping[str, Estimate]) -> dict[str, Any]:
    """Metrics as plain numbers, their intervals under ``intervals``; null = not reached or not defined."""
    values = nest({name: _number(e.value) for name, e in found.items()})
    limits = {name: [_number(e.low), _number(e.high)] for name, e in found.items()}
    return {**values, "intervals": nest(limits)}


def _number(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
