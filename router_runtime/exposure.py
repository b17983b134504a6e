"""What a running experiment shows: exposures by arm, the sample-ratio check, and each arm's feedback and cost.

One row for each subject (a user or session), never for each call: calls of one subject are not independent. The
arithmetic is :mod:`router_runtime.experiments`; here is only the join of decisions, attempts and feedback.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from router_runtime.experiments import (
    Estimate,
    SampleRatio,
    arm_mean,
    arm_share,
    difference,
    sample_ratio,
    share_difference,
)
from router_runtime.registry import ExperimentEntry
from router_runtime.stores.base import Row

Read = Callable[[], Iterable[Row]]


@dataclass(frozen=True, slots=True)
class ArmFindings:
    """One arm.

    Args:
        name: Of the registry.
        subjects: Users or sessions that were exposed.
        calls: Their decisions.
        rated: Those with feedback of the metric.
        feedback: Mean feedback of a rated decision, 0..1, of repeated feedback the latest; None without any.
        cost_usd: Mean cost of a decision that was billed and whose costs are known, all its attempts together.
        feedback_change, cost_change: The same minus the first arm's; None for the first arm itself.
    """

    name: str
    subjects: int
    calls: int
    rated: int
    feedback: Estimate | None
    cost_usd: Estimate | None
    feedback_change: Estimate | None = None
    cost_change: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """One experiment.

    Args:
        experiment: As the registry says it.
        metric: Of the feedback; None where there was none.
        ratio: Whether the split is sound; nothing below should be believed where it alarms.
        arms: In the registry's order; the first is the baseline of the changes.
    """

    experiment: ExperimentEntry
    metric: str | None
    ratio: SampleRatio
    arms: tuple[ArmFindings, ...]


@dataclass(slots=True)
class _Call:
    arm: str
    subject: str
    costs: list[float | None] = field(default_factory=list)
    scores: dict[str, dict[str, tuple[float, float]]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def cost(self) -> float | None:
        """Of all billed attempts, in USD; None where there was none, or one has no known cost."""
        known = [cost for cost in self.costs if cost is not None]
        return sum(known) if known and len(known) == len(self.costs) else None

    def score(self, metric: str) -> float:
        """Mean of what its sources last said, 0..1."""
        said = self.scores[metric].values()
        return sum(value for _, value in said) / len(said)


def findings(experiment: ExperimentEntry, read: Read, metric: str | None = None) -> Findings:
    """Joins the events of ``experiment``.

    Args:
        experiment: One of the registry.
        read: Gives all events; called twice, so that only the calls of the experiment are held in memory.
        metric: Of the feedback; None = the one that most of its calls have.

    Raises:
        StoreError: Where the events cannot be read.
    """
    calls = _exposed(experiment, read())
    for row in read():
        if row.kind != "decision" and row.decision_id in calls:
            _add(calls[row.decision_id], row.kind, row.time, json.loads(row.body))
    metric = metric or _usual_metric(calls.values())
    by_arm: dict[str, list[_Call]] = {arm.name: [] for arm in experiment.arms}
    for call in calls.values():
        by_arm[call.arm].append(call)
    observed = {name: len({call.subject for call in group}) for name, group in by_arm.items()}
    ratio = sample_ratio(experiment, observed)
    return Findings(experiment, metric, ratio, _arms(by_arm, observed, metric))


def _exposed(experiment: ExperimentEntry, rows: Iterable[Row]) -> dict[str, _Call]:
    """The experiment's calls by decision id; arms that the registry no longer has are left out."""
    arms = {f"{experiment.name}/{arm.name}": arm.name for arm in experiment.arms}
    subject_field = "user_hash" if experiment.unit == "user" else "session"
    told = json.dumps(f"{experiment.name}/", ensure_ascii=False)[1:-1]  # as it stands in a body
    calls: dict[str, _Call] = {}
    for row in rows:
        if row.kind != "decision" or told not in row.body:
            continue
        body = json.loads(row.body)
        arm, subject = arms.get(body.get("arm") or ""), body.get(subject_field)
        if arm is not None and subject is not None:
            calls[row.decision_id] = _Call(arm, subject)
    return calls


def _add(call: _Call, kind: str, time: float, body: dict[str, Any]) -> None:
    if kind == "attempt":
        if body.get("billed", True):
            call.costs.append(body.get("cost_usd"))
        return
    said, source = call.scores[body["metric"]], str(body.get("source"))
    if source not in said or time >= said[source][0]:
        said[source] = (time, body["value"])


def _usual_metric(calls: Iterable[_Call]) -> str | None:
    counts = Counter(metric for call in calls for metric in call.scores)
    return max(sorted(counts), key=counts.__getitem__) if counts else None


def _arms(by_arm: dict[str, list[_Call]], observed: dict[str, int], metric: str | None) -> tuple[ArmFindings, ...]:
    found: list[ArmFindings] = []
    base: tuple[_Sums, _Sums] | None = None
    for name, group in by_arm.items():
        rated = [call for call in group if metric in call.scores]
        scores = _sums((call.subject, call.score(metric or "")) for call in rated)
        costs = _sums((call.subject, cost) for call in group if (cost := call.cost) is not None)
        found.append(
            ArmFindings(
                *(name, observed[name], len(group), len(rated)),
                feedback=arm_share(*scores) if rated else None,
                cost_usd=arm_mean(*costs) if costs[0] else None,
                feedback_change=share_difference(scores, base[0]) if base and rated and base[0][0] else None,
                cost_change=difference(costs, base[1]) if base and costs[0] and base[1][0] else None,
            )
        )
        base = base or (scores, costs)
    return tuple(found)


_Sums = tuple[list[float], list[float]]
"""(sum of the metric, number of calls) by subject."""


def _sums(values: Iterable[tuple[str, float]]) -> _Sums:
    totals: dict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    for subject, value in values:
        totals[subject] += value
        counts[subject] += 1
    return list(totals.values()), [float(counts[subject]) for subject in totals]
