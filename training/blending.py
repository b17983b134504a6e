"""How much of the linear text scores and of the domain table to believe, by held-out prompts of the fit itself.

A choice needs differences between models, and the best models differ least. Squared error is ruled by the large
differences of weak models (what was tried stands in training/README.md), so the settings are chosen by what they are
for: the quality of the models that they would choose. Prices stay outside: a sweep of handicaps in proportion to the
models' mean qualities stands for them, from none (quality alone) to one that makes all models equally good on average.
Few prompts cannot tell good settings apart, so none is picked: they are averaged, each by how sure its loss is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from training.labels_matrix import Floats, Targets

WEIGHTS = (0.0, 0.25, 0.5, 0.7, 0.85)
"""Never the table alone: of a model that the bundle does not know, only the text tells how hard a prompt is for it."""
SPREADS = (0.5, 0.75, 1.0)
HANDICAPS = (0.0, 0.25, 0.5, 0.75, 1.0)
MIN_COMPARED = 50
LEAST_WEIGHT = 0.7
"""Squared error likes the smooth text scores more than choices do, so it may only choose from here on."""


@dataclass(frozen=True)
class Blend:
    """A prediction = means + shared + spread · (weight · table + (1 − weight) · text − means − shared).

    Args:
        weight: Of the domain table beside the text scores, 0..1.
        spread: How far differences between models are trusted, 0..1; what a prompt's models have in common always is.
    """

    weight: float
    spread: float


def narrowed(deviations: Floats, spread: float) -> Floats:
    """Deviations [..., M] whose differences between models are scaled by ``spread``; their mean stays."""
    shared = deviations.mean(axis=-1, keepdims=True)
    return np.asarray(shared + np.float32(spread) * (deviations - shared), dtype=np.float32)


def choose_blend(text: Floats, strength: Floats, means: Floats, targets: Targets) -> Blend:
    """The mean of all settings on held-out prompts; where prompts have one label each, by their error.

    A setting that is worse than the best one by z standard errors of the difference counts exp(−z) as much. Differences
    between models are linear in what the table and the text each get, so the means of these are the mean's blend.

    Args:
        text: Held-out text scores [n, M].
        strength: Held-out mean quality of each model in the domains that a prompt may belong to [n, M].
        means: Mean quality of each model on the prompts that the scores were fitted on [n, M].
        targets: The outcomes.
    """
    several = targets.labelled.sum(axis=1) > 1
    compared = bool(several.sum() >= MIN_COMPARED)
    weights = WEIGHTS if compared else [weight for weight in WEIGHTS if weight >= LEAST_WEIGHT]
    spreads = SPREADS if compared else (1.0,)
    offered = [Blend(*setting) for setting in product(weights, spreads)]
    value = _chosen if compared else _negative_error
    rows = np.flatnonzero(several if compared else targets.labelled.any(axis=1))
    part, start = targets.take(rows), means[rows]
    values = np.array([value(_predicted(one, text[rows], strength[rows], start), start, part) for one in offered])
    trust = _trust(values)
    table = sum(share * one.spread * one.weight for share, one in zip(trust, offered, strict=True))
    whole = sum(share * one.spread for share, one in zip(trust, offered, strict=True))
    return Blend(weight=float(table / whole), spread=float(whole))


def _trust(values: Floats) -> npt.NDArray[np.float64]:
    """Weights [settings] that sum to 1, by the values [settings, n] that each has on the same prompts."""
    loss = values[int(values.mean(axis=1).argmax())] - values
    doubt = loss.std(axis=1, dtype=np.float64) / np.sqrt(values.shape[1])
    found = np.exp(-loss.mean(axis=1, dtype=np.float64) / np.maximum(doubt, 1e-12))
    return np.asarray(found / found.sum())


def _predicted(blend: Blend, text: Floats, strength: Floats, means: Floats) -> Floats:
    blended = blend.weight * strength + (1.0 - blend.weight) * text
    return means + narrowed(blended - means, blend.spread)


def _chosen(predicted: Floats, means: Floats, targets: Targets) -> Floats:
    """Quality less handicap of the labelled model that is predicted best, averaged over handicaps [n]."""
    place, value = np.arange(len(predicted)), np.zeros(len(predicted), dtype=np.float32)
    for handicap in HANDICAPS:
        cost = handicap * means
        chosen = np.where(targets.labelled, predicted - cost, -np.inf).argmax(axis=1)
        value += targets.quality[place, chosen] - cost[place, chosen]
    return value * targets.weight / np.float32(len(HANDICAPS))


def _negative_error(predicted: Floats, means: Floats, targets: Targets) -> Floats:  # noqa: ARG001 -- as _chosen
    """Squared error of the labels of each prompt, below zero [n]."""
    error = np.where(targets.labelled, targets.quality - predicted, 0.0)
    return np.asarray(-(error**2).sum(axis=1) * targets.weight, dtype=np.float32)
