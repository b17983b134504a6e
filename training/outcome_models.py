"""Outcomes → a fitted router: P(good | request, model) and output tokens, of every model of a table or a log.

Three layers, each on held-out scores of the one below, so that none learns to trust what was memorised:

1. linear text scores (:mod:`training.text_model`): each model's quality, shared difficulty, domain, length;
2. their blend with the model's mean quality in the domains that the prompt may belong to;
3. boosted trees on structural numbers and all scores, one booster for all models (:mod:`training.quality_head`),
   which also see each pair as if its model were unknown, and one calibration line per model.

The label is always the quality of the answer, never the logged choice; price plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from training.calibration import fit_calibration
from training.dataset import Table
from training.feature_matrix import AnyFeatures, FeatureMatrix, featurise
from training.graph_parts import Floats, GraphParts
from training.kernel_ridge import Gram
from training.labels_matrix import Targets, targets_of
from training.parity import candidate_rows
from training.progress import QUIET, Progress
from training.quality_head import CandidateRows, Doubles, TreeConfig, fit_trees, tree_logits
from training.splits import grouped_folds
from training.tables import blend_of, latency_lines, quality_table, token_lines
from training.text_model import LinearText, Penalties, compress, fit_text, model_means, sharpness

Rows = npt.NDArray[np.intp]

UNKNOWN_SHARE = 0.15


@dataclass(frozen=True)
class LearnConfig:
    """Settings of the learner; one set serves all tables.

    Args:
        seed: Seed of folds, samples and trees.
        folds: Inner folds for held-out scores.
        text_rows: The text scores learn from at most so many prompts (their cost grows with the cube).
        tree_rows: The trees learn from at most so many pairs of prompt and model.
        rank: Columns of hashed weights in the graph.
        penalties: Of the text scores.
        trees: Of the booster.
        label: Column of the prompts that the task head learns.
    """

    seed: int = 0
    folds: int = 3
    text_rows: int = 16_000
    tree_rows: int = 600_000
    rank: int = 32
    penalties: Penalties = field(default_factory=Penalties)
    trees: TreeConfig = field(default_factory=TreeConfig)
    label: str = "task"


@dataclass(frozen=True)
class OutcomeModel:
    """A fitted router.

    Args:
        parts: What the graph is made of.
        counts: Prompts and labels seen and used, JSON-ready.
        structural_medians: float32 [S], for explanations by occlusion.
    """

    parts: GraphParts
    counts: dict[str, int]
    structural_medians: Floats


@dataclass(frozen=True)
class _Held:
    """Held-out scores of the sampled prompts: every fold's parts, and the rows of the pairs that are used.

    Args:
        pairs: intp [P, 2], prompt and model of each labelled pair.
        rows: What the trees read, of the pairs as known models.
        unknown: The same for the pairs ``hidden``, as if their model were unknown.
        hidden: intp [U], indices into ``pairs``.
        fold: intp [P], the fold of each pair's prompt.
    """

    pairs: Rows
    rows: CandidateRows
    unknown: CandidateRows
    hidden: Rows
    fold: Rows


def fit(
    table: Table,
    config: LearnConfig = LearnConfig(),  # frozen
    *,
    features: AnyFeatures | None = None,
    progress: Progress = QUIET,
) -> OutcomeModel:
    """Fits a router on a full-information table or on a log (one model per prompt).

    Args:
        table: Prompts, outcomes, models. Unlabelled pairs are ignored; ``weight`` weighs labels.
        config: Settings.
        features: Of the table's prompts, in order, where they are at hand.
        progress: Says what is being done.

    Raises:
        TooFewRows: Where there is not enough to learn from; says how many prompts are missing.
    """
    everything = targets_of(table, config.label)
    if features is None:
        features = featurise([str(text) for text in table.prompts["text"]], progress)
    labelled = np.flatnonzero(everything.labelled.any(axis=1))
    sample = _sample(labelled, config.text_rows, config.seed)
    targets, matrix = everything.take(sample), features.take(sample).packed()
    progress.say(f"text scores of {len(sample):,} prompts × {len(targets.models)} models")
    gram = Gram.of(matrix)
    folds = grouped_folds(targets.groups, config.folds, config.seed)
    parts, held = _stack(gram, matrix, targets, folds, config, progress)
    progress.say(f"trees on {len(held.pairs) + len(held.hidden):,} rows")
    parts = _with_trees(parts, held, targets, config)
    counts = {
        "prompts_seen": len(table.prompts),
        "prompts_labelled": len(labelled),
        "prompts_used": len(sample),
        "labels_used": len(held.pairs),
    }
    return OutcomeModel(parts, counts, np.median(matrix.structural, axis=0).astype(np.float32))


def _sample(rows: Rows, size: int, seed: int) -> Rows:
    if len(rows) <= size:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, size, replace=False))


def _stack(
    gram: Gram, matrix: FeatureMatrix, targets: Targets, folds: Rows, config: LearnConfig, progress: Progress
) -> tuple[GraphParts, _Held]:
    """The linear stack fitted on all prompts, and its held-out rows."""
    n, d = len(matrix), len(targets.domains)
    everyone = np.arange(n)
    fits: list[tuple[Rows, Rows, LinearText]] = []
    scores = np.zeros((n, len(targets.models) + d + 2), dtype=np.float32)
    for fold in range(config.folds):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if not len(train) or not len(test):
            continue
        progress.say(f"held-out text scores, part {fold + 1} of {config.folds}")
        text = fit_text(gram, targets, train, config.penalties)
        scores[test] = text.scores(gram, test)
        fits.append((train, test, text))
    beta = sharpness(_domain_scores(scores, d), targets.domain)
    tables = [(test, quality_table(targets.take(train))) for train, test, _ in fits]
    blend = blend_of(scores, beta, tables, targets)
    compressed = [(test, _linear_parts(text, gram, train, targets, beta, blend, config)) for train, test, text in fits]
    progress.say("text scores of all prompts")
    whole = _linear_parts(
        fit_text(gram, targets, everyone, config.penalties), gram, everyone, targets, beta, blend, config
    )
    whole = replace(whole, tokens=token_lines(scores[:, -1], targets), latency=latency_lines(scores[:, -1], targets))
    return whole, _held_rows(compressed, matrix, targets, folds, config)


def _domain_scores(scores: Floats, n_domains: int) -> Floats:
    return scores[:, -1 - n_domains : -1]


def _linear_parts(
    text: LinearText, gram: Gram, rows: Rows, targets: Targets, beta: float, blend: float, config: LearnConfig
) -> GraphParts:
    """The parts without trees, calibration and tokens."""
    m, d = len(targets.models), len(targets.domains)
    known = np.ones((m + 1, 1), dtype=np.float32)
    known[m] = 0.0
    line = np.tile(np.array([1.0, 0.0], dtype=np.float32), (m + 1, 1))
    return GraphParts(
        models=targets.models,
        domains=targets.domains,
        text=compress(text, gram, rows, d, beta, config.rank),
        quality_table=quality_table(targets.take(rows)),
        extra=known,
        unknown=(1.0, 0.0),
        booster=None,
        own_weight=1.0,
        calibration=line,
        tokens=line,
        blend=blend,
    )


def _held_rows(
    fits: list[tuple[Rows, GraphParts]], matrix: FeatureMatrix, targets: Targets, folds: Rows, config: LearnConfig
) -> _Held:
    """Rows of all labelled pairs, each from the parts that never saw the prompt's group."""
    rng = np.random.default_rng(config.seed)
    prompts, models = np.nonzero(targets.labelled)
    chosen = _sample(np.arange(len(prompts)), config.tree_rows, config.seed)
    pairs = np.column_stack((prompts[chosen], models[chosen]))
    hidden = np.flatnonzero(rng.random(len(pairs)) < UNKNOWN_SHARE)
    known, own = _rows_of(fits, matrix, pairs, targets, hide=False)
    masked, masked_own = _rows_of(fits, matrix, pairs[hidden], targets, hide=True)
    label = targets.quality[pairs[:, 0], pairs[:, 1]]
    weight = targets.weight[pairs[:, 0]]
    return _Held(
        pairs,
        CandidateRows(known, own, label, weight, len(targets.models), pairs[:, 0]),
        CandidateRows(masked, masked_own, label[hidden], weight[hidden], len(targets.models), pairs[hidden, 0]),
        hidden,
        folds[pairs[:, 0]],
    )


