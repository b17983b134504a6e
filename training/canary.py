"""The canary's guard: its calls against the rest of the traffic, and its withdrawal where it is worse for certain.

A withdrawn bundle is disabled under its version, so that every router that watches the state (or shares it) stops
sending it traffic within a second, whatever the registry says; another bundle in the same place starts afresh.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from router_runtime.experiments import CANARY
from router_runtime.registry import ArmEntry, CanaryEntry, ExperimentEntry
from training.log_table import LogTable
from training.report.clustered import Measured, bonferroni, difference, mean, saving, share

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Measure = Callable[..., Measured]
NO_EXPERIMENTS: Mapping[str, ExperimentEntry] = MappingProxyType({})
MIN_SUBJECTS = 30
"""Fewer users or sessions, or fewer of those who rated, say nothing, however many calls they make."""


@dataclass(frozen=True)
class Check:
    """One bound of the guard.

    Args:
        name: ``error_rate``, ``quality`` or ``cost``.
        change: Canary − rest; relative for cost.
        bound: How much worse it may be.
        broken: Whether the whole interval lies beyond the bound.
    """

    name: str
    change: Measured
    bound: float
    broken: bool

    @property
    def text(self) -> str:
        """For people and for the record."""
        if math.isinf(self.change.value):
            return f"{self.name} above 0, where the rest of the traffic is free, beyond {self.bound:g}"
        span = f"{self.change.value:+.4f} ({self.change.low:+.4f} to {self.change.high:+.4f})"
        return f"{self.name} {span}, {'beyond' if self.broken else 'not proven beyond'} {self.bound:g}"


@dataclass(frozen=True)
class Findings:
    """What the log shows of the newest canary.

    Args:
        bundle_version: Which bundle; None where no canary decided anything.
        decisions: Its decisions.
        subjects: Its users or sessions.
        checks: Empty where there are too few of either.
    """

    bundle_version: str | None
    decisions: int
    subjects: int
    checks: tuple[Check, ...] = ()

    @property
    def broken(self) -> tuple[Check, ...]:
        """The bounds that are broken."""
        return tuple(check for check in self.checks if check.broken)

    @property
    def reason(self) -> str:
        """Why it is withdrawn."""
        return "; ".join(check.text for check in self.broken)

    def as_json(self) -> dict[str, Any]:
        """One document."""
        checks = {
            check.name: {**check.change.json(), "bound": check.bound, "broken": check.broken} for check in self.checks
        }
        return {
            "bundle_version": self.bundle_version,
            "decisions": self.decisions,
            "subjects": self.subjects,
            "checks": checks,
        }


def examine(
    log: LogTable, canary: CanaryEntry, experiments: Mapping[str, ExperimentEntry] = NO_EXPERIMENTS
) -> Findings:
    """Compares the newest canary with the traffic of the same time that could have been its own.

    Calls that no bundle chooses for are on neither side: those with one candidate alone, such as those that name their
    model, and those that go by an agent's own order. Of the calls that experiments took, the arms that are as without
    the experiment stand for all. Clusters are the units of assignment; the three intervals hold together at 95 %.

    Args:
        log: A window of the log.
        canary: Unit and guard.
        experiments: Those of the registry.
    """
    prompts = log.table.prompts
    subject = prompts["user_hash" if canary.unit == "user" else "session"]
    ours = (prompts["arm"] == CANARY).to_numpy(dtype=np.bool_)
    if not ours.any():
        return Findings(None, 0, 0)
    version = str(prompts["bundle_version"][ours].iloc[-1])  # in order of time
    ours = ours & (prompts["bundle_version"] == version).to_numpy(dtype=np.bool_)
    # A canary that was withdrawn has an end, too: what came after it was another time, and in part its own subjects.
    while_it_ran = prompts["time"].between(prompts["time"][ours].min(), prompts["time"][ours].max())
    chosen_for = _chosen_for(log)
    weight = np.where(subject.notna() & while_it_ran & chosen_for, _stands_for(prompts["arm"], experiments), 0.0)
    ours, rest = ours & chosen_for, weight > 0
    weight[ours] = 1.0
    code = np.asarray(pd.factorize(subject)[0], dtype=np.int64)
    subjects = len(np.unique(code[ours]))
    found = Findings(version, int(ours.sum()), subjects)
    if found.decisions < canary.guard.min_decisions or min(subjects, len(np.unique(code[rest]))) < MIN_SUBJECTS:
        return found
    checks = _checks(log, canary, (ours, rest), code, weight)
    return Findings(version, found.decisions, subjects, tuple(check for check in checks if check is not None))


def _chosen_for(log: LogTable) -> Bools:
    """Whether a bundle had a say, bool[n]: not with one candidate alone, unless the log has no other model, nor in the
    order that an agent says.
    """
    several = log.eligible.sum(axis=1) >= min(2, len(log.models))
    ordered = log.decisions["agent"].notna() & (log.decisions["policy"] == "static")
    return np.asarray(several & ~ordered.to_numpy(dtype=np.bool_))


def _stands_for(arm: pd.Series[Any], experiments: Mapping[str, ExperimentEntry]) -> Floats:
    """How many calls each one outside of the canary stands for, float64[n].

    Of an experiment those of the arms that are as without it stand for all of it, the others for none: a baseline arm
    is no bundle's choice, and yet its subjects would be missing.
    """
    weight: Floats = np.where(arm.isna(), 1.0, 0.0)
    for experiment in experiments.values():
        plain = [one for one in experiment.arms if one == ArmEntry(one.name, one.share)]
        share = sum(one.share for one in plain)
        if share > 0:
            mine = arm.isin([f"{experiment.name}/{one.name}" for one in plain]).to_numpy(dtype=np.bool_)
            weight[mine] = sum(one.share for one in experiment.arms) / share
    return weight


def _checks(
    log: LogTable, canary: CanaryEntry, sides: tuple[Bools, Bools], subject: npt.NDArray[np.int64], weight: Floats
) -> list[Check | None]:
    level, guard = bonferroni(3), canary.guard

    def both(measure: Measure, values: Floats) -> tuple[Measured, Measured]:
        first, second = (measure(values[rows], subject[rows], weight[rows], level) for rows in sides)
        return first, second

    decisions = log.decisions
    tried = decisions["attempts"].to_numpy() > 0
    failed = np.where(tried, decisions["served"].isna().to_numpy(dtype=np.float64), np.nan)
    errors, quality = both(share, failed), both(share, log.labels.reward)
    cost = both(mean, decisions["total_cost_usd"].to_numpy(dtype=np.float64))
    return [
        _check("error_rate", errors, difference(*errors), guard.error_rate, worse=1.0),
        _check("quality", quality, difference(*quality), guard.quality, worse=-1.0),
        _check("cost", cost, _rise(*cost), guard.cost, worse=1.0),
    ]


def _check(
    name: str, sides: tuple[Measured, Measured], change: Measured, bound: float, *, worse: float
) -> Check | None:
    """None where too few were measured: little feedback yet, or both cost nothing."""
    if min(side.subjects for side in sides) < MIN_SUBJECTS or math.isnan(change.value):
        return None
    edge = change.low if worse > 0 else -change.high
    return Check(name, change, bound, bool(edge > bound))


def _rise(ours: Measured, rest: Measured) -> Measured:
    """By how much the canary's costs are above the rest's, as a share of these; infinite beside a rest that is free."""
    if rest.value == 0 and ours.low > 0:
        return replace(ours, value=math.inf, se=0.0)
    return saving(ours, rest).times(-1.0)
