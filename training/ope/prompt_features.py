"""A few numbers per prompt for the reward model of off-policy evaluation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from router_runtime.features import HASH_SIZE, STRUCTURAL
from training.feature_matrix import RepeatedFeatures
from training.ope.decisions import FeatureRows

Floats = npt.NDArray[np.float64]
SKETCH = 24
COMPONENTS = 32


def prompt_features(features: FeatureRows, *, seed: int = 0) -> Floats:
    """Principal components of structural numbers and a random sketch of the hashed words, float64[n, ≤ 32].

    Nothing is fitted to outcomes, so no fold leaks into another. The sketch is a sparse ±1 projection of the ids
    (Achlioptas 2003), divided by the square root of their number. Components stand in order of
    variance; a ridge leaves the small ones alone.

    Args:
        features: Of the requests.
        seed: Of the projection.
    """
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 0.0, 1.0], dtype=np.float32), (HASH_SIZE, SKETCH))
    raw = _numbers(features, signs)
    spread = raw.std(axis=0)
    kept = spread > 1e-9
    standard = (raw[:, kept] - raw[:, kept].mean(axis=0)) / spread[kept]
    _, vectors = np.linalg.eigh(standard.T @ standard)
    return np.asarray(standard @ vectors[:, ::-1][:, :COMPONENTS])


def _numbers(features: FeatureRows, signs: npt.NDArray[np.float32]) -> Floats:
    """Structural numbers and sketch of each request, float64[n, S + SKETCH]; one that comes again is read once."""
    if isinstance(features, RepeatedFeatures):
        return _numbers(features.distinct, signs)[features.code]
    out = np.empty((len(features), len(STRUCTURAL) + SKETCH))
    for row in range(len(features)):
        one = features[row]
        out[row, : len(STRUCTURAL)] = one.structural
        out[row, len(STRUCTURAL) :] = signs[one.ids].sum(axis=0) / np.sqrt(max(len(one.ids), 1))
    return out
