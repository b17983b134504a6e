"""A policy on a log that another policy wrote → one report, or a refusal that says what the log lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.bundle import Bundle
from router_runtime.errors import NotSupported
from router_runtime.policy_settings import PolicySettings
from training.log_table import LogTable
from training.ope.compare import HEADLINE, compare
from training.ope.decisions import LoggedDecisions
from training.ope.estimators import ESTIMATORS, BanditLog, estimate
from training.ope.intervals import Estimate, of_a_share
from training.ope.prompt_features import prompt_features
from training.ope.replay import predicted_quality, replay
from training.ope.reward_model import assign_folds, crossfit_ridge
from training.ope.support import ALL, Support, SupportBounds, check_support, require_support
from training.served import served_bundle

Floats = npt.NDArray[np.float64]
QualityModel = Callable[[npt.NDArray[np.int64]], Floats]
"""Folds int64[n] → q̂ of quality float64[n, A], each fold predicted from the others."""
FOLDS = 5
LEVEL = 0.95


def evaluate_policy(
    log: LoggedDecisions,
    action_dist: Floats,
    settings: PolicySettings,
    *,
    bounds: SupportBounds | None = None,
    quality_model: QualityModel | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Quality, cost and utility of a policy with every estimator, beside what the logging policy earned.

    Args:
        log: The decisions.
        action_dist: π_e, float64[n, A].
        settings: Of the policy; utility is its trade-off · quality − (1 − trade-off) · cost / value of an answer.
        bounds: When the log is taken to support a claim.
        quality_model: The cross-fitted reward model of quality; a ridge by default.
        seed: Of the folds.

    Returns:
        JSON-ready: ``policy_value`` (quality, by estimator), ``logging_policy_value``, ``difference`` (paired, headline
        estimator), ``cost`` and ``utility`` (the same three; null where the log holds no cost), ``segments`` (paired
        differences of quality where supported), ``ess``, ``support``, ``label_rate``, ``n``, ``refused``.

    Raises:
        NotSupported: Where the log cannot support the claim; its ``details`` hold ``support`` and ``n``.
    """
    labelled = log.bandit(log.quality)
    support = check_support(action_dist, log.logging_dist, labelled, segments_of(log, action_dist), bounds)
    try:
        require_support(support, action_dist, log.logging_dist, labelled, bounds)
    except NotSupported as refusal:
        raise NotSupported(str(refusal), segment=refusal.segment, details=_support_json(log, support)) from None
    study = _Study(log, action_dist, quality_model, seed)
    worth = settings.trade_off * log.quality
    price = (1 - settings.trade_off) / settings.answer_value_usd
    quality = study.report(log.quality, log.predicted_quality, (0.0, 1.0))
    paid = np.isfinite(log.cost).any()
    expected = settings.trade_off * log.predicted_quality - price * log.predicted_cost
    return {
        **quality,
        "cost": study.report(log.cost, log.predicted_cost, (0.0, np.inf)) if paid else None,
        "utility": study.report(worth - price * log.cost, expected, (-np.inf, np.inf)) if paid else None,
        "segments": study.segments(support),
        "headline": HEADLINE,
        **_support_json(log, support),
        "ess": round(support[0].ess, 1),
        "refused": False,
    }


class _Study:
    """One policy on one log; features and folds are made once."""

    def __init__(
        self, log: LoggedDecisions, action_dist: Floats, quality_model: QualityModel | None, seed: int
    ) -> None:
        self._log, self._policy = log, action_dist
        self._features = prompt_features(log.features, seed=seed)
        self._fold = assign_folds(log.session, FOLDS, seed)
        self._learnt = None if quality_model is None else quality_model(self._fold)

    def report(self, reward: Floats, prior: Floats, bounds: tuple[float, float]) -> dict[str, Any]:
        """The value of ``reward`` [n] with every estimator, and the headline's paired difference."""
        bandit, q_hat = self._model(reward, prior, bounds)
        rated = reward is self._log.quality
        values = {name: estimate(name, self._policy, bandit, q_hat, LEVEL) for name in ESTIMATORS}
        if rated:
            values = {name: of_a_share(value, LEVEL) for name, value in values.items()}
        found = compare(self._policy, self._log.logging_dist, bandit, q_hat, level=LEVEL, share=rated)
        return {
            "policy_value": {name: as_json(value) for name, value in values.items()},
            "logging_policy_value": as_json(found.second),
            "difference": as_json(found.difference),
        }

    def segments(self, support: list[Support]) -> dict[str, Any]:
        """Paired differences of quality in each supported segment."""
        log = self._log
        bandit, q_hat = self._model(log.quality, log.predicted_quality, (0.0, 1.0))
        labels = segments_of(log, self._policy)
        found = {}
        for part in support:
            dimension, _, name = part.segment.partition("=")
            if part.segment == ALL or not part.supported:
                continue
            rows = labels[dimension] == name
            part_of = (self._policy[rows], log.logging_dist[rows], bandit.take(rows), q_hat[rows])
            found[part.segment] = as_json(compare(*part_of, level=LEVEL, share=True).difference)
        return found

    def _model(self, reward: Floats, prior: Floats, bounds: tuple[float, float]) -> tuple[BanditLog, Floats]:
        bandit = self._log.bandit(reward)
        if self._learnt is not None and reward is self._log.quality:
            return bandit, self._learnt
        known = prior if np.isfinite(prior).any() else None
        actions = len(self._log.models)
        return bandit, crossfit_ridge(self._features, bandit, self._fold, actions, prior=known, bounds=bounds)


