"""Judge scores → probabilities of a real good label, learnt from the few answers that have both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

EDGE = 0.02
"""Scores are kept this far from 0 and 1, where the logit has no value."""
SLOPE_SD, OFFSET_SD, MODEL_SD = 0.5, 2.0, 0.5
_STEPS = 50


@dataclass(frozen=True, eq=False)
class JudgeCalibration:
    """P(good | score, model) = σ(slope · logit(score) + offset + offset of the model).

    Args:
        slope: 1 for a judge whose scores need no stretching.
        offset: Below 0 for a judge that is too kind.
        by_model: float64[M]: below 0 where the judge favours a model, as it does its own family.
        pairs: Number of answers with both a score and a real label.
    """

    slope: float
    offset: float
    by_model: Floats
    pairs: int

    def apply(self, score: Floats, model: Ints) -> Floats:
        """Calibrated probabilities, float64[n].

        Args:
            score: Judge scores 0..1, float64[n].
            model: Index of the model that answered, int64[n].
        """
        return _sigmoid(self.slope * _logit(score) + self.offset + self.by_model[model])


def fit_judge(score: Floats, real: Floats, model: Ints, models: int) -> JudgeCalibration:
    """Fits the calibration on answers with both labels; with no pair it is the identity.

    Platt's (1999) logistic fit with an offset for each model and normal priors (slope 1 ± 0.5, offset 0 ± 2, models
    0 ± 0.5), so that few pairs move it little and many decide. Maximum a posteriori by Newton's method.

    Args:
        score: Judge scores 0..1, float64[m].
        real: Real labels 0..1, graded or not, float64[m].
        model: Index of the model that answered, int64[m].
        models: M.
    """
    design = np.zeros((len(score), 2 + models))
    design[:, 0], design[:, 1] = _logit(score), 1.0
    design[np.arange(len(score)), 2 + model] = 1.0
    prior = np.r_[1.0, np.zeros(1 + models)]
    precision = np.r_[SLOPE_SD**-2, OFFSET_SD**-2, np.full(models, MODEL_SD**-2)]
    coef = prior.copy()
    for _ in range(_STEPS):
        predicted = _sigmoid(design @ coef)
        gradient = design.T @ (real - predicted) - precision * (coef - prior)
        curvature = (design * (predicted * (1 - predicted))[:, None]).T @ design + np.diag(precision)
        step = np.linalg.solve(curvature, gradient)
        coef = coef + step * min(1.0, 1.0 / float(np.abs(step).max() + 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return JudgeCalibration(float(coef[0]), float(coef[1]), coef[2:], len(score))


def rectified(calibrated: Floats, real: Floats, model: Ints, models: int) -> Floats:
    """Labels whose mean is that of the real ones: g + (L / P(L)) (r − g), float64[n], not confined to 0..1.

    Prediction-powered inference (Angelopoulos et al. 2023): the calibrated score g carries the precision, the few real
    labels the truth, so that an interval from these labels covers although g is wrong. P(L), the chance of a real
    label, is taken to depend on the model alone. For evaluation, not for training.

    Args:
        calibrated: g, float64[n].
        real: Real labels, NaN where there is none, float64[n].
        model: Index of the model that answered, int64[n].
        models: M.
    """
    has = np.isfinite(real)
    if not has.any():
        return calibrated
    seen = np.bincount(model, minlength=models)
    share = (np.bincount(model[has], minlength=models) + has.mean()) / (seen + 1)
    gap = np.where(has, real - calibrated, 0.0)
    return np.asarray(calibrated + gap / share[model])


def _logit(score: Floats) -> Floats:
    kept = np.clip(score, EDGE, 1 - EDGE)
    return np.asarray(np.log(kept / (1 - kept)))


def _sigmoid(value: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -30, 30))))
