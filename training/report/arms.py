"""The randomised baseline arm, and what the routed traffic of the same experiment did better or worse."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from router_runtime.experiments import sample_ratio
from router_runtime.registry import Registry
from training.report.clustered import Measured, bonferroni, difference, mean, saving, share
from training.report.reading import ReportLog

Bools = npt.NDArray[np.bool_]
MIN_SUBJECTS = 30
"""Fewer users or sessions with feedback in an arm say nothing: the interval itself is then not to be trusted."""
MARGIN = 0.02
"""Half width of the interval of satisfaction that a claim should rest on: two points."""
MIN_ROWS = 30
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class Holdout:
    """The two arms that are compared.

    Args:
        experiment: Name of the experiment.
        baseline: Arm with the fixed model.
        model: That model.
        routed: The largest arm without a fixed model.
        shares: Share of the experiment's decisions by arm, 0..1.
        unit: What is dealt to the arms, ``user`` or ``session``.
    """

    experiment: str
    baseline: str
    model: str
    routed: str
    shares: dict[str, float]
    unit: str = "user"

    def dealt(self, log: ReportLog) -> ReportLog:
        """The log with the experiment's units as subjects: those are independent between the arms."""
        return log.by_session() if self.unit == "session" else log

    def rows(self, log: ReportLog) -> tuple[Bools, Bools]:
        """Decisions of the routed and of the baseline arm, each bool[n]."""
        arm = log.frame["arm"]
        first, second = (
            (arm == f"{self.experiment}/{name}").to_numpy(dtype=np.bool_) for name in (self.routed, self.baseline)
        )
        return first, second


def find_holdout(log: ReportLog, registry: Registry | None) -> Holdout | None:
    """The experiment with a fixed-model arm and the most decisions; None where the log has none.

    The registry names such arms; without it, an arm is taken for one where nearly every decision had one model as its
    only candidate (callers who name a model themselves are the rest).
    """
    found = [_holdout(log, name, registry) for name in _experiments(log)]
    usable = [one for one in found if one is not None]
    return max(usable, key=lambda one: int(sum(rows.sum() for rows in one.rows(log))), default=None)


def _experiments(log: ReportLog) -> list[str]:
    return sorted({str(arm).partition("/")[0] for arm in log.frame["arm"].dropna().unique()})


def _holdout(log: ReportLog, experiment: str, registry: Registry | None) -> Holdout | None:
    arm = log.frame["arm"].astype(object)
    counts = arm[arm.str.startswith(f"{experiment}/", na=False)].value_counts()
    names = {str(full).partition("/")[2]: int(count) for full, count in counts.items()}
    fixed = {name: model for name in names if (model := _fixed_model(log, experiment, name, registry)) is not None}
    routed = [name for name in names if name not in fixed]
    if not fixed or not routed:
        return None
    baseline = max(fixed, key=lambda name: names[name])
    total = sum(names.values())
    shares = {name: round(count / total, 6) for name, count in names.items()}
    found = Holdout(experiment, baseline, fixed[baseline], max(routed, key=lambda name: names[name]), shares)
    return replace(found, unit=_unit(log, found, registry))


def _unit(log: ReportLog, holdout: Holdout, registry: Registry | None) -> str:
    """As the registry says; without it sessions, where users are in both arms and fewer sessions are."""
    if registry is not None and holdout.experiment in registry.experiments:
        return registry.experiments[holdout.experiment].unit
    return "session" if _in_both(log.by_session(), holdout) < _in_both(log, holdout) else "user"


def _in_both(log: ReportLog, holdout: Holdout) -> int:
    """Subjects of both arms."""
    first, second = (np.unique(log.subject[rows]) for rows in holdout.rows(log))
    return len(np.intersect1d(first, second, assume_unique=True))


