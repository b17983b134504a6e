"""Small per-model tables beside the text scores: quality by domain, tokens, latency."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.export import MAX_LOG_TOKENS
from training.labels_matrix import Floats, Targets
from training.text_model import model_means

Rows = npt.NDArray[np.intp]

DOMAIN_SHRINKAGE = 20.0
LEAST_MARGIN = 0.02
DEFAULT_LOG_TOKENS = 5.0
MIN_LATENCIES = 50
MAX_SMEARING = 3.0


def quality_table(part: Targets) -> Floats:
    """Mean quality of each model, and its mean in each domain, shrunk to what domain and model say alone [M, 1 + D]."""
    means = model_means(part)
    labelled = part.labelled
    residual = np.where(labelled, part.quality - means, 0.0)
    table = np.empty((len(means), 1 + len(part.domains)), dtype=np.float32)
    table[:, 0] = means
    for domain in range(len(part.domains)):
        here = part.domain == domain
        count = labelled[here].sum(axis=0)
        total = residual[here].sum(axis=0)
        shared = total.sum() / (count.sum() + DOMAIN_SHRINKAGE)
        table[:, 1 + domain] = means + (total + DOMAIN_SHRINKAGE * shared) / (count + DOMAIN_SHRINKAGE)
    return table.clip(LEAST_MARGIN, 1.0 - LEAST_MARGIN)


def token_lines(score: Floats, targets: Targets) -> Floats:
    """Log output tokens of each model as a line in the prompt's token score, float32 [M + 1, 2]; last row: unknown."""
    known = np.isfinite(targets.log_tokens)
    pooled = _token_line(np.broadcast_to(score[:, None], known.shape)[known], targets.log_tokens[known])
    lines = [_token_line(score[known[:, m]], targets.log_tokens[known[:, m], m], pooled) for m in range(known.shape[1])]
    return np.array([*lines, pooled], dtype=np.float32)


def _token_line(x: Floats, y: Floats, prior: tuple[float, float] = (DEFAULT_LOG_TOKENS, 0.0)) -> tuple[float, float]:
    """A line in the log, raised so that the tokens themselves are right on average: costs are means, not medians.

    The factor is the smearing estimate (Duan 1983), within :data:`MAX_SMEARING`.
    """
    offset, slope = _line(x, y, prior)
    if len(y) < MIN_LATENCIES:
        return offset, slope
    ratio = np.exp(y, dtype=np.float64).mean() / np.exp(offset + slope * x.astype(np.float64)).mean()
    return offset + float(np.log(np.clip(ratio, 1 / MAX_SMEARING, MAX_SMEARING))), slope


def _line(x: Floats, y: Floats, prior: tuple[float, float] = (DEFAULT_LOG_TOKENS, 0.0)) -> tuple[float, float]:
    """Offset and slope of least squares; the prior where there is nothing to fit, a mean where there is little."""
    if len(y) == 0:
        return prior
    if len(y) < MIN_LATENCIES or float(np.var(x)) < 1e-9:
        return float(np.mean(y)) - prior[1] * float(np.mean(x)), prior[1]
    slope = float(np.cov(x, y)[0, 1] / np.var(x, ddof=1))
    return float(np.mean(y)) - slope * float(np.mean(x)), slope


def latency_lines(score: Floats, targets: Targets) -> Floats | None:
    """Latency in ms as a line in the predicted output tokens, float32 [M + 1, 2]; None where too little was logged."""
    known = np.isfinite(targets.latency)
    if known.sum() < MIN_LATENCIES:
        return None
    lines = token_lines(score, targets)
    m = known.shape[1]
    tokens = np.exp(np.clip(lines[:m, 0] + score[:, None] * lines[:m, 1], 0.0, MAX_LOG_TOKENS))
    pooled = _rising(tokens[known], targets.latency[known])
    rows = [_rising(tokens[known[:, j], j], targets.latency[known[:, j], j], pooled) for j in range(m)]
    return np.array([*rows, pooled], dtype=np.float32)


def _rising(x: Floats, y: Floats, prior: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
    """A line that never falls: more tokens never take less time."""
    offset, slope = _line(x, y, prior)
    return (offset, slope) if slope >= 0 else (float(np.mean(y)), 0.0)
