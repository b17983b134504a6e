"""Logged decisions as arrays over one pool of models: what every off-policy question is asked of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from router_runtime.errors import DataError
from router_runtime.features import Features
from training.ope.estimators import BanditLog

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class FeatureRows(Protocol):
    """Features of n requests: a list of them, or a :class:`training.feature_matrix.FeatureMatrix`."""

    def __len__(self) -> int:
        """Number of requests."""

    def __getitem__(self, row: int, /) -> Features:
        """Of one request."""


@dataclass(frozen=True, eq=False)
class LoggedDecisions:
    """n decisions over the A models that were ever eligible.

    Args:
        models: Names, length A.
        logging_dist: π_b, float64[n, A], 0 where not eligible.
        eligible: bool[n, A].
        action: Index of the chosen model, int64[n].
        pscore: Logged propensity of the choice, float64[n].
        quality: Reward to evaluate on (:attr:`training.labels.Labels.reward`), NaN = unknown, float64[n].
        cost: What the answer cost in USD, NaN = unknown, float64[n].
        predicted_quality: What the logging router predicted, NaN where it said nothing, float64[n, A].
        predicted_cost: Cost in USD that it expected, NaN where it said nothing, float64[n, A].
        features: Of the requests, length n.
        session: Session of each decision, int64[n]; one of its own where none was logged.
        segments: Label of each decision by dimension (``domain``, ``tier``), each length n.
    """

    models: tuple[str, ...]
    logging_dist: Floats
    eligible: Bools
    action: Ints
    pscore: Floats
    quality: Floats
    cost: Floats
    predicted_quality: Floats
    predicted_cost: Floats
    features: FeatureRows
    session: Ints
    segments: dict[str, npt.NDArray[np.str_]]

    def __post_init__(self) -> None:
        """Checks that the logged distribution is one.

        Raises:
            DataError: Where probabilities do not sum to 1, or a propensity is not that of the choice.
        """
        if len(self.action) == 0:
            raise DataError("the log holds no decision")
        total = self.logging_dist.sum(axis=1)
        row = int(np.abs(total - 1).argmax())
        if abs(total[row] - 1) > 1e-6:
            raise DataError(f"decision {row}: the action distribution sums to {total[row]:.6f}, not to 1")
        gap = np.abs(self.logging_dist[np.arange(len(self.action)), self.action] - self.pscore)
        row = int(gap.argmax())
        if gap[row] > 1e-6:
            raise DataError(
                f"decision {row}: propensity {self.pscore[row]:.6f} is not the probability logged for the choice "
                f"({self.logging_dist[row, self.action[row]]:.6f})"
            )

    def bandit(self, reward: Floats, name: str = "label") -> BanditLog:
        """A bandit log of ``reward`` [n], called ``name``; rows without one weighed out (:func:`label_weights`).

        Raises:
            DataError: Where no row has one.
        """
        known = np.isfinite(reward)
        if not known.any():
            raise DataError(f"no decision of the log has a {name}, so nothing can be evaluated")
        weights = label_weights(known, self.action, len(self.models))
        return BanditLog(self.action, reward, self.pscore, self.session, weights)


def label_weights(labelled: Bools, action: Ints, actions: int) -> Floats:
    """1 / P(labelled | model) for labelled rows, 0 for others, float64[n].

    Feedback is missing more often for some models than for others; without this, the reward of those that get little
    would be taken for that of all. Within a model it is taken to be missing at random: rates are reported.

    Raises:
        DataError: Where no row has a label.
    """
    if not labelled.any():
        raise DataError("no decision of the log has this outcome, so nothing can be evaluated")
    seen = np.bincount(action, minlength=actions)
    share = (np.bincount(action[labelled], minlength=actions) + labelled.mean()) / (seen + 1)
    return np.where(labelled, 1 / share[action], 0.0)
