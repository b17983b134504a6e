"""What a fitted router is made of: the arrays and the booster that :mod:`training.export` turns into one graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.errors import ConfigError
from router_runtime.features import HASH_SIZE, STRUCTURAL

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TextModel:
    """Linear scores of a prompt: ``[Σ weights[ids] · scale / sqrt(n + 1), structural, embedding] → K`` scores.

    The sums are of small integers, hence exact: their order cannot change a prediction.

    Args:
        weights: int8 [HASH_SIZE, R], see :func:`quantise`.
        scale: float32 [R], what one unit of each column is worth.
        projection: float32 [R, K], or None for the identity (then R is K).
        dense: float32 [S + E, K], weights of the structural numbers and of the encoder's vector, where there is one; a
            standardisation is folded into it and ``bias``.
        bias: float32 [K].
    """

    weights: npt.NDArray[np.int8]
    scale: Floats
    projection: Floats | None
    dense: Floats
    bias: Floats

    def matrix(self) -> Floats:
        """The weights [R + S + E, K] of the summed numbers and the dense ones together."""
        projection = np.eye(len(self.scale), dtype=np.float32) if self.projection is None else self.projection
        return np.concatenate((self.scale[:, None] * projection, self.dense)).astype(np.float32)


@dataclass(frozen=True)
class GraphParts:
    """A fitted router. M models, D domains, K text scores, E extra columns.

    The text scores stand in this order: the logit of each model (M), the shared difficulty logit (own score of an
    unknown model), the domain logits (D), the log of the output tokens, then any others.

    Args:
        models: Names of the known models.
        domains: Names of the domains, at least one.
        text: The linear text model.
        quality_table: float32 [M, 1 + D], mean quality of each model, and in each domain, 0..1.
        extra: float32 [M + 1, E], learnt columns for the trees; the last row is for unknown models.
        unknown: Text score of an unknown model = difficulty + unknown[0] · prior + unknown[1].
        booster: LightGBM booster on the rows of :func:`row_names`, or None for the linear scores alone.
        own_weight: The logit is the trees' raw score + own_weight · own score.
        calibration: float32 [M + 1, 2], P(good) = sigmoid(a · logit + b).
        tokens: float32 [M + 1, 1 + D], output tokens = exp(tokens[0] · token score) · Σ_d P(d) · tokens[1 + d].
        latency: float32 [M + 1, 2], ms = a + b · output tokens; None where no latency was logged.
        input_scale: float64 [M], prompt tokens that the provider counts for each that the runtime estimates; None = 1.
            The graph has no part in it.
        blend: None where a model's text score is its own score, a logit. Else text scores are qualities, 0..1, and own
            score = logit(blend · strength + (1 − blend) · text score), strength being the model's mean quality in the
            domains that the prompt may belong to.
    """

    models: tuple[str, ...]
    domains: tuple[str, ...]
    text: TextModel
    quality_table: Floats
    extra: Floats
    unknown: tuple[float, float]
    booster: Any | None
    own_weight: float
    calibration: Floats
    tokens: Floats
    latency: Floats | None = None
    input_scale: npt.NDArray[np.float64] | None = None
    blend: float | None = None

    @property
    def n_scores(self) -> int:
        """K."""
        return len(self.text.bias)

    @property
    def dims(self) -> int:
        """Length of the encoder's vectors, 0 = none."""
        return len(self.text.dense) - len(STRUCTURAL)


def quantise(weights: npt.NDArray[np.floating[Any]]) -> tuple[npt.NDArray[np.int8], Floats]:
    """Rounds each column to 255 steps.

    Args:
        weights: float [H, R].

    Returns:
        int8 [H, R] and float32 scale [R], so that weights ≈ int8 · scale.
    """
    scale = np.maximum(np.abs(weights).max(axis=0) / 127.0, 1e-12).astype(np.float32)
    return np.rint(weights / scale).clip(-127, 127).astype(np.int8), scale


def row_names(parts: GraphParts) -> list[str]:
    """Names of the columns of the candidate rows that the booster reads, in order."""
    n_more = parts.n_scores - len(parts.models) - len(parts.domains) - 2
    return [
        *STRUCTURAL,
        "difficulty",
        *(f"domain_logit_{number}" for number in range(len(parts.domains))),
        "token_score",
        *(f"score_{number}" for number in range(n_more)),
        *(f"extra_{number}" for number in range(parts.extra.shape[1])),
        "own",
        "prior",
        "strength",
    ]


def check_parts(parts: GraphParts) -> None:
    """Checks shapes and finiteness.

    Raises:
        ConfigError: Naming the first array that does not fit the others.
    """
    m, d, s, e = len(parts.models), len(parts.domains), len(STRUCTURAL), parts.extra.shape[1]
    r, k = len(parts.text.scale), parts.n_scores
    if d < 1 or k < m + d + 2:
        raise ConfigError(f"{k} text scores are too few for {m} models, {d} domains, difficulty and tokens")
    projection = parts.text.projection
    wanted = {
        "text.weights": (parts.text.weights, (HASH_SIZE, r)),
        "text.projection": (np.zeros((r, r)) if projection is None else projection, (r, k)),
        "text.dense": (parts.text.dense, (s + max(parts.dims, 0), k)),
        "quality_table": (parts.quality_table, (m, 1 + d)),
        "extra": (parts.extra, (m + 1, e)),
        "calibration": (parts.calibration, (m + 1, 2)),
        "tokens": (parts.tokens, (m + 1, 1 + d)),
        "latency": (np.zeros((m + 1, 2)) if parts.latency is None else parts.latency, (m + 1, 2)),
        "text.scale": (parts.text.scale, (r,)),
        "text.bias": (parts.text.bias, (k,)),
    }
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            raise ConfigError(f"{name} has the shape {array.shape}, expected {shape}")
        if not np.isfinite(array).all():
            raise ConfigError(f"{name} holds a value that is not finite")
    if parts.booster is not None and parts.booster.num_feature() != len(row_names(parts)):
        raise ConfigError(f"the booster reads {parts.booster.num_feature()} columns, rows have {len(row_names(parts))}")
