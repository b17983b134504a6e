"""The graph's own rows for training, and the gate that no export passes unless ONNX and LightGBM agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from router_runtime.errors import DataError
from router_runtime.features import Features
from router_runtime.scorer import graph_inputs
from training.export import row_session
from training.graph_parts import Floats, GraphParts, row_names
from training.tables import predicted_tokens

MAX_DIFFERENCE = 1e-5
MIN_ROWS = 5_000


class ParityError(DataError):
    """The exported graph does not predict what the booster predicts, so it must not be used."""


def candidate_rows(
    parts: GraphParts,
    prompts: Sequence[Features],
    models: npt.NDArray[np.int64] | None = None,
    descriptor: Floats | None = None,
) -> Floats:
    """What the booster reads, computed by the graph's front half, so that training and serving see the same bits.

    Args:
        parts: The fitted parts; its booster is not used and may be None.
        prompts: n prompts.
        models: int64 [C], indices into ``parts.models`` (M = unknown); all known models by default.
        descriptor: float32 [C, 1 + D] for unknown models; zeros by default.

    Returns:
        float32 [n, C, F], columns as in :func:`training.graph_parts.row_names`.
    """
    return _front(parts, prompts, models, descriptor).rows


class _Front(NamedTuple):
    """What the front half of the graph says of n prompts.

    Args:
        rows: [n, C, F], what the trees read.
        own: [n, C], the linear stack's logits.
        token_score: [n].
        domain: [n, D], probabilities.
    """

    rows: Floats
    own: Floats
    token_score: Floats
    domain: Floats


def _front(
    parts: GraphParts,
    prompts: Sequence[Features],
    models: npt.NDArray[np.int64] | None,
    descriptor: Floats | None,
) -> _Front:
    models = np.arange(len(parts.models)) if models is None else models
    if descriptor is None:
        descriptor = np.zeros((len(models), 1 + len(parts.domains)), dtype=np.float32)
    session = row_session(parts)
    rows = np.empty((len(prompts), len(models), len(row_names(parts))), dtype=np.float32)
    own = np.empty((len(prompts), len(models)), dtype=np.float32)
    token_score = np.empty(len(prompts), dtype=np.float32)
    domain = np.empty((len(prompts), len(parts.domains)), dtype=np.float32)
    for index, features in enumerate(prompts):
        feed = graph_inputs(features, models, descriptor, parts.dims)
        rows[index], column, score, domain[index] = session.run(["rows", "own", "token_score", "domain"], feed)
        own[index], token_score[index] = column[:, 0], score[0]
    return _Front(rows, own, token_score, domain)


def reference_predictions(
    parts: GraphParts,
    prompts: Sequence[Features],
    models: npt.NDArray[np.int64],
    descriptor: Floats,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Quality and output tokens, each float64 [n, C], by LightGBM and numpy instead of the graph's back half."""
    rows, own, token_score, domain = _front(parts, prompts, models, descriptor)
    logit = own.astype(np.float64)
    if parts.booster is not None:
        raw = parts.booster.predict(rows.reshape(-1, rows.shape[-1]), raw_score=True, num_threads=1)
        logit = np.asarray(raw, dtype=np.float64).reshape(own.shape) + parts.own_weight * logit
    slope, offset = parts.calibration[models].T
    quality = 1.0 / (1.0 + np.exp(-(slope * logit + offset)))
    return quality, predicted_tokens(parts.tokens[models], domain, token_score).astype(np.float64)


def check_parity(parts: GraphParts, graph: bytes, prompts: Sequence[Features], *, min_rows: int = MIN_ROWS) -> float:
    """Compares the whole graph with :func:`reference_predictions`, for all known models and an unknown one.

    Args:
        parts: What the graph was made of.
        graph: The output of :func:`training.export.export_graph`.
        prompts: Prompts to try; empty and non-Latin ones should be among them.
        min_rows: How many pairs of prompt and model there must be at least.

    Returns:
        The largest difference of a probability.

    Raises:
        ParityError: Where it is above :data:`MAX_DIFFERENCE`, tokens differ by more than 1e-4 of their number, or there
            are too few pairs to tell.
    """
    models = np.arange(len(parts.models) + 1)
    if len(prompts) * len(models) < min_rows:
        raise ParityError(
            f"{len(prompts)} prompts × {len(models)} models are too few to check, expected {min_rows} pairs"
        )
    descriptor = np.full((len(models), 1 + len(parts.domains)), 0.5, dtype=np.float32)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    quality, tokens = reference_predictions(parts, prompts, models, descriptor)
    worst = 0.0
    for index, features in enumerate(prompts):
        feed = graph_inputs(features, models, descriptor, parts.dims)
        got_quality, got_tokens = session.run(["quality", "output_tokens"], feed)
        worst = max(worst, float(np.abs(got_quality - quality[index]).max()))
        if not np.allclose(got_tokens, tokens[index], rtol=1e-4):
            raise ParityError(f"output tokens of prompt {index} differ between numpy and ONNX")
    if not worst <= MAX_DIFFERENCE:
        raise ParityError(f"P(good) differs by {worst:.2g} between LightGBM and ONNX, allowed are {MAX_DIFFERENCE:.0e}")
    return worst