def evaluate_bundle(
    bundle: Bundle,
    log: LogTable,
    settings: PolicySettings,
    *,
    bounds: SupportBounds | None = None,
    quality_model: QualityModel | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """What a bundle under ``settings`` would have earned on a log: :func:`evaluate_policy`, with where it comes from.

    Args:
        bundle: Opened.
        log: Read by :func:`training.log_table.load_log`.
        settings: How the policy chooses.
        bounds: When the log is taken to support a claim.
        quality_model: As there.
        seed: Of the folds.

    Raises:
        NotSupported: Where the log cannot support the claim, or keeps no requests.
    """
    served, decisions = served_bundle(bundle), log.require_requests().logged_decisions()
    labels = {model.name: float(model.details.get("labels", 0)) for model in bundle.manifest.models}
    evidence = np.array([labels.get(name, 0.0) for name in decisions.models])
    action_dist = replay(decisions, predicted_quality(served, decisions), settings, evidence)
    times = log.decisions["time"].to_numpy(dtype=np.float64)
    first, last = float(times.min()), float(times.max())
    origin = {
        "bundle_version": bundle.version,
        "policy": asdict(settings),
        "unknown_models": [name for name in decisions.models if name not in served.models],
        "counts": log.counts(),
        "judge_pairs": log.labels.judge.pairs,
        "window": [first, last],
        "trained_on_this_window": _overlaps(bundle.manifest.training_window, first, last),
    }
    try:
        report = evaluate_policy(
            decisions, action_dist, settings, bounds=bounds, quality_model=quality_model, seed=seed
        )
    except NotSupported as refusal:
        raise NotSupported(str(refusal), segment=refusal.segment, details={**refusal.details, **origin}) from None
    return report | origin


def _overlaps(window: Mapping[str, Any], first: float, last: float) -> bool | None:
    """Whether the bundle learnt from the time of the log, which flatters it; None where its manifest has no times."""
    start, end = window.get("from"), window.get("to")
    return None if start is None or end is None else bool(start <= last and end >= first)


def segments_of(log: LoggedDecisions, action_dist: Floats) -> dict[str, npt.NDArray[np.str_]]:
    """Labels by dimension: those of the log that tell decisions apart, and the model that the policy would choose."""
    favourite = np.array(log.models)[action_dist.argmax(axis=1)]
    return {**{name: labels for name, labels in log.segments.items() if len(set(labels)) > 1}, "model": favourite}


def as_json(found: Estimate) -> dict[str, float | int | None]:
    """``value``, ``se``, ``ci_low``, ``ci_high``, ``ess``, ``n``; null where a number is not finite."""
    numbers = asdict(found)
    numbers = {"value": numbers.pop("policy_value"), **numbers}
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}


def _support_json(log: LoggedDecisions, support: list[Support]) -> dict[str, Any]:
    labelled = np.isfinite(log.quality)
    rates: Mapping[str, float] = {
        name: round(float(labelled[log.action == a].mean()), 4)
        for a, name in enumerate(log.models)
        if (log.action == a).any()
    }
    return {
        "support": {part.segment: {k: v for k, v in asdict(part).items() if k != "segment"} for part in support},
        "label_rate": {"all": round(float(labelled.mean()), 4), "by_model": rates},
        "n": len(log.action),
    }


def report_text(report: Mapping[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"{report['n']:,} decisions, effective sample {report['ess']:,.0f}, {report['headline']} with 95 % intervals",
        "",
    ]
    for name, unit in (("quality", ""), ("cost", " USD"), ("utility", "")):
        part = report if name == "quality" else report[name]
        if part is None:
            lines.append(f"{name:8} unknown: the log holds no cost")
            continue
        ours, logged, gap = part["policy_value"][report["headline"]], part["logging_policy_value"], part["difference"]
        lines.append(f"{name:8} this policy {_figure(ours)}{unit}, logged {_figure(logged)}, difference {_figure(gap)}")
    if report.get("trained_on_this_window"):
        lines += ["", "note: the bundle learnt from this time, so its figures are flattering"]
    if report.get("unknown_models"):
        lines += ["", f"models that the bundle does not know: {', '.join(report['unknown_models'])}"]
    short = [name for name, part in report["support"].items() if not part["supported"]]
    if short:
        lines += ["", f"not supported, and so not reported: {', '.join(short)}"]
    return "\n".join(lines)


def _figure(found: Mapping[str, Any]) -> str:
    if found["ci_low"] is None:
        return f"{found['value']:.4g}"
    return f"{found['value']:.4g} ({found['ci_low']:.4g} to {found['ci_high']:.4g})"
