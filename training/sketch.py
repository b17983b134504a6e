"""A sketch of the text for the trees: the directions in which prompts differ most, without a look at any label."""

from __future__ import annotations

import numpy as np
from sklearn.utils.extmath import randomized_svd

from training.kernel_ridge import Gram
from training.labels_matrix import Floats

_ITERATIONS = 3


def sketch_directions(gram: Gram, columns: int, seed: int) -> Floats:
    """The leading right singular vectors of the scaled bag (latent semantic analysis, Deerwester et al. 1990).

    Args:
        gram: The prompts.
        columns: Number of directions wanted; fewer where there are fewer prompts.
        seed: Of the random projection that finds them.

    Returns:
        float32 [HASH_SIZE, columns], orthonormal columns.
    """
    size = min(columns, gram.bag.shape[0] - 1)
    if size < 1:
        return np.zeros((gram.bag.shape[1], 0), dtype=np.float32)
    _, _, found = randomized_svd(gram.bag, size, n_iter=_ITERATIONS, random_state=seed)
    return np.asarray(found.T, dtype=np.float32)
