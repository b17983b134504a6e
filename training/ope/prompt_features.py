"""A few numbers per prompt for the reward model of off-policy evaluation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from router_runtime.features import HASH_SIZE
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
    rows = [features[row] for row in range(len(features))]
    sketch = np.array([signs[one.ids].sum(axis=0) / np.sqrt(max(len(one.ids), 1)) for one in rows])
    raw = np.column_stack([np.array([one.structural for one in rows]), sketch]).astype(np.float64)
    spread = raw.std(axis=0)
    kept = spread > 1e-9
    standard = (raw[:, kept] - raw[:, kept].mean(axis=0)) / spread[kept]
    _, vectors = np.linalg.eigh(standard.T @ standard)
    return np.asarray(standard @ vectors[:, ::-1][:, :COMPONENTS])