def _rows_of(
    fits: list[tuple[Rows, GraphParts]], matrix: FeatureMatrix, pairs: Rows, targets: Targets, *, hide: bool
) -> tuple[Floats, Floats]:
    """Rows [P, F] and own logits [P] of ``pairs``; with ``hide``, as the graph describes an unknown model."""
    m, d = len(targets.models), len(targets.domains)
    descriptor = np.zeros((m, 1 + d), dtype=np.float32)
    descriptor[:, 0] = model_means(targets)
    indices = np.full(m, m) if hide else np.arange(m)
    out: Floats | None = None
    for test, parts in fits:
        wanted = np.flatnonzero(np.isin(pairs[:, 0], test))
        needed, where = np.unique(pairs[wanted, 0], return_inverse=True)
        for start in range(0, len(needed), 2048):
            inside = np.flatnonzero((where >= start) & (where < start + 2048))
            prompts = [matrix[int(row)] for row in needed[start : start + 2048]]
            block = candidate_rows(parts, prompts, indices, descriptor)
            if out is None:
                out = np.zeros((len(pairs), block.shape[2]), dtype=np.float32)
            out[wanted[inside]] = block[where[inside] - start, pairs[wanted[inside], 1]]
    rows = np.zeros((0, 1), dtype=np.float32) if out is None else out
    return rows, rows[:, -3] if len(rows) else np.zeros(0, dtype=np.float32)