def _fixed_model(log: ReportLog, experiment: str, arm: str, registry: Registry | None) -> str | None:
    if registry is not None and experiment in registry.experiments:
        entries = {entry.name: entry.model for entry in registry.experiments[experiment].arms}
        return entries.get(arm)
    rows = log.frame[(log.frame["arm"] == f"{experiment}/{arm}").to_numpy(dtype=np.bool_)]
    shares = rows["chosen"][rows["alone"]].value_counts() / len(rows)
    return str(shares.index[0]) if len(shares) and shares.iloc[0] >= _NEARLY_ALL else None


@dataclass(frozen=True)
class Arm:
    """What one arm did.

    Args:
        cost: Mean cost of a decision in USD (failed attempts that were billed included).
        quality: Mean quality of the answers, 0..1, corrected for feedback that is rarer for some models.
        failed: Share of decisions without an answer.
        latency: Mean latency of the answers in ms.
        decisions, subjects: How many.
    """

    cost: Measured
    quality: Measured
    failed: Measured
    latency: Measured
    decisions: int
    subjects: int


def arm_of(log: ReportLog, rows: Bools, level: float = 0.95) -> Arm:
    """The figures of the decisions ``rows`` bool[n]."""
    subject = log.subject[rows]
    called = log.column("attempts")[rows] > 0
    failed = np.where(called, (log.model[rows] < 0).astype(np.float64), np.nan)
    return Arm(
        cost=mean(log.column("cost")[rows], subject, level=level),
        quality=share(log.reward[rows], subject, log.label_weight(rows)[rows], level),
        failed=share(failed, subject, level=level),
        latency=mean(log.column("latency_ms")[rows], subject, level=level),
        decisions=int(rows.sum()),
        subjects=len(pd.unique(subject)),
    )


def compare_arms(log: ReportLog, holdout: Holdout) -> dict[str, Any]:
    """Routed traffic against the baseline arm: each figure of both, the difference, and the savings; JSON-ready."""
    rows = holdout.rows(log)
    routed, baseline = (arm_of(log, one) for one in rows)
    saved = saving(routed.cost, baseline.cost)
    spared = difference(baseline.cost, routed.cost).times(routed.cost.n)
    return {
        "cost_per_1000": _pair(routed.cost.times(1000), baseline.cost.times(1000)),
        "satisfaction": _pair(routed.quality, baseline.quality),
        "failed": _pair(routed.failed, baseline.failed),
        "latency_ms": _pair(routed.latency, baseline.latency),
        "by_source": {
            name: _pair(*(share(values[one], log.subject[one]) for one in rows))
            for name, values in sorted(log.by_source.items())
        },
        "savings": {"share": saved.json(), "usd": spared.json()},
        "decisions": {"routed": routed.decisions, "baseline": baseline.decisions},
        "subjects": {"routed": routed.subjects, "baseline": baseline.subjects},
        "labelled": {"routed": routed.quality.n, "baseline": baseline.quality.n},
    }


def _pair(routed: Measured, baseline: Measured) -> dict[str, Any]:
    gap = difference(routed, baseline)
    return {"routed": routed.json(), "baseline": baseline.json(), "difference": gap.json()}


def compare_labels(log: ReportLog, holdout: Holdout) -> list[dict[str, Any]]:
    """The same by task label, largest first; intervals of differences hold for all labels together."""
    rows = holdout.rows(log)
    sizes = np.bincount(log.label[rows[0] | rows[1]], minlength=len(log.label_names))
    level = bonferroni(int((sizes > 0).sum()))
    found = []
    for code in np.argsort(-sizes, kind="stable"):
        mine = [arm_of(log, one & (log.label == code), level) for one in rows]
        if min(arm.quality.n for arm in mine) < MIN_ROWS:
            continue
        found.append(
            {
                "label": log.label_names[code],
                "decisions": sum(arm.decisions for arm in mine),
                "accuracy": _pair(mine[0].quality, mine[1].quality),
                "cost_per_1000": _pair(mine[0].cost.times(1000), mine[1].cost.times(1000)),
                "saving": saving(mine[0].cost, mine[1].cost).json(),
            }
        )
    return found


