"""Means and differences of calls that belong together: one subject (a user or session) is one draw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from router_runtime.experiments import share_variance
from training.ope.intervals import degrees_of_freedom

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
LEVEL = 0.95


@dataclass(frozen=True)
class Measured:
    """A number with its uncertainty.

    Args:
        value: The estimate; NaN where there is nothing to estimate from.
        se: Its standard error; NaN with fewer than two subjects.
        df: Degrees of freedom of the interval.
        n: Calls that it rests on.
        subjects: Users or sessions that it rests on.
        level: Coverage that the interval claims, 0..1.
        least, most: What the number can be, which cuts the interval.
    """

    value: float
    se: float
    df: float
    n: int
    subjects: int
    level: float = LEVEL
    least: float = -np.inf
    most: float = np.inf

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return float(stats.t.ppf(0.5 + self.level / 2, self.df)) * self.se

    @property
    def low(self) -> float:
        """Lower end."""
        return max(self.value - self.half, self.least)

    @property
    def high(self) -> float:
        """Upper end."""
        return min(self.value + self.half, self.most)

    def covers(self, value: float) -> bool:
        """Whether ``value`` lies in the interval."""
        return self.low <= value <= self.high

    def times(self, factor: float) -> Measured:
        """In another unit."""
        ends = sorted((self.least * factor, self.most * factor))
        return replace(self, value=self.value * factor, se=self.se * abs(factor), least=ends[0], most=ends[1])

    def json(self) -> dict[str, Any]:
        """``value, low, high, n, subjects``; null where a number is not finite."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        found: dict[str, Any] = {name: x if np.isfinite(x) else None for name, x in numbers.items()}
        return found | {"n": self.n, "subjects": self.subjects}


def ratio(total: Floats, weight: Floats, subject: Ints, level: float = LEVEL) -> Measured:
    """Σ total / Σ weight, with the delta method over subjects (Deng et al., KDD 2018).

    Var = G / (G − 1) · Σ_g (Σ_{i∈g} (t_i − ratio · w_i))² / (Σ w)², a t quantile at the degrees of freedom that the
    spread of the subjects' sums allows (:func:`training.ope.intervals.degrees_of_freedom`).

    Args:
        total: Numerators of the calls, float64[n]; 0 where the weight is 0.
        weight: Denominators, float64[n], ≥ 0; calls of weight 0 count for nothing.
        subject: Who made the call, int64[n].
        level: Coverage of the interval.
    """
    used = weight > 0
    n, whole = int(used.sum()), float(weight.sum())
    if n == 0:
        return Measured(float("nan"), float("nan"), 1.0, 0, 0, level)
    value = float(total.sum()) / whole
    code, _ = pd.factorize(subject[used])  # by hashing: sorting a million ids takes ten times as long
    sums = _sums((total - value * weight)[used], code)
    groups = len(sums)
    if groups < 2:
        return Measured(value, float("nan"), 1.0, n, groups, level)
    se = float(np.sqrt(sums @ sums * groups / (groups - 1))) / whole
    return Measured(value, se, min(degrees_of_freedom(sums), groups - 1.0), n, groups, level)


def mean(values: Floats, subject: Ints, weight: Floats | None = None, level: float = LEVEL) -> Measured:
    """Weighted mean of the calls whose value is known (not NaN). (Arguments of :func:`ratio`.)"""
    return ratio(*_weighed(values, weight), subject, level)


def share(values: Floats, subject: Ints, weight: Floats | None = None, level: float = LEVEL) -> Measured:
    """As :func:`mean` of values in 0..1: never surer than :func:`router_runtime.experiments.share_variance` allows.

    Where nearly all answers are good, the few that a subject's mean rests on are often equal, and equal answers show no
    spread: an interval of no width would make a claim of every difference.
    """
    total, mass = _weighed(values, weight)
    found = ratio(total, mass, subject, level)
    if found.subjects < 2:
        return found
    used = mass > 0
    code, _ = pd.factorize(subject[used])
    se = float(np.sqrt(share_variance(_sums(total[used], code), _sums(mass[used], code))))
    if se > found.se:
        found = replace(found, se=se, df=found.subjects - 1.0)
    return replace(found, least=0.0, most=1.0)


def _weighed(values: Floats, weight: Floats | None) -> tuple[Floats, Floats]:
    """Value times weight, and weight, both 0 where the value is not known."""
    known = np.isfinite(values)
    mass = known.astype(np.float64) if weight is None else np.where(known, weight, 0.0)
    return np.where(known, values, 0.0) * mass, mass


def _sums(values: Floats, code: npt.NDArray[np.intp]) -> Floats:
    return np.asarray(np.bincount(code, weights=values), dtype=np.float64)


def difference(first: Measured, second: Measured) -> Measured:
    """First − second of different subjects: variances add (Welch 1947)."""
    se, df = _joined(first.se, first.df, second.se, second.df)
    n, subjects = first.n + second.n, first.subjects + second.subjects
    return Measured(first.value - second.value, se, df, n, subjects, first.level)


def saving(first: Measured, second: Measured) -> Measured:
    """1 − first / second of different subjects, by the delta method; NaN where the second is not above 0.

    At most 1: what is saved is part of what the second costs.
    """
    n, subjects = first.n + second.n, first.subjects + second.subjects
    if not second.value > 0:
        return Measured(float("nan"), float("nan"), 1.0, n, subjects, first.level)
    share = first.value / second.value
    se, df = _joined(first.se / second.value, first.df, share * second.se / second.value, second.df)
    return Measured(1 - share, se, df, n, subjects, first.level, most=1.0)


def _joined(se_a: float, df_a: float, se_b: float, df_b: float) -> tuple[float, float]:
    """Standard error of a difference, and its degrees of freedom (Satterthwaite 1946)."""
    a, b = se_a**2, se_b**2
    total = a + b
    df = total**2 / (a**2 / df_a + b**2 / df_b) if total > 0 else max(df_a, df_b)
    return float(np.sqrt(total)), float(df)


def bonferroni(tests: int, level: float = LEVEL) -> float:
    """The level of each of ``tests`` intervals that hold together at ``level``."""
    return 1 - (1 - level) / max(tests, 1)
