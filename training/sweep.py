"""A router's predictions → its choices as the trade-off sweeps → its points, with the sums that a bootstrap needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from router_runtime.policy import action_dist, scores
from router_runtime.policy_settings import PolicySettings
from training.bootstrap import group_codes, group_sums
from training.metrics import Reference

Floats = npt.NDArray[np.float64]
Choices = npt.NDArray[np.intp]

# Quality given up per multiple of the dearest model's mean cost; models differ in price by up to 1,000.
TRADE_OFFS = np.concatenate(([0.0], np.logspace(-4, 5, 181)))
REGRET_TRADE_OFF = 0.1


@dataclass(frozen=True)
class Truth:
    """Complete outcomes of M models on n prompts.

    Args:
        quality: [n, M], 0..1, no NaN.
        cost: [n, M], USD, ≥ 0, no NaN.
        groups: [n] group of each prompt; the unit of the bootstrap.
        tasks: [n] task label of each prompt.
        models: M names.
    """

    quality: Floats
    cost: Floats
    groups: npt.NDArray[np.str_]
    tasks: npt.NDArray[np.str_]
    models: tuple[str, ...]

    @property
    def best(self) -> int:
        """Index of the best single model: highest mean quality, the cheaper one of a tie."""
        return int(np.lexsort((self.cost.mean(axis=0), -self.quality.mean(axis=0)))[0])

    @property
    def cheapest(self) -> int:
        """Index of the cheapest single model by mean cost, the better one of a tie."""
        return int(np.lexsort((-self.quality.mean(axis=0), self.cost.mean(axis=0)))[0])

    @property
    def dearest(self) -> int:
        """Index of the dearest single model by mean cost."""
        return int(self.cost.mean(axis=0).argmax())

    def take(self, rows: npt.NDArray[np.bool_] | Choices) -> Truth:
        """The same models on some of the prompts."""
        return Truth(self.quality[rows], self.cost[rows], self.groups[rows], self.tasks[rows], self.models)


@dataclass(frozen=True)
class Predicted:
    """What a router believes before the call.

    Args:
        quality: [n, M] predicted P(good answer).
        cost: [n, M] predicted cost, USD.
    """

    quality: Floats
    cost: Floats

    def take(self, rows: npt.NDArray[np.bool_] | Choices) -> Predicted:
        """The same models on some of the prompts."""
        return Predicted(self.quality[rows], self.cost[rows])


def choose(predicted: Predicted, price_of_quality: float) -> Choices:
    """The model [n] that the serving policy takes, by the very function that serves.

    Args:
        predicted: q̂ and ĉ.
        price_of_quality: λ of q̂ − λ·ĉ, quality given up for one USD; infinity takes the cheapest.
    """
    settings = settings_at(price_of_quality)
    chosen = action_dist(scores(predicted.quality, predicted.cost, None, None, None, settings), None, settings)
    best: Choices = chosen.argmax(axis=1)
    return best


def settings_at(price_of_quality: float) -> PolicySettings:
    """The balanced policy of Lagrangian price λ: t = ½ and an answer worth 1/λ USD; t = 1 at λ = 0, t = 0 at ∞."""
    if price_of_quality == 0.0:
        return PolicySettings(strategy="balanced", trade_off=1.0)
    if np.isinf(price_of_quality):
        return PolicySettings(strategy="balanced", trade_off=0.0)
    return PolicySettings(strategy="balanced", trade_off=0.5, answer_value_usd=1.0 / price_of_quality)


def trade_offs(predicted: Predicted) -> Floats:
    """The λ's of a sweep [K], in quality per USD: :data:`TRADE_OFFS` per mean ĉ of the dearest model, and infinity."""
    scale = max(float(predicted.cost.mean(axis=0).max()), 1e-12)
    return np.append(TRADE_OFFS / scale, np.inf)


def sweep_choices(predicted: Predicted) -> Choices:
    """Chosen models [K, n] over the sweep, settings that choose alike for every prompt given once."""
    rows = [choose(predicted, float(price)) for price in trade_offs(predicted)]
    kept = [rows[0]]
    for row in rows[1:]:
        if not np.array_equal(row, kept[-1]):
            kept.append(row)
    return np.stack(kept)


@dataclass(frozen=True)
class Points:
    """A router's settings as sums by group.

    Args:
        quality: [G, K] sums of true quality.
        cost: [G, K] sums of true cost, USD.
    """

    quality: Floats
    cost: Floats

    def means(self, weights: Floats, sizes: Floats) -> tuple[Floats, Floats]:
        """Mean cost [B, K] and quality [B, K] of replicates ``weights`` [B, G] over groups of ``sizes`` [G]."""
        total = (weights @ sizes)[:, None]
        return weights @ self.cost / total, weights @ self.quality / total


class Field:
    """The prompts on which routers race: turns choices into points, and replicates into references.

    Args:
        truth: The complete outcomes.
    """

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.codes, self.n_groups = group_codes(truth.groups)
        self.sizes = np.bincount(self.codes, minlength=self.n_groups).astype(np.float64)
        self.singles = Points(self._sums(truth.quality), self._sums(truth.cost))
        self._oracle = self._sums(truth.quality.max(axis=1, keepdims=True))
        self._best, self._cheapest, self._dearest = truth.best, truth.cheapest, truth.dearest

    def _sums(self, values: Floats) -> Floats:
        return group_sums(values, self.codes, self.n_groups)

    def points(self, choices: Choices) -> Points:
        """Points of choices [K, n]."""
        rows = np.arange(choices.shape[1])[:, None]
        return Points(self._sums(self.truth.quality[rows, choices.T]), self._sums(self.truth.cost[rows, choices.T]))

    def ones(self) -> Floats:
        """Weights [1, G] of the sample itself."""
        return np.ones((1, self.n_groups))

    def references(self, weights: Floats) -> list[Reference]:
        """What each replicate [B, G] is measured against; which model is best or cheapest is the whole sample's."""
        cost, quality = self.singles.means(weights, self.sizes)
        oracle = (weights @ self._oracle)[:, 0] / (weights @ self.sizes)
        return [
            Reference(
                best_cost=float(c[self._best]),
                best_quality=float(q[self._best]),
                low_cost=float(c[self._cheapest]),
                low_quality=float(q[self._cheapest]),
                high_cost=float(c[self._dearest]),
                oracle_quality=float(o),
            )
            for c, q, o in zip(cost, quality, oracle, strict=True)
        ]
