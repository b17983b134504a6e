"""All that the report says, as one JSON-ready document; the pages only show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.manifest import Manifest
from router_runtime.registry import Registry
from training.report import arms
from training.report.clustered import mean, share
from training.report.drift import drift
from training.report.estimate import baseline_model, estimated_baseline
from training.report.reading import ReportLog
from training.report.reliability import calibration
from training.report.since_training import since_training
from training.report.verdict import verdict
from training.report.weak_spots import as_json, proposed_weights, snippet, study_pairs, weak_spots

Bools = npt.NDArray[np.bool_]
MAX_SPOTS = 5


@dataclass(frozen=True)
class Question:
    """What the report is asked.

    Args:
        since, until: Decisions with since ≤ time < until, UTC seconds; None = those of the log.
        baseline: Model to compare with where no baseline arm ran; None = the dearest one.
        source: Where the log came from, for the title; no credentials.
    """

    since: float | None = None
    until: float | None = None
    baseline: str | None = None
    source: str = "log"


def gather(
    log: ReportLog, question: Question, registry: Registry | None = None, manifest: Manifest | None = None
) -> dict[str, Any]:
    """The facts of a log.

    Args:
        log: Read by :func:`training.report.reading.read_report_log`.
        question: What is asked.
        registry: Names the baseline arms and the present weights of labels; None = the log alone.
        manifest: Of the bundle whose training the window is compared with, too.

    Raises:
        ConfigError: Where the baseline asked for is no model of the log.
    """
    holdout = arms.find_holdout(log, registry)
    dealt = log if holdout is None else holdout.dealt(log)
    short = arms.shortfall(dealt, holdout)
    routed = np.ones(len(log), dtype=np.bool_) if holdout is None else holdout.rows(log)[0]
    window = _window(log, question)
    facts: dict[str, Any] = {
        "title": f"Routing report, {question.source}",
        "window": window,
        "baseline": _baseline(log, holdout, short, question, registry),
        "comparison": None if holdout is None or short else arms.compare_arms(dealt, holdout),
        "labels": [] if holdout is None or short else arms.compare_labels(dealt, holdout),
        "days": arms.by_day(dealt, holdout),
        **_by_model(log, routed, registry),
        "drift": drift(log, routed) | {"training": since_training(log, manifest)},
        "calibration": calibration(log, routed, float(window["until"])),
        "operations": _operations(log),
        "health": _health(log),
    }
    return {"verdict": verdict(facts), **facts}


def _window(log: ReportLog, question: Question) -> dict[str, Any]:
    time = log.column("time")
    since = float(time[0]) if question.since is None else question.since
    until = float(time[-1]) + 1.0 if question.until is None else question.until
    days = round((min(until, float(time[-1]) + 1.0) - max(since, float(time[0]))) / 86_400, 2)
    return {"since": since, "until": until, "days": days, "decisions": len(log)}


def _baseline(
    log: ReportLog,
    holdout: arms.Holdout | None,
    short: dict[str, Any] | None,
    question: Question,
    registry: Registry | None,
) -> dict[str, Any]:
    """The arm that is compared with, or why there is none and what can be said in its place."""
    found: dict[str, Any] = {"refused": short, "arm": None, "alarms": []}
    if holdout is not None:
        outside = int((~np.logical_or(*holdout.rows(log))).sum())
        found |= {
            "experiment": holdout.experiment,
            "arm": holdout.baseline,
            "routed_arm": holdout.routed,
            "model": holdout.model,
            "shares": holdout.shares,
            "outside": outside,
            "alarms": arms.split_alarm(holdout.dealt(log), holdout, registry),
        }
    if short is not None:
        model = holdout.model if holdout is not None and question.baseline is None else question.baseline
        found["estimate"] = estimated_baseline(log, baseline_model(log, model))
    return found


def _by_model(log: ReportLog, routed: Bools, registry: Registry | None) -> dict[str, Any]:
    """Share and quality by model and label, and the weak spots among them with proposals."""
    pairs = study_pairs(log, routed)
    spots = []
    for pair in weak_spots(pairs)[:MAX_SPOTS]:
        now = {} if registry is None else dict(registry.labels.get(pair.label, {}))
        proposed = proposed_weights(pair, now)
        advice = {"proposed": proposed, "now": now, "yaml": snippet(pair.label, proposed)}
        spots.append({**as_json(pair), **advice})
    models: list[dict[str, Any]] = []
    answered = int((routed & (log.model >= 0)).sum())
    for index, name in enumerate(log.models):
        rows = routed & (log.model == index)
        if not rows.any():
            continue
        cost, quality = log.column("cost_usd")[rows], log.reward[rows]
        models.append(
            {
                "model": name,
                "share": round(float(rows.sum() / answered), 4),
                "quality": share(quality, log.subject[rows]).json(),
                "cost_per_1000": mean(cost, log.subject[rows]).times(1000).json(),
                "spent_usd": round(float(np.nansum(cost)), 6),
            }
        )
    models.sort(key=lambda one: -one["share"])
    return {"models": models, "pairs": [as_json(pair) for pair in pairs], "weak_spots": spots}


def _operations(log: ReportLog) -> dict[str, Any]:
    called = log.column("attempts") > 0
    served, chosen = log.model, log.action
    calls = log.calls.astype(object).where(log.calls.notna(), None).to_dict("records")
    errors = log.errors.astype(object).where(log.errors.notna(), None).to_dict("records")
    return {
        "called": int(called.sum()),
        "fallbacks": int((called & (served >= 0) & (served != chosen)).sum()),
        "unanswered": int((called & (served < 0)).sum()),
        "calls": calls,
        "errors": errors,
    }


def _health(log: ReportLog) -> dict[str, Any]:
    """Rows seen, joined, labelled, used; what was dropped and why; where feedback is missing."""
    return {
        "events": dict(log.kinds),
        "rows": log.report.counts(),
        "labels": dict(log.labels.counts),
        "sources": {name: int(np.isfinite(values).sum()) for name, values in sorted(log.by_source.items())},
        "label_rate": round(float(np.isfinite(log.reward).mean()), 4),
        "missing_by_model": {name: round(share, 4) for name, share in log.labels.missing.items()},
        "judge_pairs": log.labels.judge.pairs,
        "without_user_or_session": int((~log.frame["has_subject"].to_numpy(dtype=np.bool_)).sum()),
        "without_prediction": int((~np.isfinite(log.predicted_quality).any(axis=1)).sum()),
        "without_attempt": int((log.column("attempts") == 0).sum()),
        "without_cost": int(((log.model >= 0) & ~np.isfinite(log.column("cost"))).sum()),
    }