def by_day(log: ReportLog, holdout: Holdout | None) -> list[dict[str, Any]]:
    """Cost per 1,000 requests and satisfaction of each day (UTC), by arm; one arm where there is no holdout."""
    day = (log.column("time") // 86_400).astype(np.int64)
    if holdout is None:
        sides = {"routed": np.ones(len(log), dtype=np.bool_)}
    else:
        sides = dict(zip(("routed", "baseline"), holdout.rows(log), strict=True))
    found = []
    for one in np.unique(day):
        arms = {name: arm_of(log, rows & (day == one)) for name, rows in sides.items()}
        entry: dict[str, Any] = {"day": f"{pd.Timestamp(int(one), unit='D'):%Y-%m-%d}"}
        for name, arm in arms.items():
            entry[name] = {
                "cost_per_1000": arm.cost.times(1000).json(),
                "satisfaction": arm.quality.json(),
                "decisions": arm.decisions,
            }
        found.append(entry)
    return found


def shortfall(log: ReportLog, holdout: Holdout | None) -> dict[str, Any] | None:
    """Why the baseline arm cannot carry a claim, and what would do; None where it can.

    The need is that of an interval of ±:data:`MARGIN` for satisfaction in the baseline arm, at the spread that this
    log's feedback shows: n = (1.96 σ / margin)².
    """
    known = np.isfinite(log.reward)
    spread = float(np.std(log.reward[known])) if known.sum() > 1 else 0.5
    needed = max(math.ceil((1.96 * spread / MARGIN) ** 2), MIN_SUBJECTS)
    label_share = float(known.mean())
    plan = _plan(log, needed, label_share)
    if holdout is None:
        return {"reason": "no experiment arm of the log has one fixed model", **plan}
    sides = [arm_of(log, rows) for rows in holdout.rows(log)]
    fewest = min(arm.quality.subjects for arm in sides)
    if fewest >= MIN_SUBJECTS:
        return None
    reason = (
        f"the baseline arm {holdout.experiment}/{holdout.baseline} has feedback from {sides[1].quality.subjects} and "
        f"the routed one from {sides[0].quality.subjects} users or sessions; {MIN_SUBJECTS} each are the least"
    )
    return {"reason": reason, **plan}


def _plan(log: ReportLog, needed: int, label_share: float) -> dict[str, Any]:
    """The share of traffic that gives ``needed`` labelled baseline answers in a window as long, or how much longer."""
    whole = len(log) * label_share
    if whole == 0:
        return {"labelled_needed": needed, "share": None, "days_at_10_percent": None}
    times = log.column("time")
    days = max((times[-1] - times[0]) / 86_400, 1 / 24)
    share = needed / whole
    return {
        "labelled_needed": needed,
        "share": round(share, 4) if share <= 0.5 else None,
        "days_at_10_percent": round(days * needed / (0.1 * whole), 1),
    }


def split_alarm(log: ReportLog, holdout: Holdout, registry: Registry | None) -> list[str]:
    """What speaks against the randomisation: subjects in both arms, or arms of another size than the registry says."""
    both = _in_both(log, holdout)
    alarms = []
    if both:
        alarms.append(f"{both:,} users or sessions were in both arms: their calls are no independent comparison")
    if registry is not None and holdout.experiment in registry.experiments:
        entry = registry.experiments[holdout.experiment]
        arm = log.frame["arm"]
        seen = {a.name: len(np.unique(log.subject[(arm == f"{entry.name}/{a.name}").to_numpy()])) for a in entry.arms}
        ratio = sample_ratio(entry, seen)
        if ratio.alarm:
            parts = ", ".join(f"{name} {n:,} of {ratio.expected[name]:,.0f}" for name, n in ratio.observed.items())
            alarms.append(f"the arms are not of the size that the registry asks for ({parts}; p = {ratio.p_value:.1g})")
    return alarms
