"""Challenger against champion on one window of the log: the evidence that the gate judges.

The challenger learnt from this very window, so its own predictions would flatter it. What is judged is its recipe: the
sessions are dealt into folds, and each fold is decided by a router that learnt from the others. The same held-out
predictions are the reward model, and give the calibration error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.bundle import Bundle
from router_runtime.errors import NotSupported
from router_runtime.registry import Registry
from router_runtime.snapshot import Wish, make_snapshot
from training.crossval import Learn
from training.evaluate_log import as_json, segments_of
from training.gate import Evidence
from training.log_table import LogTable
from training.ope.apart import Apart, too_few_apart
from training.ope.compare import Comparison, compare, compare_segments
from training.ope.decisions import LoggedDecisions
from training.ope.estimators import BanditLog
from training.ope.intervals import Estimate
from training.ope.prompt_features import prompt_features
from training.ope.replay import predicted_quality, replay
from training.ope.reward_model import assign_folds, crossfit_ridge
from training.ope.support import ALL, Support, check_support, require_support
from training.progress import QUIET, Progress
from training.served import served_bundle, served_parts
from training.train import usable_rows

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
LEVEL = 0.95
LOGGED = "what was served"
"""The name of the other side where no champion is known: the policy that wrote the log."""


def held_out_quality(log: LogTable, learn: Learn, folds: int, seed: int, progress: Progress = QUIET) -> Floats:
    """q̂ float64[n, A] of every decision by a router that learnt from the other folds' sessions.

    Args:
        log: n decisions over A models.
        learn: Fits a router.
        folds: At least 2; more learn from more, and take longer.
        seed: Of the folds.
        progress: Says which fold is being learnt.

    Raises:
        TooFewRows: Where a fold leaves too little to learn from.
    """
    decisions = log.logged_decisions()
    fold = assign_folds(decisions.session, folds, seed)
    quality = np.empty((len(fold), len(log.models)))
    for held in range(folds):
        rows = fold == held
        progress.say(f"fold {held + 1} of {folds}: learning without {rows.sum():,} decisions that it will be judged on")
        usable, answered, _ = usable_rows(log.table.take(~rows), {})
        parts = learn(usable, log.features.take(np.flatnonzero(~rows)[answered]))
        quality[rows] = predicted_quality(served_parts(parts), decisions, rows)
    return quality


@dataclass(frozen=True)
class Contest:
    """What came of it.

    Args:
        evidence: For the gate; speed and size are not filled in here.
        report: JSON-ready figures: both sides, their difference, segments and support.
    """

    evidence: Evidence
    report: dict[str, Any]


def contest(
    log: LogTable, quality: Floats, champion: Bundle | None, registry: Registry, *, ece: float, seed: int = 0
) -> Contest:
    """Compares the two as they would serve under the registry.

    Args:
        log: The window.
        quality: The challenger's held-out predictions, float64[n, A].
        champion: Its bundle; None compares with the policy that wrote the log.
        registry: Its policy and tiers say how both choose.
        ece: The challenger's held-out calibration error.
        seed: Of the reward model's folds.
    """
    decisions = log.logged_decisions()
    ours = served_dist(decisions, quality, registry)
    if champion is None:
        theirs, name = decisions.logging_dist, LOGGED
    else:
        theirs = served_dist(decisions, predicted_quality(served_bundle(champion), decisions), registry)
        name = champion.version
    try:
        support = _supported(decisions, ours, theirs)
    except NotSupported as refusal:
        report = {"against": name, "refused": str(refusal), "segment": refusal.segment}
        return Contest(Evidence(ece=ece, refused=str(refusal)), report)
    sides = _Sides(decisions, ours, theirs)
    gap = sides.quality(quality)
    cost = sides.cost(log, seed) if np.isfinite(decisions.cost).any() else None
    segments = sides.segments(quality, support)
    rise = None if cost is None else relative(cost)
    evidence = Evidence(quality=gap.difference, cost=rise, segments=segments, ece=ece, too_few=sides.too_few())
    figures = _report(gap, cost, rise, segments, support)
    return Contest(evidence, {"against": name, **figures, "apart": sides.apart()})


def served_dist(decisions: LoggedDecisions, quality: Floats, registry: Registry) -> Floats:
    """π of a router with predictions ``quality`` [n, A] as it would serve: each tier by its own settings."""
    snapshot = make_snapshot(registry, None, {}, 0.0)
    strategy = registry.policy.settings.strategy
    usual = snapshot.plan(Wish(strategy=strategy)).settings
    dist = replay(decisions, quality, usual)
    for tier in registry.tiers:
        settings = snapshot.plan(Wish(tier=tier, strategy=registry.tiers[tier].strategy or strategy)).settings
        rows = decisions.segments["tier"] == tier
        if settings != usual and rows.any():
            dist[rows] = replay(decisions, quality, settings)[rows]
    return dist


def _supported(decisions: LoggedDecisions, ours: Floats, theirs: Floats) -> list[Support]:
    """Support of the challenger, overall first.

    Raises:
        NotSupported: Where the log can value one of the two not at all.
    """
    labelled = decisions.bandit(decisions.quality)
    found = check_support(ours, decisions.logging_dist, labelled, segments_of(decisions, ours))
    require_support(found, ours, decisions.logging_dist, labelled)
    require_support(check_support(theirs, decisions.logging_dist, labelled), theirs, decisions.logging_dist, labelled)
    return found


class _Sides:
    """Both policies on one log."""

    def __init__(self, decisions: LoggedDecisions, ours: Floats, theirs: Floats) -> None:
        self._log, self._ours, self._theirs = decisions, ours, theirs

    def too_few(self) -> str | None:
        """Why the log cannot tell the two apart, or None."""
        for values, known in ((self._log.quality, "rated"), (self._log.cost, "priced")):
            if np.isfinite(values).any():
                log = self._log.bandit(values)
                said = too_few_apart(self._ours, self._theirs, self._log.logging_dist, log, known)
                if said is not None:
                    return said
        return None

    def apart(self) -> dict[str, float]:
        """Share of the decisions that go elsewhere, and the rated answers that only one side would have given."""
        rated = self._log.bandit(self._log.quality)
        found = Apart.of(self._ours, self._theirs, rated)
        ours, theirs = found.samples(rated.cluster)
        return {"share": round(found.share, 6), "challenger": round(ours, 1), "champion": round(theirs, 1)}

    def quality(self, q_hat: Floats) -> Comparison:
        return compare(self._ours, self._theirs, self._log.bandit(self._log.quality), q_hat, level=LEVEL, share=True)

    def cost(self, log: LogTable, seed: int) -> Comparison:
        """By a ridge on the prompts and on what the logging router expected to pay."""
        bandit = self._log.bandit(self._log.cost, "cost")
        features = prompt_features(log.features.distinct, seed=seed)[log.features.code]
        prior = self._log.predicted_cost if np.isfinite(self._log.predicted_cost).any() else None
        fold = assign_folds(self._log.session, 5, seed)
        actions, bounds = len(self._log.models), (0.0, np.inf)
        q_hat = crossfit_ridge(features, bandit, fold, actions, prior=prior, bounds=bounds)
        return compare(self._ours, self._theirs, bandit, q_hat, level=LEVEL)

    def segments(self, q_hat: Floats, support: list[Support]) -> dict[str, Estimate]:
        """Differences in each segment that the log supports; the model that is chosen tells no segments apart here."""
        rows: dict[str, Bools] = {}
        for part in support:
            dimension, _, name = part.segment.partition("=")
            if part.supported and part.segment != ALL and dimension in self._log.segments:
                rows[part.segment] = self._log.segments[dimension] == name
        bandit: BanditLog = self._log.bandit(self._log.quality)
        return compare_segments(self._ours, self._theirs, bandit, q_hat, rows, level=LEVEL)


def relative(cost: Comparison) -> Estimate:
    """The difference of cost as a share of the other side's cost; infinite where that side's choices are free."""
    gap, whole = cost.difference, cost.second.policy_value
    if not whole > 0 and (gap.policy_value, gap.se) != (0.0, 0.0):
        return Estimate(np.inf, np.nan, -np.inf, np.inf, gap.ess, gap.n)
    scale = 1 / whole if whole > 0 else 1.0  # where nothing costs anything, the difference is 0 as it is
    value, se, low, high = (part * scale for part in (gap.policy_value, gap.se, gap.ci_low, gap.ci_high))
    return Estimate(value, se, low, high, gap.ess, gap.n)


def _report(
    quality: Comparison,
    cost: Comparison | None,
    rise: Estimate | None,
    segments: Mapping[str, Estimate],
    support: list[Support],
) -> dict[str, Any]:
    whole = support[0]
    return {
        "quality": _both(quality),
        "cost_usd": {} if cost is None or rise is None else _costs(cost, rise),
        "segments": {name: as_json(gap) for name, gap in segments.items()},
        "unsupported_segments": {part.segment: part.reason for part in support if not part.supported},
        "effective_sample": round(whole.ess, 1),
        "n": whole.n,
    }


def _costs(pair: Comparison, rise: Estimate) -> dict[str, Any]:
    return {**_both(pair), "relative_difference": as_json(rise)}


def _both(pair: Comparison) -> dict[str, Any]:
    return {
        "challenger": as_json(pair.first),
        "champion": as_json(pair.second),
        "difference": as_json(pair.difference),
    }
