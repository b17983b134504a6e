"""The task head: which domain a prompt belongs to, one linear score per domain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.optimize import minimize_scalar
from sklearn.svm import LinearSVC

from router_runtime.features import HASH_SIZE
from training.kernel_ridge import Gram, Rows
from training.labels_matrix import Floats, Targets

# Of the squared hinge; the margin is all that it pays for, so it follows clean labels closer than a ridge does.
PENALTY = 1.0
TOLERANCE = 0.02


def fit_domains(gram: Gram, targets: Targets, rows: Rows) -> Floats:
    """One-against-rest squared hinge on the prompts ``rows`` (Fan et al. 2008, LIBLINEAR).

    Returns:
        float32 [HASH_SIZE + S + E + 1, D]: weights of the columns of ``gram.bag`` and ``gram.dense``, then the bias.
        Zeros where fewer than two domains are known; a domain without a prompt here scores -1 everywhere.
    """
    d, width = len(targets.domains), HASH_SIZE + gram.dense.shape[1]
    weights = np.zeros((width + 1, d), dtype=np.float32)
    domain = targets.domain[rows]
    known = np.flatnonzero(domain >= 0)
    present = np.unique(domain[known])
    if len(present) < 2:
        return weights
    points = sp.hstack((gram.bag[rows[known]], sp.csr_matrix(gram.dense[rows[known]]))).tocsr()
    head = LinearSVC(C=PENALTY, tol=TOLERANCE, random_state=0).fit(points, domain[known])
    found = np.vstack((head.coef_.T, head.intercept_)).astype(np.float32)
    weights[-1] = -1.0
    weights[:, present] = np.hstack((-found, found)) if len(present) == 2 else found
    return weights


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


def domain_probabilities(scores: Floats) -> Floats:
    """Softmax of scores [n, D]."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)
