"""Experiments: who sees which arm, and what the arms show.

Assignment hashes the subject (a user or session) with the experiment's name, so that it is the same in every process
and on every day, independent between experiments, and needs no storage. The analysis takes one row for each subject,
never for each call: calls of one subject are not independent.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from router_runtime.errors import ConfigError
from router_runtime.options import Options
from router_runtime.registry import ArmEntry, CanaryEntry, ExperimentEntry, Registry

FloatArray = npt.NDArray[np.float64]
Numbers = Sequence[float] | FloatArray
CANARY = "canary"
"""Name of the canary's arm in decisions."""
_SAMPLE_RATIO_ALARM = 1e-3  # the usual threshold: alarms at 0.05 would cry wolf on every twentieth experiment


def assign(experiment: ExperimentEntry, subject: str) -> ArmEntry:
    """The arm of ``subject`` (a user or session), the same in every process.

    The position is the first 53 bits of SHA-256 over the experiment's name and the subject, as a number in [0, 1).
    """
    point = _position(f"{experiment.name}\0{subject}") * sum(arm.share for arm in experiment.arms)
    for arm in experiment.arms:
        point -= arm.share
        if point < 0:
            return arm
    return experiment.arms[-1]  # rounding of the shares' sum


def enroll(registry: Registry, options: Options, bundles: Container[str] = ()) -> Options:
    """``options`` as the canary or the arms of the running experiments change them; what the caller chose itself stays.

    The canary comes first, where its bundle is open. Else the first experiment whose tier and unit fit takes the call:
    arms of two experiments in one call could not be told apart. A call that names its model, or the order of models,
    leaves nothing to choose: it is in no arm, where it would only blur the comparison. Nor is one that may not go to
    the model of every arm, by its own list of models or its tier's: which calls take part must not hang on the arm.
    ``arm`` becomes ``"canary"`` or ``"experiment/arm"``, the exposure that the decision logs.

    Args:
        registry: Canary and experiments.
        options: Of the call.
        bundles: The arms whose own bundle is open.
    """
    if options.model != "auto" or options.order:
        return options
    if CANARY in bundles and registry.canary is not None and _in_canary(registry.canary, options):
        return options._replace(arm=CANARY)
    for experiment in registry.experiments.values():
        subject = options.user if experiment.unit == "user" else options.session
        if subject is None or (experiment.tiers is not None and options.tier not in experiment.tiers):
            continue
        if not all(_allowed(registry, options, arm.model) for arm in experiment.arms if arm.model is not None):
            continue
        arm = assign(experiment, subject)
        return options._replace(
            arm=f"{experiment.name}/{arm.name}",
            model=arm.model or "auto",
            strategy=options.strategy or arm.strategy,
            trade_off=arm.trade_off if options.trade_off is None else options.trade_off,
            quality_target=arm.quality_target if options.quality_target is None else options.quality_target,
        )
    return options


def _allowed(registry: Registry, options: Options, model: str) -> bool:
    """Whether the call may go to ``model``."""
    tier = registry.tiers.get(options.tier) if options.tier is not None else None
    if tier is not None and tier.models is not None and model not in tier.models:
        return False
    return options.models is None or any(registry.names.get(name) == model for name in options.models)


def _in_canary(canary: CanaryEntry, options: Options) -> bool:
    """Whether the call is the canary's; one without a user or session is not."""
    subject = options.user if canary.unit == "user" else options.session
    return subject is not None and _position(f"{CANARY}\0{subject}") < canary.share


def _position(text: str) -> float:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)  # 53 bits: a float holds them exactly, below 1


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Whether the arms got the subjects that they should.

    Args:
        observed: Subjects by arm.
        expected: Subjects by arm at the stated shares.
        p_value: Of the chi-squared test.
        alarm: True where the split is broken and no comparison should be believed.
    """

    observed: dict[str, int]
    expected: dict[str, float]
    p_value: float
    alarm: bool


def sample_ratio(experiment: ExperimentEntry, observed: Mapping[str, int]) -> SampleRatio:
    """Chi-squared test of the subjects seen in each arm against the shares (Fabijan et al., KDD 2019).

    An arm whose share is 0 is closed: a subject there breaks the split.

    Args:
        experiment: The arms and their shares.
        observed: Subjects by arm; a missing arm has none.

    Raises:
        ConfigError: Where ``observed`` names an arm that the experiment has not.
    """
    if unknown := set(observed) - {arm.name for arm in experiment.arms}:
        raise ConfigError(f"experiment {experiment.name!r} has no arm {sorted(unknown)[0]!r}")
    counts = {arm.name: int(observed.get(arm.name, 0)) for arm in experiment.arms}
    total, whole = sum(counts.values()), sum(arm.share for arm in experiment.arms)
    expected = {arm.name: total * arm.share / whole for arm in experiment.arms}
    open_arms = [arm.name for arm in experiment.arms if arm.share > 0]
    statistic = sum((counts[k] - expected[k]) ** 2 / expected[k] for k in open_arms) if total else 0.0
    p_value = chi2_tail(statistic, len(open_arms) - 1) if sum(counts[k] for k in open_arms) == total else 0.0
    return SampleRatio(counts, expected, p_value, p_value < _SAMPLE_RATIO_ALARM)


def chi2_tail(x: float, df: int) -> float:
    """P(chi-squared with ``df`` degrees of freedom ≥ x).

    Abramowitz & Stegun 26.4.4 and 26.4.5: for whole ``df`` the tail is a finite sum.
    """
    if x <= 0:
        return 1.0
    half = x / 2
    if df % 2 == 0:
        return sum(math.exp(i * math.log(half) - half - math.lgamma(i + 1)) for i in range(df // 2))
    steps = (math.exp((i - 0.5) * math.log(half) - half - math.lgamma(i + 0.5)) for i in range(1, (df + 1) // 2))
    return math.erfc(math.sqrt(half)) + sum(steps)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean or a difference with its interval.

    Args:
        value: The estimate.
        low, high: Bounds of the interval.
        subjects: Subjects that it rests on.
    """

    value: float
    low: float
    high: float
    subjects: int