def _with_trees(parts: GraphParts, held: _Held, targets: Targets, config: LearnConfig) -> GraphParts:
    """Adds the booster, and calibrates on logits of boosters that never saw the prompt's group."""
    known_logit = held.rows.own.astype(np.float64)
    hidden_logit = held.unknown.own.astype(np.float64)
    hidden_fold = held.fold[held.hidden]
    for fold in range(config.folds):
        booster = fit_trees(_joined(held, held.fold != fold, hidden_fold != fold), config.trees, config.seed)
        here, masked = held.fold == fold, hidden_fold == fold
        known_logit[here] += tree_logits(booster, held.rows.rows[here], config.trees.threads)
        hidden_logit[masked] += tree_logits(booster, held.unknown.rows[masked], config.trees.threads)
    everything = _joined(held, np.ones(len(held.fold), bool), np.ones(len(hidden_fold), bool))
    lines = _calibration(held, known_logit, hidden_logit, targets)
    return replace(parts, booster=fit_trees(everything, config.trees, config.seed), calibration=lines)


def _joined(held: _Held, known: npt.NDArray[np.bool_], hidden: npt.NDArray[np.bool_]) -> CandidateRows:
    """The rows of known and of hidden models together."""
    return CandidateRows(
        np.concatenate((held.rows.rows[known], held.unknown.rows[hidden])),
        np.concatenate((held.rows.own[known], held.unknown.own[hidden])),
        np.concatenate((held.rows.label[known], held.unknown.label[hidden])),
        np.concatenate((held.rows.weight[known], held.unknown.weight[hidden])),
        held.rows.n_models,
        np.concatenate((held.rows.prompts[known], held.unknown.prompts[hidden])),
    )


def _calibration(held: _Held, known_logit: Doubles, hidden_logit: Doubles, targets: Targets) -> Floats:
    """One line per model and one for unknown ones, float32 [M + 1, 2]."""
    n, m = targets.quality.shape
    logits, labels, weights = np.full((n, m), np.nan), np.full((n, m), np.nan), np.zeros((n, m))
    at = held.pairs[:, 0], held.pairs[:, 1]
    logits[at], labels[at], weights[at] = known_logit, held.rows.label, held.rows.weight
    lines = fit_calibration(logits, labels, weights)
    unknown = fit_calibration(hidden_logit[:, None], held.unknown.label[:, None].astype(np.float64))
    return np.vstack((lines[:m], unknown[:1])).astype(np.float32)
