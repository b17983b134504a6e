"""The linear stack below the trees: text scores and domain table, fitted without each fold, blended as those say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.blending import Blend, choose_blend, narrowed
from training.graph_parts import GraphParts
from training.kernel_ridge import Gram, Rows
from training.labels_matrix import Floats, Targets
from training.tables import quality_table
from training.task_head import domain_probabilities, fit_domains, sharpness
from training.text_model import LinearText, compress, fit_text, mean_text


@dataclass(frozen=True)
class FoldFit:
    """What was fitted without one inner fold.

    Args:
        train: intp, the prompts that it saw.
        test: intp, those that it did not see.
        text: The text scores.
        table: float32 [M, 1 + D], the quality table.
    """

    train: Rows
    test: Rows
    text: LinearText
    table: Floats


def fit_fold(gram: Gram, targets: Targets, train: Rows, test: Rows, penalties: Sequence[float]) -> FoldFit:
    """Fits text scores, and the table, on the prompts ``train``."""
    text = fit_texts(gram, targets, train, penalties)
    return FoldFit(train, test, text, quality_table(targets.take(train)))


def fit_texts(gram: Gram, targets: Targets, rows: Rows, penalties: Sequence[float]) -> LinearText:
    """The mean of the text scores of every penalty: which one is best, few prompts cannot tell."""
    domains = fit_domains(gram, targets, rows)
    return mean_text([fit_text(gram, targets, rows, penalty, domains) for penalty in penalties])


def held_scores(fits: Sequence[FoldFit], gram: Gram, n: int) -> Floats:
    """Held-out scores [n, K]."""
    scores = np.zeros((n, len(fits[0].text.bias)), dtype=np.float32)
    for fit in fits:
        scores[fit.test] = fit.text.scores(gram, fit.test)
    return scores


def settings(fits: Sequence[FoldFit], scores: Floats, targets: Targets) -> tuple[float, Blend]:
    """The sharpness of the task head, and the blend, that the held-out ``scores`` [n, K] call for."""
    n, m = len(scores), len(targets.models)
    strength, means = np.zeros((2, n, m), dtype=np.float32)
    beta = sharpness(_domain_scores(scores, targets), targets.domain)
    likely = likely_domains(scores, beta, targets)
    for fit in fits:
        strength[fit.test] = likely[fit.test] @ fit.table[:, 1:].T
        means[fit.test] = fit.table[:, 0]
    return beta, choose_blend(scores[:, :m], strength, means, targets)


def likely_domains(scores: Floats, beta: float, targets: Targets) -> Floats:
    """P(domain) of each prompt [n, D] by its text scores [n, K]."""
    return domain_probabilities(beta * _domain_scores(scores, targets))


def _domain_scores(scores: Floats, targets: Targets) -> Floats:
    first = len(targets.models) + 1
    return scores[:, first : first + len(targets.domains)]


@dataclass(frozen=True)
class Stack:
    """Turns fitted scores into parts of the graph.

    Args:
        gram: The prompts.
        targets: Their outcomes.
        beta: Sharpness of the task head.
        blend: Of table and text.
        sketch: float32 [HASH_SIZE, R], columns that only the trees read.
        rank: Columns of hashed weights for the text scores.
    """

    gram: Gram
    targets: Targets
    beta: float
    blend: Blend
    sketch: Floats
    rank: int

    def parts(self, text: LinearText, table: Floats, rows: Rows) -> GraphParts:
        """The parts without trees, calibration and tokens, compressed so as to be right on the prompts ``rows``."""
        m, d = len(self.targets.models), len(self.targets.domains)
        known = np.ones((m + 1, 1), dtype=np.float32)
        known[m] = 0.0
        line = np.tile(np.array([1.0, 0.0], dtype=np.float32), (m + 1, 1))
        means, spread = table[:, :1], self.blend.spread
        return GraphParts(
            models=self.targets.models,
            domains=self.targets.domains,
            text=compress(text.narrowed(spread), self.gram, rows, d, self.beta, self.rank, self.sketch),
            quality_table=np.hstack((means, means + narrowed((table[:, 1:] - means).T, spread).T)),
            extra=known,
            unknown=(1.0, 0.0),
            booster=None,
            own_weight=1.0,
            calibration=line,
            tokens=np.ones((m + 1, 1 + d), dtype=np.float32),
            blend=self.blend.weight,
        )