def arm_mean(totals: Numbers, counts: Numbers, z: float = 1.96) -> Estimate:
    """Mean over the calls of one arm, with an interval that respects that calls of one subject belong together.

    Ratio estimator Σ totals / Σ counts, variance by the delta method over subjects: s²(total − ratio · count) / (n ·
    mean(count)²) (Deng et al., KDD 2018).

    Args:
        totals: Sum of the metric by subject, [n].
        counts: Calls by subject, [n], greater than 0.
        z: Half width in standard errors.

    Returns:
        NaN bounds where fewer than two subjects are there, NaN value where none is.
    """
    return _estimate(*_ratio(totals, counts), z)


def arm_share(totals: Numbers, counts: Numbers, z: float = 1.96) -> Estimate:
    """As :func:`arm_mean` of a metric in 0..1: no surer than :func:`share_variance`, bounds within 0..1."""
    found = _estimate(*_share(totals, counts), z)
    low, high = (end if math.isnan(end) else min(max(end, 0.0), 1.0) for end in (found.low, found.high))
    return Estimate(found.value, low, high, found.subjects)


def difference(arm: tuple[Numbers, Numbers], baseline: tuple[Numbers, Numbers], z: float = 1.96) -> Estimate:
    """The arm minus the baseline, each as (totals, counts) by subject; different subjects, so variances add."""
    return _apart(_ratio(*arm), _ratio(*baseline), z)


def saving(arm: tuple[Numbers, Numbers], baseline: tuple[Numbers, Numbers], z: float = 1.96) -> Estimate:
    """1 − arm / baseline, each as (totals, counts) by subject, at most 1; NaN where the baseline's mean is not above 0.

    By the delta method, the uncertainty of both sides counted: that of the baseline moves the share that is left.
    """
    ours, theirs = _ratio(*arm), _ratio(*baseline)
    if not theirs[0] > 0:
        return Estimate(math.nan, math.nan, math.nan, ours[2] + theirs[2])
    left = ours[0] / theirs[0]
    found = _estimate(1 - left, (ours[1] + left**2 * theirs[1]) / theirs[0] ** 2, ours[2] + theirs[2], z)
    return replace(found, high=found.high if math.isnan(found.high) else min(found.high, 1.0))


def share_difference(arm: tuple[Numbers, Numbers], baseline: tuple[Numbers, Numbers], z: float = 1.96) -> Estimate:
    """As :func:`difference` of a metric in 0..1, see :func:`share_variance`."""
    return _apart(_share(*arm), _share(*baseline), z)


def share_variance(totals: FloatArray, counts: FloatArray) -> float:
    """The least variance of a mean of values in 0..1: that with two good and two bad subjects added.

    Equal answers of a few subjects show no spread, and prove little all the same (Agresti and Coull 1998; for answers
    of 0 and 1 this is their p̃ (1 − p̃) / (n + 4)).

    Args:
        totals: Sum of the values by subject, [n], n ≥ 1.
        counts: Values by subject, [n], greater than 0.
    """
    n, scale = len(totals), float(counts.mean())
    centre = (float(totals.sum()) / scale + 2.0) / (n + 4.0)
    spread = (totals - centre * counts) / scale
    return float(spread @ spread + 2.0 * centre**2 + 2.0 * (1.0 - centre) ** 2) / (n + 4.0) ** 2


_Ratio = tuple[float, float, int]
"""Ratio, its variance, subjects."""


def _estimate(value: float, variance: float, subjects: int, z: float) -> Estimate:
    half = z * math.sqrt(variance)
    return Estimate(value, value - half, value + half, subjects)


def _apart(arm: _Ratio, baseline: _Ratio, z: float) -> Estimate:
    return _estimate(arm[0] - baseline[0], arm[1] + baseline[1], arm[2] + baseline[2], z)


def _share(totals: Numbers, counts: Numbers) -> _Ratio:
    ratio, variance, n = _ratio(totals, counts)
    if n < 2:
        return ratio, variance, n
    return ratio, max(variance, share_variance(np.asarray(totals, np.float64), np.asarray(counts, np.float64))), n


def _ratio(given: Numbers, of: Numbers) -> _Ratio:
    """(ratio, its variance, subjects); NaN variance of fewer than two."""
    totals, counts = np.asarray(given, np.float64), np.asarray(of, np.float64)
    n = len(totals)
    if n == 0:
        return math.nan, math.nan, 0
    ratio = float(totals.sum() / counts.sum())
    residual = totals - ratio * counts
    variance = float(residual.var(ddof=1) / (n * counts.mean() ** 2)) if n > 1 else math.nan
    return ratio, variance, n
