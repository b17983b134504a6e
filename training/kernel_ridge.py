"""Ridge regression on hashed text, solved in the dual: many targets, folds and penalties share one Gram matrix.

With X the idf-weighted bag of ids, scaled as the graph scales it, beside the standardised structural numbers and, where
there is one, the encoder's vector, the dual coefficients are A = (X Xᵀ + λ·diag(1/w))⁻¹ (Y − mean), the scores of a
prompt x are x Xᵀ A, and the weights that the graph needs are W = Xᵀ A (Hastie, Tibshirani, Friedman, *The Elements of
Statistical Learning*, §5.8.1). Held-out scores of a fold cost one smaller factorisation of a part of the same matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve

from router_runtime.features import BIGRAM_START, GRAM_START, HASH_SIZE
from training.feature_matrix import FeatureMatrix

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]

# Relative weights of the kinds of ids: on the real tables, pairs of words carry less than words and 4-grams.
KIND_WEIGHTS = {"words": 1.0, "bigrams": 0.35, "grams": 1.2}
# Length of the structural part of a row beside a text part of length 1.
STRUCTURAL_WEIGHT = 0.3
# Likewise of the encoder's part, where there is one.
ENCODER_WEIGHT = 0.5
LEAST_SPREAD = 1e-4
# Ids that more than this share of the prompts hold are multiplied as dense columns, where that is faster.
COMMON_SHARE = 1 / 16
_BLOCK = 2048


def id_weights(features: FeatureMatrix) -> Floats:
    """Weight of each id [HASH_SIZE]: smoothed idf times the weight of its kind."""
    seen = np.bincount(features.ids, minlength=HASH_SIZE)
    idf = np.log((1.0 + len(features)) / (1.0 + seen)) + 1e-3
    kind = np.full(HASH_SIZE, KIND_WEIGHTS["grams"])
    kind[:GRAM_START] = KIND_WEIGHTS["bigrams"]
    kind[:BIGRAM_START] = KIND_WEIGHTS["words"]
    return np.asarray(idf * kind, dtype=np.float32)


@dataclass(frozen=True)
class Gram:
    """The scaled bag and structural numbers of n prompts, and their inner products.

    Args:
        bag: float32 [n, HASH_SIZE]: rows are 0/1 · ``id_values`` / sqrt(ids + 1), of mean squared length 1.
        id_values: float32 [HASH_SIZE].
        dense: float32 [n, S + E]: (structural numbers and the encoder's vector − ``centre``) · ``dense_values``.
        centre: float32 [S + E].
        dense_values: float32 [S + E].
        products: float32 [n, n].
    """

    bag: sp.csr_matrix
    id_values: Floats
    dense: Floats
    centre: Floats
    dense_values: Floats
    products: Floats

    @classmethod
    def of(cls, features: FeatureMatrix) -> Gram:
        """The Gram matrix of ``features``; 4 n² bytes."""
        per_row = (1.0 / np.sqrt(np.diff(features.offsets) + 1.0)).astype(np.float32)
        values = id_weights(features)
        bag = sp.diags(per_row) @ features.bag() @ sp.diags(values)
        scale = np.float32(np.sqrt(max(float(bag.multiply(bag).sum()) / len(features), 1e-12)))
        bag = (bag / scale).tocsr().astype(np.float32)
        centre, spread = features.structural.mean(axis=0), features.structural.std(axis=0)
        unit = STRUCTURAL_WEIGHT / np.sqrt(features.structural.shape[1])
        dense_values = np.where(spread > LEAST_SPREAD, unit / np.maximum(spread, LEAST_SPREAD), 0.0).astype(np.float32)
        dense = (features.structural - centre) * dense_values
        if features.embedding is not None:
            middle, unit = _encoder_scale(features.embedding)
            dense = np.hstack((dense, (features.embedding - middle) * unit))
            centre, dense_values = np.append(centre, middle), np.append(dense_values, np.full_like(middle, unit))
        return cls(bag, values / scale, dense, centre, dense_values, _products(bag, dense))

    def weights(self, rows: Rows, coefficients: Floats) -> tuple[Floats, Floats]:
        """Primal weights of the columns of ``bag`` [HASH_SIZE, T] and of ``dense`` [S + E, T]."""
        text = np.asarray(self.bag[rows].T @ coefficients, dtype=np.float32)
        return text, np.asarray(self.dense[rows].T @ coefficients, dtype=np.float32)

    def scores(self, rows: Rows, text: Floats, dense: Floats) -> Floats:
        """Scores [rows, T] under the primal weights."""
        return np.asarray(self.bag[rows] @ text + self.dense[rows] @ dense, dtype=np.float32)

    def coefficients(self, rows: Rows, targets: Floats, penalty: float, weight: Floats) -> Floats:
        """Dual coefficients [rows, T] of centred ``targets`` [rows, T], with label weights [rows]."""
        system = self.products[np.ix_(rows, rows)]
        system[np.diag_indices(len(rows))] += penalty / np.maximum(weight, 1e-6)
        # Symmetric, and the transpose is in LAPACK's order: it is factorised in place, without a copy of 4 n² bytes.
        factor = cho_factor(system.T, lower=True, overwrite_a=True, check_finite=False)
        return np.asarray(cho_solve(factor, targets, check_finite=False), dtype=np.float32)


def _encoder_scale(vectors: Floats) -> tuple[Floats, np.float32]:
    """Centre [E], and the factor that gives centred rows the mean squared length of :data:`ENCODER_WEIGHT`²."""
    middle = vectors.mean(axis=0)
    spread = np.sqrt(float(((vectors - middle) ** 2).sum(axis=1).mean()))
    return middle, np.float32(ENCODER_WEIGHT / spread if spread > LEAST_SPREAD else 0.0)


def _products(bag: sp.csr_matrix, dense: Floats) -> Floats:
    """Inner products of the rows of ``bag`` and ``dense`` together [n, n].

    The few ids that most prompts hold make most of the work of a sparse product: they go to BLAS. The rare ones follow
    in blocks of rows, of which the lower triangle is computed and mirrored.
    """
    n = bag.shape[0]
    common = np.bincount(bag.indices, minlength=bag.shape[1]) > COMMON_SHARE * n
    columns = np.hstack((bag[:, common].toarray(), dense))
    out = np.asarray(columns @ columns.T, dtype=np.float32)
    rare = bag[:, ~common].tocsr()
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        out[start:stop, :stop] += (rare[start:stop] @ rare[:stop].T).toarray()
        out[:start, start:stop] = out[start:stop, :start].T
    return out
