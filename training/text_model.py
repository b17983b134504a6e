"""The linear text model: ridge scores of each model's quality, shared difficulty, domain and tokens, low rank, int8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import block_diag

from router_runtime.features import HASH_SIZE
from training.blending import narrowed
from training.graph_parts import TextModel, quantise
from training.kernel_ridge import Gram, Rows
from training.labels_matrix import Floats, Targets

# A model that answered at least this share of the prompts is fitted with all others in one factorisation; what it lacks
# is filled with what the others did there. One that answered fewer is fitted on its own prompts, as a difference.
FULL_COVERAGE = 0.8
MEAN_SHRINKAGE = 5.0
RANK_ROWS = 4000


@dataclass(frozen=True)
class LinearText:
    """Linear scores; columns: M qualities, difficulty, D domains, tokens.

    Args:
        weights: float32 [HASH_SIZE, K], of the columns of ``Gram.bag``.
        dense: float32 [S + E, K], of the columns of ``Gram.dense``.
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

    def narrowed(self, spread: float) -> LinearText:
        """The same with differences between the models' scores scaled by ``spread``, and what they share kept."""
        m = len(self.means)
        weights, dense = self.weights.copy(), self.dense.copy()
        weights[:, :m], dense[:, :m] = narrowed(weights[:, :m], spread), narrowed(dense[:, :m], spread)
        return replace(self, weights=weights, dense=dense)


def fit_text(gram: Gram, targets: Targets, rows: Rows, penalty: float, domains: Floats) -> LinearText:
    """Fits qualities, difficulty and tokens on the prompts ``rows``.

    Args:
        gram: The prompts.
        targets: Their outcomes.
        rows: Which of them to learn from.
        penalty: Of the ridge, relative to the mean diagonal of the Gram matrix.
        domains: The task head of the same rows, see :func:`training.task_head.fit_domains`.
    """
    part = targets.take(rows)
    means = model_means(part)
    residual = part.quality - means
    shared = _row_means(residual)
    used = np.flatnonzero(np.isfinite(shared))
    full = np.flatnonzero(part.labelled[used].mean(axis=0) >= FULL_COVERAGE)
    tokens, token_mean = _token_residual(part)
    wanted = np.column_stack((np.where(part.labelled, residual, shared[:, None])[:, full], shared, tokens))[used]
    solved = _solve(gram, rows[used], wanted, penalty, part.weight[used])
    m, n_full = len(part.models), len(full)
    own = np.repeat(solved[:, [n_full]], m, axis=1)
    own[:, full] = solved[:, :n_full]
    for models in _same_prompts(part, np.setdiff1d(np.arange(m), full)):
        own[:, models] += _differences(gram, rows, part, residual, solved[:, n_full], models, penalty)
    stacked = np.hstack((own, solved[:, [n_full]], domains[:-1], solved[:, [n_full + 1]]))
    bias = np.concatenate((means, [0.0], domains[-1], [token_mean])).astype(np.float32)
    return LinearText(stacked[:HASH_SIZE], stacked[HASH_SIZE:], bias, means)


def mean_text(fits: Sequence[LinearText]) -> LinearText:
    """The mean of several fits on the same prompts."""
    weights, dense = (np.mean([getattr(fit, name) for fit in fits], axis=0) for name in ("weights", "dense"))
    return replace(fits[0], weights=weights, dense=dense)


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
    """Primal weights [HASH_SIZE + S + E, T]."""
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
    """Weights [HASH_SIZE + S + E, models] of what models do beyond the shared difficulty, from their own prompts."""
    own = np.flatnonzero(part.labelled[:, models[0]])
    if len(own) < 2:
        return np.zeros((len(shared), len(models)), dtype=np.float32)
    wanted = residual[np.ix_(own, models)] - gram.scores(rows[own], shared[:HASH_SIZE, None], shared[HASH_SIZE:, None])
    return _solve(gram, rows[own], wanted, penalty, part.weight[own])


def compress(
    text: LinearText, gram: Gram, rows: Rows, n_domains: int, beta: float, rank: int, sketch: Floats
) -> TextModel:
    """The int8 text model of at most ``rank`` columns whose scores on ``rows`` are nearest to those of ``text``.

    The principal directions of the scores are kept; differences between models are small beside shared scores but
    decide the choice, so every kind of column is scaled to the spread of what it has to tell apart. The columns of
    ``sketch`` [HASH_SIZE, R] follow as scores of their own.
    """
    k, more = len(text.bias), sketch.shape[1]
    m = k - n_domains - 2
    scaling = np.ones(k, dtype=np.float32)
    scaling[m + 1 : m + 1 + n_domains] = beta
    weights = gram.id_values[:, None] * text.weights * scaling
    dense = gram.dense_values[:, None] * text.dense * scaling
    bias = text.bias * scaling - gram.centre @ dense
    back = None
    if rank < k:
        scores = (text.scores(gram, rows[:RANK_ROWS]) - text.bias) * scaling
        spread = _spread(scores, m, n_domains)
        _, _, directions = np.linalg.svd((scores - scores.mean(axis=0)) / spread, full_matrices=False)
        kept = directions[:rank].astype(np.float32)
        weights, back = (weights / spread) @ kept.T, kept * spread
    if more:
        back = block_diag(np.eye(k) if back is None else back, np.eye(more)).astype(np.float32)
        weights = np.hstack((weights, gram.id_values[:, None] * sketch))
    packed, scale = quantise(weights)
    return TextModel(packed, scale, back, np.pad(dense, ((0, 0), (0, more))), np.pad(bias, (0, more)))


def _spread(scores: Floats, m: int, n_domains: int) -> Floats:
    """What a column's deviations are divided by [K], one figure for each kind of column."""
    spread = np.empty(scores.shape[1], dtype=np.float32)
    own, domains = scores[:, :m], scores[:, m + 1 : m + 1 + n_domains]
    differences = own - own.mean(axis=1, keepdims=True) if m > 1 else own
    spread[: m + 1] = max(float(differences.std()), 1e-6)
    spread[m + 1 : m + 1 + n_domains] = max(float(domains.std()), 1e-6) * 2
    spread[-1] = max(float(scores[:, -1].std()), 1e-6)
    return spread
