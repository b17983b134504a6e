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
from training.centred_loss import centred_error
from training.dataset import Table
from training.feature_matrix import AnyFeatures, FeatureMatrix, featurise
from training.graph_parts import Floats, GraphParts
from training.input_tokens import estimated_tokens, input_scales
from training.kernel_ridge import Gram
from training.labels_matrix import Targets, targets_of
from training.linear_stack import Stack, fit_fold, fit_texts, held_scores, likely_domains, settings
from training.parity import candidate_rows
from training.progress import QUIET, Progress
from training.quality_head import CandidateRows, Doubles, TreeConfig, fit_trees, tree_logits
from training.sketch import sketch_directions
from training.splits import grouped_folds
from training.tables import latency_lines, predicted_tokens, quality_table, token_heads

Rows = npt.NDArray[np.intp]

UNKNOWN_SHARE = 0.15


@dataclass(frozen=True)
class LearnConfig:
    """Settings of the learner; one set serves all tables.

    Args:
        seed: Seed of folds, samples and trees.
        folds: Inner folds for held-out scores.
        text_rows: The text scores learn from at most so many prompts, drawn by ``seed`` (their cost grows with the
            cube; what the cap costs in quality stands in training/README.md).
        tree_rows: The trees learn from at most so many pairs of prompt and model.
        rank: Columns of hashed weights in the graph for the text scores.
        sketch: Columns of hashed weights in the graph that only the trees read. With ``rank`` 64 bytes a row, a line of
            the processor's cache: fetching the rows of a prompt's ids is the dearest step of a decision.
        penalties: Of the text scores, relative to the mean diagonal of the Gram matrix; their mean is what serves.
        trees: Of the booster.
        label: Column of the prompts that the task head learns.
    """

    seed: int = 0
    folds: int = 3
    text_rows: int = 12_000
    tree_rows: int = 600_000
    rank: int = 24
    sketch: int = 40
    penalties: tuple[float, ...] = (12.0, 4.0)
    trees: TreeConfig = field(default_factory=TreeConfig)
    label: str = "task"


@dataclass(frozen=True)
class OutcomeModel:
    """A fitted router.

    Args:
        parts: What the graph is made of.
        counts: Prompts and labels seen and used, JSON-ready.
    """

    parts: GraphParts
    counts: dict[str, int]


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
    return OutcomeModel(parts, counts)


def _sample(rows: Rows, size: int, seed: int) -> Rows:
    if len(rows) <= size:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, size, replace=False))


def _stack(
    gram: Gram, matrix: FeatureMatrix, targets: Targets, folds: Rows, config: LearnConfig, progress: Progress
) -> tuple[GraphParts, _Held]:
    """The linear stack fitted on all prompts, and its held-out rows."""
    fits = []
    for fold in range(config.folds):
        progress.say(f"held-out text scores, part {fold + 1} of {config.folds}")
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        fits.append(fit_fold(gram, targets, train, test, config.penalties))
    scores = held_scores(fits, gram, len(matrix))
    sketch = sketch_directions(gram, config.sketch, config.seed)
    stack = Stack(gram, targets, *settings(fits, scores, targets), sketch, config.rank)
    blend = stack.blend
    progress.say(
        f"text scores of all prompts; weight of the domain table {blend.weight:.2f}, spread {blend.spread:.2f}"
    )
    compressed = [(fit.test, stack.parts(fit.text, fit.table, fit.train)) for fit in fits]
    everyone = np.arange(len(matrix))
    text = fit_texts(gram, targets, everyone, config.penalties)
    whole = _with_tokens(stack.parts(text, quality_table(targets), everyone), scores, stack.beta, targets)
    whole = replace(whole, input_scale=input_scales(estimated_tokens(matrix.structural), targets.input_tokens))
    return whole, _held_rows(compressed, matrix, targets, folds, config)


def _with_tokens(parts: GraphParts, scores: Floats, beta: float, targets: Targets) -> GraphParts:
    """Adds what is learnt of output tokens and latency from held-out ``scores`` [n, K]."""
    likely, score = likely_domains(scores, beta, targets), scores[:, -1]
    heads = token_heads(likely, score, targets)
    return replace(parts, tokens=heads, latency=latency_lines(predicted_tokens(heads[:-1], likely, score), targets))


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
    indices = np.full(m, m) if hide else np.arange(m)
    out: Floats | None = None
    for test, parts in fits:
        descriptor = np.hstack((parts.quality_table[:, :1], np.zeros((m, d), dtype=np.float32)))
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
    offered = config.trees.offered
    known = {rounds: held.rows.own.astype(np.float64) for rounds in offered}
    hidden = {rounds: held.unknown.own.astype(np.float64) for rounds in offered}
    hidden_fold = held.fold[held.hidden]
    for fold in range(config.folds):
        booster = fit_trees(_joined(held, held.fold != fold, hidden_fold != fold), config.trees, config.seed)
        here, masked = held.fold == fold, hidden_fold == fold
        for rounds in offered:
            known[rounds][here] += tree_logits(booster, held.rows.rows[here], config.trees.threads, rounds)
            hidden[rounds][masked] += tree_logits(booster, held.unknown.rows[masked], config.trees.threads, rounds)
    label = held.rows.label.astype(np.float64)
    errors = [centred_error(known[rounds], label, held.rows.prompts, config.trees.centring) for rounds in offered]
    rounds = offered[int(np.argmin(errors))]
    everything = _joined(held, np.ones(len(held.fold), bool), np.ones(len(hidden_fold), bool))
    booster = fit_trees(everything, replace(config.trees, rounds=rounds), config.seed)
    return replace(parts, booster=booster, calibration=_calibration(held, known[rounds], hidden[rounds], targets))


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
