"""Where a model answers worse on a label than the router believes and than its alternatives: seen on the log itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.report.clustered import Measured, bonferroni, difference, mean, ratio, share
from training.report.reading import ReportLog

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
MIN_LABELLED = 30
MIN_SHARE = 0.02
MARGIN = 0.05
"""A finding is worse than the alternative, and than believed, by more than five points, intervals included."""
_CERTAIN = 1 - 1e-9


@dataclass(frozen=True)
class Pair:
    """One model on one label.

    Args:
        model, label: Which.
        share: Of the label's decisions that the model was chosen for, 0..1.
        observed: Mean quality of its answers, 0..1.
        surprise: Observed less predicted quality of its answers, less the same of the other models' on this label.
        best: The alternative that would have answered its requests best; None where none has enough answers.
        gain: What each of its requests would have gained with that model, in quality.
        extra_cost_usd: What such a request was predicted to cost more with it.
        check: The gain with the alternatives that chance itself would have drawn, doubly robust: no belief of the
            router enters, but the interval is wide; NaN where chance had no part.
        shown: Mean quality on this label of every model with enough answers, in all arms, 0..1.
    """

    model: str
    label: str
    share: float
    observed: Measured
    surprise: Measured
    best: str | None
    gain: Measured
    extra_cost_usd: float
    check: Measured
    shown: dict[str, float]

    @property
    def weak(self) -> bool:
        """Worse than the best alternative and than believed, each by a margin, and not refuted by random choices."""
        refuted = np.isfinite(self.check.se) and self.check.high < 0
        return self.gain.low > MARGIN and self.surprise.high < -MARGIN and not refuted


def study_pairs(log: ReportLog, rows: Bools, level: float = 0.95) -> list[Pair]:
    """Every pair with enough labelled answers among ``rows`` bool[n] (routed decisions); largest share first.

    Intervals of gains and surprises hold for all pairs together (Bonferroni).
    """
    label = log.label
    wanted = _wanted(log, rows, label)
    each = bonferroni(len(log.models) * len(wanted), level)
    parts = {name: _Label(log, (label == name), rows, each) for name in {name for name, _ in wanted}}
    found = [parts[name].pair(log.label_names[name], model, level) for name, model in wanted]
    return sorted(found, key=lambda pair: -pair.share)


def _wanted(log: ReportLog, rows: Bools, label: Ints) -> list[tuple[int, int]]:
    known = rows & np.isfinite(log.reward)
    found = []
    for name in np.unique(label[rows]):
        mine = rows & (label == name)
        chosen = np.bincount(log.action[mine], minlength=len(log.models))
        labelled = np.bincount(log.model[mine & known] + 1, minlength=len(log.models) + 1)[1:]
        enough = (labelled >= MIN_LABELLED) & (chosen >= MIN_SHARE * mine.sum())
        found += [(int(name), int(model)) for model in np.flatnonzero(enough)]
    return found


class _Label:
    """The answers on one label; of all arms, because a fixed model's answers teach about that model too."""

    def __init__(self, log: ReportLog, mine: Bools, routed: Bools, level: float) -> None:
        self._log, self._mine, self._routed, self._level = log, mine, mine & routed, level
        self._reward, self._served, self._subject = log.reward[mine], log.model[mine], log.subject[mine]
        self._predicted = log.predicted_quality[mine]
        own = self._predicted[np.arange(len(self._served)), self._served]
        self._error = np.where(self._served >= 0, self._reward - own, np.nan)
        self._shown = self._means()

    def pair(self, label: str, model: int, level: float) -> Pair:
        """One model on this label."""
        log, served = self._log, self._served == model
        reward = np.where(served, self._reward, np.nan)
        error = self._mean(np.where(served, self._error, np.nan))
        others = self._mean(np.where(served, np.nan, self._error))
        best, gain = self._best(model)
        return Pair(
            model=log.models[model],
            label=label,
            share=float((log.action[self._routed] == model).mean()),
            observed=share(reward, self._subject, level=level),
            surprise=difference(error, others),
            best=None if best is None else log.models[best],
            gain=gain,
            extra_cost_usd=float("nan") if best is None else self._extra_cost(model, best),
            check=randomised_gain(log, self._routed, model, level),
            shown=self._shown,
        )

    def _best(self, model: int) -> tuple[int | None, Measured]:
        """The alternative with the largest gain: what it was predicted to do on the model's labelled requests, moved
        by how far its own answers on this label were from their predictions, less what the model did.

        Where predictions are noisy a model is chosen for those that are too high, so the correction, which rests on
        chosen requests, makes an alternative look worse than it is: the gain errs on the careful side.
        """
        served = self._served == model
        best, largest = None, Measured(float("nan"), float("nan"), 1.0, 0, 0, self._level)
        for other in range(len(self._log.models)):
            error = self._mean(np.where(self._served == other, self._error, np.nan))
            if other == model or error.n < MIN_LABELLED:
                continue
            lost = self._mean(np.where(served, self._reward - self._predicted[:, other], np.nan))
            gain = difference(error, lost)
            if best is None or gain.value > largest.value:
                best, largest = other, gain
        return best, largest

    def _means(self) -> dict[str, float]:
        found = {}
        for model, name in enumerate(self._log.models):
            reward = self._reward[(self._served == model) & np.isfinite(self._reward)]
            if len(reward) >= MIN_LABELLED:
                found[name] = float(reward.mean())
        return found

    def _extra_cost(self, model: int, other: int) -> float:
        cost = self._log.predicted_cost[self._mine][self._served == model]
        gap = cost[:, other] - cost[:, model]
        known = gap[np.isfinite(gap)]
        return float(known.mean()) if len(known) else float("nan")

    def _mean(self, values: Floats) -> Measured:
        return mean(values, self._subject, level=self._level)


