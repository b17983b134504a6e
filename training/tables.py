"""Small per-model tables beside the text scores: quality by domain, tokens, latency."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.export import MAX_TOKENS
from training.labels_matrix import Floats, Targets
from training.text_model import model_means

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

DOMAIN_SHRINKAGE = 20.0
LEAST_MARGIN = 0.02
DEFAULT_TOKENS = 150.0
LEAST_TOKENS = 0.1
SHRINKAGE_LEVEL = 1_000.0
OUTLIER = 20.0
MIXTURE_STEPS = 30
MIN_LATENCIES = 50


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


def token_heads(likely: Floats, score: Floats, targets: Targets) -> Floats:
    """Output tokens of each model: exp(slope · score) · Σ_d P(d) · tokens_d.

    Domains differ by orders of magnitude (a letter, an essay), which a ridge score alone smooths over. Where the domain
    is in doubt the means are mixed, not their logarithms: a cost is an expectation. Models are shrunk to their mean.

    Args:
        likely: Held-out P(domain) of each prompt [n, D].
        score: Held-out token score of each prompt [n].
        targets: Their outcomes.

    Returns:
        float32 [M + 1, 1 + D]: the slope, then the tokens of each domain; last row: a model that nobody knows.
    """
    known = np.isfinite(targets.log_tokens)
    logs = np.where(known, targets.log_tokens, 0.0).astype(np.float64)
    domains, scores = likely.astype(np.float64), score.astype(np.float64)
    overall = float(np.expm1(logs).sum() / known.sum()) if known.any() else DEFAULT_TOKENS
    start = np.concatenate(([0.0], np.full(domains.shape[1], max(overall, LEAST_TOKENS))))
    pooled = _fit_tokens(domains, scores, known, logs, start)
    rows = [_fit_tokens(domains, scores, known[:, [m]], logs[:, [m]], pooled) for m in range(known.shape[1])]
    return np.array([*rows, pooled], dtype=np.float32)


def predicted_tokens(heads: Floats, likely: Floats, score: Floats) -> Floats:
    """What the graph predicts under ``heads`` [H, 1 + D] for prompts [n], float32 [n, H]."""
    factor = np.exp(np.clip(score[:, None] * heads[:, 0], -80.0, 80.0))  # what float32 can hold; cut further below
    tokens = factor * (likely @ heads[:, 1:].T)
    return np.asarray(tokens.clip(1.0, MAX_TOKENS), dtype=np.float32)


def _fit_tokens(domains: Doubles, score: Doubles, known: Flags, logs: Doubles, start: Doubles) -> Doubles:
    """Slope and tokens by domain [1 + D] of the models whose answers are given, shrunk to ``start``.

    Args:
        domains: P(domain) [n, D].
        score: Token score [n].
        known: Which answers there are of the models that are fitted together [n, m].
        logs: Their log(1 + tokens) [n, m], 0 where not known.
        start: What to shrink to.
    """
    count = known.sum(axis=1).astype(np.float64)
    base = np.log(domains @ start[1:]) + start[0] * score
    # Least squares of the logarithm gives the slope and says what is an outlier; means of tokens themselves follow.
    inputs = np.column_stack((score, domains))
    penalty = np.full(inputs.shape[1], DOMAIN_SHRINKAGE)
    penalty[0] *= max(float(score.var()), 1e-6)
    rest = logs.sum(axis=1) - count * base
    change = np.linalg.solve((inputs.T * count) @ inputs + np.diag(penalty), inputs.T @ rest)
    limit = OUTLIER * np.exp(np.clip(base + inputs @ change, 0.0, None))
    tokens = np.where(known, np.minimum(np.expm1(logs), limit[:, None]), 0.0).sum(axis=1)
    slope = start[0] + change[0]
    return np.concatenate(([slope], _mean_tokens(domains, np.exp(slope * score), count, tokens, start[1:])))


def _mean_tokens(domains: Doubles, factor: Doubles, count: Doubles, tokens: Doubles, start: Doubles) -> Doubles:
    """Tokens of each domain [D], right on average: expectation maximisation of a Poisson mixture of known shares.

    Args:
        domains: P(domain) [n, D].
        factor: What the score makes of a domain's mean [n].
        count: Answers of each prompt [n].
        tokens: Their sum [n].
        start: Stands for :data:`DOMAIN_SHRINKAGE` answers in each domain, raised to the level of these answers.
    """
    exposure = domains * (factor * count)[:, None]
    level = (tokens.sum() + SHRINKAGE_LEVEL) / (float((exposure @ start).sum()) + SHRINKAGE_LEVEL)
    prior = np.maximum(start * level, LEAST_TOKENS)
    found, total = prior, exposure.sum(axis=0) + DOMAIN_SHRINKAGE
    for _ in range(MIXTURE_STEPS):
        share = tokens / np.maximum(exposure @ found, 1e-12)
        found = (found * (exposure.T @ share) + DOMAIN_SHRINKAGE * prior) / total
    return np.asarray(np.maximum(found, LEAST_TOKENS), dtype=np.float64)


def _line(x: Floats, y: Floats, prior: tuple[float, float]) -> tuple[float, float]:
    """Offset and slope of least squares; the prior where there is nothing to fit, a mean where there is little."""
    if len(y) == 0:
        return prior
    if len(y) < MIN_LATENCIES or float(np.var(x)) < 1e-9:
        return float(np.mean(y)) - prior[1] * float(np.mean(x)), prior[1]
    slope = float(np.cov(x, y)[0, 1] / np.var(x, ddof=1))
    return float(np.mean(y)) - slope * float(np.mean(x)), slope


def latency_lines(tokens: Floats, targets: Targets) -> Floats | None:
    """Latency in ms as a line in the predicted output tokens, float32 [M + 1, 2]; None where too little was logged.

    Args:
        tokens: Predicted output tokens of each model [n, M].
        targets: The outcomes.
    """
    known = np.isfinite(targets.latency)
    if known.sum() < MIN_LATENCIES:
        return None
    m = known.shape[1]
    pooled = _rising(tokens[known], targets.latency[known])
    rows = [_rising(tokens[known[:, j], j], targets.latency[known[:, j], j], pooled) for j in range(m)]
    return np.array([*rows, pooled], dtype=np.float32)


def _rising(x: Floats, y: Floats, prior: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
    """A line that never falls: more tokens never take less time."""
    offset, slope = _line(x, y, prior)
    return (offset, slope) if slope >= 0 else (float(np.mean(y)), 0.0)
