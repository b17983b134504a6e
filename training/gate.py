"""The promotion gate: evidence → verdict, with every reason. Pure: the caller measures and promotes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from training.ope.intervals import Estimate

Priority = Literal["quality", "cost"]


@dataclass(frozen=True)
class GateRules:
    """What a challenger has to show.

    Args:
        priority: ``quality``: quality may fall by less than ``margin``, cost must not rise beyond ``tolerance``.
            ``cost``: the other way round, with both measured on their own scale.
        quality_margin: Largest fall in mean quality (0..1) that the interval must exclude. One that is worse by just so
            much passes 2.5 % of the time; below 2 points, so that one worse by 2 points passes less often than that.
        cost_margin: Largest relative rise in mean cost that the interval must exclude (0.02 = 2 %).
        strict_margin: The margin on the side that has no priority to give: quality where ``priority`` is ``cost``.
        segment_margin: A segment fails where its whole interval lies below minus this.
        min_segment_ess: Segments whose difference rests on less effective data are reported, not judged.
        max_ece: Largest expected calibration error.
        max_p99_ratio: Largest ratio of the challenger's decision p99 to the champion's, on the same machine.
        max_bundle_bytes: Largest bundle.
    """

    priority: Priority = "quality"
    quality_margin: float = 0.0175
    cost_margin: float = 0.02
    strict_margin: float = 0.005
    segment_margin: float = 0.0
    min_segment_ess: float = 50.0
    max_ece: float = 0.05
    max_p99_ratio: float = 1.25
    max_bundle_bytes: int = 64 * 2**20


@dataclass(frozen=True)
class Evidence:
    """What was measured of challenger against champion; None = not measured, which is a reason of its own.

    Args:
        quality: Paired difference of mean quality, challenger − champion.
        cost: Paired difference of mean cost relative to the champion's mean cost; infinite beside one that is free.
        segments: Paired difference of quality by segment, at a joint level.
        ece: The challenger's expected calibration error.
        p99_ratio: Decision p99, challenger over champion, on this machine; over the deadline without a champion.
        bundle_bytes: Size of the challenger's bundle.
        too_few: The sentence of a log that hardly tells the two apart, or None.
        refused: The sentence of a log that supports no claim, or None.
    """

    quality: Estimate | None = None
    cost: Estimate | None = None
    segments: Mapping[str, Estimate] = field(default_factory=dict)
    ece: float | None = None
    p99_ratio: float | None = None
    bundle_bytes: int | None = None
    too_few: str | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Reason:
    """One check of the gate."""

    check: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Verdict:
    """Whether to promote, and every reason, failed ones first."""

    promote: bool
    reasons: tuple[Reason, ...]

    @property
    def summary(self) -> str:
        """One line: the failed checks, or that all passed."""
        failed = [f"{reason.check}: {reason.detail}" for reason in self.reasons if not reason.passed]
        return "; ".join(failed) or f"all {len(self.reasons)} checks passed"


def judge(evidence: Evidence, rules: GateRules | None = None) -> Verdict:
    """Promote only what the evidence proves.

    A challenger passes where the lower end of its quality interval is above minus the margin and the upper end of its
    cost interval below the tolerance, no judged segment is worse for certain, calibration, speed and size are in
    bounds, and enough answers tell the two apart for an interval to mean anything. With a two-sided 95 % interval, one
    that is worse by just the margin passes 2.5 % of the time.
    """
    rules = rules or GateRules()
    if evidence.refused is not None:
        return Verdict(False, (Reason("support", False, evidence.refused),))
    reasons = [
        _quality(evidence.quality, rules),
        _cost(evidence.cost, rules),
        *_segments(evidence.segments, rules),
        _bound("calibration", evidence.ece, rules.max_ece, "expected calibration error", ".3g"),
        _bound(
            "speed",
            evidence.p99_ratio,
            rules.max_p99_ratio,
            "decision p99 over the champion's or deadline",
            ".3g",
        ),
        _bound("size", evidence.bundle_bytes, rules.max_bundle_bytes, "bytes of the bundle", ","),
    ]
    if evidence.too_few is not None:
        reasons.append(Reason("sample", False, evidence.too_few))
    ordered = sorted(reasons, key=lambda reason: reason.passed)
    return Verdict(all(reason.passed for reason in reasons), tuple(ordered))


def _quality(gap: Estimate | None, rules: GateRules) -> Reason:
    margin = rules.quality_margin if rules.priority == "quality" else rules.strict_margin
    if gap is None:
        return Reason("quality", False, "the difference was not measured")
    detail = f"difference {gap.policy_value:+.4f} ({gap.ci_low:+.4f} to {gap.ci_high:+.4f}), may fall by {margin:g}"
    return Reason("quality", gap.ci_low > -margin, detail)


def _cost(gap: Estimate | None, rules: GateRules) -> Reason:
    margin = rules.cost_margin if rules.priority == "cost" else rules.strict_margin
    if gap is None:
        return Reason("cost", False, "the difference was not measured")
    if not math.isfinite(gap.policy_value):
        return Reason(
            "cost", False, "what the other side chooses costs nothing, so any cost is a rise beyond all bounds"
        )
    span = f"({gap.ci_low:+.1%} to {gap.ci_high:+.1%})"
    detail = f"relative difference {gap.policy_value:+.1%} {span}, may rise by {margin:.1%}"
    return Reason("cost", gap.ci_high < margin or gap.ci_high == gap.policy_value == 0, detail)


def _segments(segments: Mapping[str, Estimate], rules: GateRules) -> list[Reason]:
    reasons = []
    for name, gap in segments.items():
        detail = f"difference {gap.policy_value:+.4f} ({gap.ci_low:+.4f} to {gap.ci_high:+.4f})"
        if gap.ess < rules.min_segment_ess:
            reasons.append(Reason(name, True, f"{detail}; effective sample {gap.ess:.0f} is too small to judge"))
        else:
            reasons.append(Reason(name, gap.ci_high >= -rules.segment_margin, detail))
    return reasons


def _bound(check: str, value: float | None, bound: float, what: str, form: str) -> Reason:
    if value is None:
        return Reason(check, False, f"{what} was not measured")
    return Reason(check, value <= bound, f"{what} {value:{form}}, at most {bound:{form}}")
