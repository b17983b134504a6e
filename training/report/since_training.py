"""How far the window's requests have moved since the bundle learnt, where its manifest tells what it learnt from."""

from __future__ import annotations

from typing import Any

import numpy as np

from router_runtime.features import STRUCTURAL
from router_runtime.manifest import Manifest
from training.report.drift import MODERATE, SHOWN, Floats, stability, verdict_of
from training.report.reading import ReportLog

_FEWEST = 100
"""Prompts below which a share above a median says nothing."""
_SIGMAS = 3.0


def since_training(log: ReportLog, manifest: Manifest | None) -> dict[str, Any]:
    """The whole window against what the bundle was trained on, JSON-ready.

    Args:
        log: Of the window.
        manifest: Of the bundle; None = none was named.

    Returns:
        ``labels`` and ``features`` in the shape of :func:`training.report.drift.drift`, each None where it cannot be
        said, with the reason in ``lacking``.
    """
    lacking: list[str] = []
    if manifest is None:
        return {"labels": None, "features": None, "lacking": ["no bundle was named (--bundle DIR)"]}
    labels, features = _labels(log, manifest), _features(log, manifest)
    if labels is None:
        lacking.append("the bundle's manifest does not say how its training labels were shared out")
    if features is None:
        lacking.append("the manifest has no medians of the prompts' form, or the log too few prompts or features")
    return {"labels": labels, "features": features, "lacking": lacking}


def _labels(log: ReportLog, manifest: Manifest) -> dict[str, Any] | None:
    """PSI of the labels' shares, and the labels that moved most."""
    window = manifest.training_window
    shares, prompts = window.get("label_shares"), window.get("prompts")
    if not isinstance(shares, dict) or not shares or not isinstance(prompts, int):
        return None
    names = sorted({*shares, *log.label_names})
    now = dict(zip(log.label_names, np.bincount(log.label, minlength=len(log.label_names)).tolist(), strict=True))
    before = np.array([float(shares.get(name, 0.0)) * prompts for name in names])
    after = np.array([float(now.get(name, 0)) for name in names])
    index, noise = stability(before, after)
    first, second = (side / max(side.sum(), 1.0) for side in (before, after))
    order = np.argsort(-np.abs(second - first), kind="stable")[:5]
    moved = [
        {"label": names[i], "first": round(float(first[i]), 4), "second": round(float(second[i]), 4)} for i in order
    ]
    return {"psi": round(index, 4), "noise": round(noise, 4), "verdict": verdict_of(index, noise), "moved": moved}


def _features(log: ReportLog, manifest: Manifest) -> dict[str, Any] | None:
    """Structural numbers that lie beyond their training median more often than a median allows.

    Without drift at most half of the prompts lie above it and at most half below; many numbers are mostly 0, so that
    less than half on a side says nothing.
    """
    medians, (_, numbers) = np.asarray(manifest.structural_medians), log.prompts
    if not medians.any() or len(numbers) < _FEWEST:
        return None
    found = []
    for place, name in enumerate(STRUCTURAL):
        side, excess = _beyond(numbers[:, place].astype(np.float64), float(np.float32(medians[place])))
        if excess > max(MODERATE, _SIGMAS * 0.5 / np.sqrt(len(numbers))):
            median = round(float(np.median(numbers[:, place])), 4)
            entry = {"name": name, "side": side, "share": round(0.5 + excess, 4)}
            found.append({**entry, "first": round(float(medians[place]), 4), "second": median})
    found.sort(key=lambda one: -float(str(one["share"])))
    return {"prompts": len(numbers), "of": len(STRUCTURAL), "moved": len(found), "shifts": found[:SHOWN]}


def _beyond(values: Floats, median: float) -> tuple[str, float]:
    """The side of the median on which more prompts lie than half, and by how much (below 0 where on neither)."""
    tolerance = 1e-4 * max(1.0, abs(median))
    above, below = float((values > median + tolerance).mean()), float((values < median - tolerance).mean())
    return ("above", above - 0.5) if above >= below else ("below", below - 0.5)
