"""The linear text model: ridge scores of each model's quality, shared difficulty, domain and tokens, low rank, int8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from router_runtime.features import HASH_SIZE, STRUCTURAL
from training.graph_parts import TextModel, quantise
from training.kernel_ridge import Gram, Rows
from training.labels_matrix import Floats, Targets

# A model that answered at least this share of the prompts is fitted with all others in one factorisation; what it lacks
# is filled with what the others did there. One that answered fewer is fitted on its own prompts, as a difference.
FULL_COVERAGE = 0.8
MEAN_SHRINKAGE = 5.0
RANK_ROWS = 4000


@dataclass(frozen=True)
class Penalties:
    """Ridge penalties relative to the mean diagonal of the Gram matrix.

    Args:
        quality: Of qualities and tokens; these are noisy.
        domain: Of the task head; labels are clean, so it may follow them closely.
    """

    quality: float = 12.0
    domain: float = 0.5


@dataclass(frozen=True)
class LinearText:
    """Linear scores; columns: M qualities, difficulty, D domains, tokens.

    Args:
        weights: float32 [HASH_SIZE, K], of the columns of ``Gram.bag``.
        dense: float32 [S, K], of the columns of ``Gram.dense``.
        bias: float32 [K].
        means: float32 [M], mean quality of each model.
    """

    weights: Floats
    dense: Floats
    bias: Floats
    means: Floats

    def scores(self, gram: Gram, rows: Rows) -> Floats:
        """Scores [rows, K] of prompts of ``gram``."""
        return gram.scores(rows, self.weights, self.dense) + self.bias


def fit_text(gram: Gram, targets: Targets, rows: Rows, penalties: Penalties) -> LinearText:
    """Fits all columns on the prompts ``rows``."""
    part = targets.take(rows)
    means = model_means(part)
    residual = part.quality - means
    shared = _row_means(residual)
    used = np.flatnonzero(np.isfinite(shared))
    full = np.flatnonzero(part.labelled[used].mean(axis=0) >= FULL_COVERAGE)
    tokens, token_mean = _token_residual(part)
    wanted = np.column_stack((np.where(part.labelled, residual, shared[:, None])[:, full], shared, tokens))[used]
    solved = _solve(gram, rows[used], wanted, penalties.quality, part.weight[used])
    m, n_full = len(part.models), len(full)
    own = np.repeat(solved[:, [n_full]], m, axis=1)
    own[:, full] = solved[:, :n_full]
    for models in _same_prompts(part, np.setdiff1d(np.arange(m), full)):
        own[:, models] += _differences(gram, rows, part, residual, solved[:, n_full], models, penalties.quality)
    domains, domain_bias = _domain_columns(gram, rows, part, penalties.domain)
    stacked = np.hstack((own, solved[:, [n_full]], domains, solved[:, [n_full + 1]]))
    bias = np.concatenate((means, [0.0], domain_bias, [token_mean])).astype(np.float32)
    return LinearText(stacked[:HASH_SIZE], stacked[HASH_SIZE:], bias, means)


def model_means(part: Targets) -> Floats:
    """Mean quality of each model [M], weighted, and shrunk to the mean of all where labels are few."""
    labelled = part.labelled
    weight = part.weight[:, None] * labelled
    total = (weight * np.where(labelled, part.quality, 0)).sum(axis=0)
    overall = total.sum() / max(weight.sum(), 1e-9)
    return np.asarray((total + MEAN_SHRINKAGE * overall) / (weight.sum(axis=0) + MEAN_SHRINKAGE), dtype=np.float32)


def _row_means(values: Floats) -> Floats:
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _token_residual(part: Targets) -> tuple[Floats, float]:
    """Each prompt's log tokens beside the models' means [n] (0 where unknown), and the mean of the means."""
    known = np.isfinite(part.log_tokens)
    means = np.where(known, part.log_tokens, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    residual = np.nan_to_num(_row_means(part.log_tokens - means.astype(np.float32)))
    return residual, float(means[known.any(axis=0)].mean()) if known.any() else 0.0


def _solve(gram: Gram, rows: Rows, wanted: Floats, penalty: float, weight: Floats) -> Floats:
    """Primal weights [HASH_SIZE + S, T]."""
    coefficients = gram.coefficients(rows, np.ascontiguousarray(wanted, dtype=np.float32), penalty, weight)
    return np.vstack(gram.weights(rows, coefficients))


def _same_prompts(part: Targets, models: Rows) -> list[Rows]:
    """``models`` in groups that answered the very same prompts, so that one factorisation serves a group."""
    groups: dict[bytes, list[int]] = {}
    for model in models.tolist():
        groups.setdefault(part.labelled[:, model].tobytes(), []).append(model)
    return [np.array(group) for group in groups.values()]


def _differences(
    gram: Gram, rows: Rows, part: Targets, residual: Floats, shared: Floats, models: Rows, penalty: float
) -> Floats:
    """Weights [HASH_SIZE + S, models] of what models do beyond the shared difficulty, from their own prompts."""
    own = np.flatnonzero(part.labelled[:, models[0]])
    if len(own) < 2:
        return np.zeros((len(shared), len(models)), dtype=np.float32)
    wanted = residual[np.ix_(own, models)] - gram.scores(rows[own], shared[:HASH_SIZE, None], shared[HASH_SIZE:, None])
    return _solve(gram, rows[own], wanted, penalty, part.weight[own])


def _domain_columns(gram: Gram, rows: Rows, part: Targets, penalty: float) -> tuple[Floats, Floats]:
    """One-against-rest scores of the domains: weights [HASH_SIZE + S, D] and bias [D]."""
    d = len(part.domains)
    known = np.flatnonzero(part.domain >= 0)
    if d < 2 or len(known) < d:
        return np.zeros((HASH_SIZE + len(STRUCTURAL), d), dtype=np.float32), np.zeros(d, dtype=np.float32)
    one_hot = np.eye(d, dtype=np.float32)[part.domain[known]]
    share = one_hot.mean(axis=0)
    return _solve(gram, rows[known], one_hot - share, penalty, np.ones(len(known), dtype=np.float32)), share


def sharpness(scores: Floats, domain: npt.NDArray[np.intp]) -> float:
    """The factor β at which softmax(β · scores) has the least log loss on held-out prompts.

    Args:
        scores: [n, D] held-out domain scores.
        domain: [n] the domain, -1 = unknown.
    """
    known = domain >= 0
    if not known.any() or scores.shape[1] < 2:
        return 1.0
    kept, answer = scores[known].astype(np.float64), domain[known]

    def loss(log_beta: float) -> float:
        z = kept * np.exp(log_beta)
        z -= z.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), answer]))

    return float(np.exp(minimize_scalar(loss, bounds=(0.0, 4.0), method="bounded").x))


def compress(text: LinearText, gram: Gram, rows: Rows, n_domains: int, beta: float, rank: int) -> TextModel:
    """The int8 text model of at most ``rank`` columns whose scores on ``rows`` are nearest to those of ``text``.

    The principal directions of the scores are kept; differences between models are small beside shared scores but
    decide the choice, so every kind of column is scaled to the spread of what it has to tell apart.
    """
    k = len(text.bias)
    m = k - n_domains - 2
    scaling = np.ones(k, dtype=np.float32)
    scaling[m + 1 : m + 1 + n_domains] = beta
    weights = gram.id_values[:, None] * text.weights * scaling
    dense = gram.dense_values[:, None] * text.dense * scaling
    bias = text.bias * scaling - gram.centre @ dense
    if rank >= k:
        packed, scale = quantise(weights)
        return TextModel(packed, scale, None, dense, bias)
    scores = (text.scores(gram, rows[:RANK_ROWS]) - text.bias) * scaling
    spread = _spread(scores, m, n_domains)
    _, _, directions = np.linalg.svd((scores - scores.mean(axis=0)) / spread, full_matrices=False)
    kept = directions[:rank].astype(np.float32)
    packed, scale = quantise((weights / spread) @ kept.T)
    return TextModel(packed, scale, kept * spread, dense, bias)


def _spread(scores: Floats, m: int, n_domains: int) -> Floats:
    """What a column's deviations are divided by [K], one figure for each kind of column."""
    spread = np.empty(scores.shape[1], dtype=np.float32)
    own, domains = scores[:, :m], scores[:, m + 1 : m + 1 + n_domains]
    differences = own - own.mean(axis=1, keepdims=True) if m > 1 else own
    spread[: m + 1] = max(float(differences.std()), 1e-6)
    spread[m + 1 : m + 1 + n_domains] = max(float(domains.std()), 1e-6) * 2
    spread[-1] = max(float(scores[:, -1].std()), 1e-6)
    return spread
