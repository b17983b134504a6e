"""The canary's guard: its calls against the rest of the traffic, and its withdrawal where it is worse for certain.

A withdrawn bundle is disabled under its version, so that every router that watches the state (or shares it) stops
sending it traffic within a second, whatever the registry says; another bundle in the same place starts afresh.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from router_runtime.experiments import CANARY
from router_runtime.registry import CanaryEntry
from training.log_table import LogTable
from training.report.clustered import Measured, bonferroni, difference, mean, saving, share

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Measure = Callable[..., Measured]
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


def examine(log: LogTable, canary: CanaryEntry) -> Findings:
    """Compares the newest canary with the traffic of the same time that could have been its own.

    Calls are clustered by the unit of assignment; the three intervals hold together at 95 %.

    Args:
        log: A window of the log.
        canary: Unit and guard.
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
    rest = (prompts["arm"].isna() & subject.notna() & while_it_ran).to_numpy(dtype=np.bool_)
    code = np.asarray(pd.factorize(subject)[0], dtype=np.int64)
    subjects = len(np.unique(code[ours]))
    found = Findings(version, int(ours.sum()), subjects)
    if found.decisions < canary.guard.min_decisions or min(subjects, len(np.unique(code[rest]))) < MIN_SUBJECTS:
        return found
    checks = _checks(log, canary, ours, rest, code)
    return Findings(version, found.decisions, subjects, tuple(check for check in checks if check is not None))


def _checks(
    log: LogTable, canary: CanaryEntry, ours: Bools, rest: Bools, subject: npt.NDArray[np.int64]
) -> list[Check | None]:
    level, guard = bonferroni(3), canary.guard

    def both(measure: Measure, values: Floats) -> tuple[Measured, Measured]:
        first, second = (measure(values[rows], subject[rows], level=level) for rows in (ours, rest))
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