def randomised_gain(log: ReportLog, rows: Bools, model: int, level: float) -> Measured:
    """What each request that leaves ``model`` gains with the alternatives that the policy would have drawn.

    (V(π without the model) − V(π)) / P(model). With p = π(model|x), π'/π − 1 is p / (1 − p) on the other actions and
    −1 on the model. Doubly robust with the predictions that were logged before the answer:
    φ = Σ_a (π' − π) q̂ + (π'/π − 1) · (r − q̂(chosen)). Requests that could only go to the model say nothing and are
    left out.

    Args:
        log: The log.
        rows: Decisions to look at, bool[n].
        model: Index of the model.
        level: Coverage of the interval.
    """
    dist, action = log.action_dist[rows], log.action[rows]
    p = dist[:, model]
    free = p < _CERTAIN
    prior = np.nan_to_num(log.predicted_quality[rows])
    odds = np.divide(p, 1 - p, out=np.zeros_like(p), where=free)
    direct = odds * ((dist * prior).sum(axis=1) - p * prior[:, model]) - p * prior[:, model]
    believed = prior[np.arange(len(action)), action]
    weight = log.label_weight(rows)[rows]
    missed = np.where(weight > 0, np.nan_to_num(log.reward[rows]) - believed, 0.0)
    phi = direct + np.where(action == model, -1.0, odds) * weight * missed
    return ratio(np.where(free, phi, 0.0), np.where(free, p, 0.0), log.subject[rows], level)


def weak_spots(pairs: list[Pair]) -> list[Pair]:
    """The pairs to act on, the one that costs the most quality first."""
    return sorted((pair for pair in pairs if pair.weak), key=lambda pair: -pair.share * pair.gain.value)


def proposed_weights(spot: Pair, now: Mapping[str, float]) -> dict[str, float]:
    """Weights of the label's models for the registry: what each has shown there, 0..1, best first.

    The weak model gets the lower end of its interval, so that chance does not lift it again; a model with too few
    answers to tell keeps the weight that it has ``now``.
    """
    others = {name: weight for name, weight in {**now, **spot.shown}.items() if name != spot.model}
    weights = others | {spot.model: min(spot.observed.low, *others.values())}
    ranked = sorted(weights.items(), key=lambda item: -item[1])
    return {name: round(float(np.clip(weight, 0.0, 1.0)), 2) for name, weight in ranked}


def snippet(label: str, weights: Mapping[str, float]) -> str:
    """The proposal as YAML: the label's entry of the registry."""
    lines = [f"    {_quoted(name)}: {weight:.2f}" for name, weight in weights.items()]
    return "\n".join(
        ["# under labels: in the registry, in place of what stands there", f"  {_quoted(label)}:", *lines, ""]
    )


def _quoted(name: str) -> str:
    plain = all(c.isalnum() or c in "._-/" for c in name) and name[:1].isalpha()
    return name if plain else "'" + name.replace("'", "''") + "'"


def as_json(pair: Pair) -> dict[str, Any]:
    """Of the pair, JSON-ready."""
    return {
        "model": pair.model,
        "label": pair.label,
        "share": round(pair.share, 4),
        "observed": pair.observed.json(),
        "surprise": pair.surprise.json(),
        "best": pair.best,
        "gain": pair.gain.json(),
        "extra_cost_usd": pair.extra_cost_usd if np.isfinite(pair.extra_cost_usd) else None,
        "check": pair.check.json(),
        "weak": pair.weak,
    }
