"""What a learned router must beat: routers on the same text that anyone would try first, tuned as fairly as ours.

Each baseline predicts quality and cost and then sweeps q̂ − λ·ĉ as ours does. What it leaves open (representation,
neighbours, clusters, regularisation, how cost is predicted) is chosen by AIQ on an inner split of the training prompts,
by group; then it is fitted again on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression

from training.metrics import frontier_metrics
from training.representations import Representation, Spaces
from training.sweep import Field, Floats, Predicted, Truth, sweep_choices

NEIGHBOURS = (10, 20, 40, 80, 160)
CLUSTERS = (8, 16, 32, 64, 128)
PENALTIES = (0.3, 1.0, 3.0, 10.0)
INNER_SHARE = 0.25


class Prompts(NamedTuple):
    """Prompts to be routed: texts [n], and the true task labels [n] that only :func:`fit_task_table` may read."""

    texts: Sequence[str]
    tasks: npt.NDArray[np.str_]


class Fitted(Protocol):
    """A baseline that has seen its training prompts."""

    def predict(self, prompts: Prompts) -> Predicted:
        """q̂ and ĉ [n, M] of prompts."""
        ...


class Fit(Protocol):
    """Fits a baseline on texts [n] and their outcomes."""

    def __call__(self, texts: Sequence[str], truth: Truth, *, seed: int = 0) -> Fitted:
        """The fitted baseline; the same seed gives the same one."""
        ...


@dataclass(frozen=True)
class _TaskTable:
    """Mean quality and cost per task; what a router told the true task label can know."""

    quality: dict[str, Floats]
    cost: dict[str, Floats]
    default: tuple[Floats, Floats]

    def predict(self, prompts: Prompts) -> Predicted:
        quality = [self.quality.get(str(task), self.default[0]) for task in prompts.tasks]
        cost = [self.cost.get(str(task), self.default[1]) for task in prompts.tasks]
        return Predicted(np.array(quality), np.array(cost))


def fit_task_table(texts: Sequence[str], truth: Truth, *, seed: int = 0) -> Fitted:  # noqa: ARG001 -- see Fit
    """Best model per task, told the TRUE task label; a task never seen takes the overall means."""
    names = np.unique(truth.tasks)
    means = (truth.quality.mean(axis=0), truth.cost.mean(axis=0))
    return _TaskTable(
        {str(t): truth.quality[truth.tasks == t].mean(axis=0) for t in names},
        {str(t): truth.cost[truth.tasks == t].mean(axis=0) for t in names},
        means,
    )


@dataclass(frozen=True)
class _Neighbours:
    """k nearest training prompts by cosine, their outcomes averaged."""

    space: Representation
    seen: Any
    truth: Truth
    k: int
    own_cost: bool

    def predict(self, prompts: Prompts) -> Predicted:
        return _average(self.truth, nearest(self.space.transform(prompts.texts), self.seen, self.k), self.own_cost)


def nearest(queries: Any, seen: Any, k: int) -> npt.NDArray[np.intp]:
    """Indices [n, k] of the rows of ``seen`` of highest cosine, nearest first (rows are unit vectors)."""
    k = min(k, seen.shape[0])
    found = []
    for start in range(0, queries.shape[0], 1024):
        similar = queries[start : start + 1024] @ seen.T
        dense = np.asarray(similar.todense()) if hasattr(similar, "todense") else similar
        top = np.argpartition(-dense, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(dense, top, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(top, order, axis=1))
    return np.vstack(found)


def _average(truth: Truth, rows: npt.NDArray[np.intp], own_cost: bool) -> Predicted:
    quality = truth.quality[rows].mean(axis=1)
    cost = truth.cost[rows].mean(axis=1) if own_cost else np.broadcast_to(truth.cost.mean(axis=0), quality.shape)
    return Predicted(quality, cost)


def fit_neighbours(texts: Sequence[str], truth: Truth, *, seed: int = 0) -> Fitted:
    """kNN; space, k and the prediction of cost chosen on an inner split."""
    inner, outer = _inner_split(truth, seed)
    inner_texts, outer_texts = _pick(texts, inner), _pick(texts, outer)
    best: tuple[float, str, int, bool] | None = None
    spaces = Spaces(inner_texts, seed)
    for name in spaces.names:
        space = spaces.get(name)
        rows = nearest(space.transform(outer_texts), space.transform(inner_texts), max(NEIGHBOURS))
        for k in NEIGHBOURS:
            for own_cost in (False, True):
                value = _inner_aiq(_average(truth.take(inner), rows[:, :k], own_cost), truth.take(outer))
                best = max(best or (-1.0, "", 0, False), (value, name, k, own_cost))
    assert best is not None
    space = Spaces(texts, seed).get(best[1])
    return _Neighbours(space, space.transform(texts), truth, best[2], best[3])


@dataclass(frozen=True)
class _Clusters:
    """k-means on the training prompts; the outcomes of the nearest centre's prompts averaged."""

    space: Representation
    means: KMeans
    quality: Floats
    cost: Floats

    def predict(self, prompts: Prompts) -> Predicted:
        return self.at(self.space.transform(prompts.texts))

    def at(self, points: Any) -> Predicted:
        """The same for prompts that are vectors already."""
        labels = self.means.predict(points)
        return Predicted(self.quality[labels], self.cost[labels])


def _cluster(space: Representation, points: Any, truth: Truth, k: int, seed: int) -> _Clusters:
    means = KMeans(n_clusters=min(k, len(points)), n_init=1, random_state=seed).fit(points)
    quality = np.tile(truth.quality.mean(axis=0), (means.n_clusters, 1))
    cost = np.tile(truth.cost.mean(axis=0), (means.n_clusters, 1))
    for label in np.unique(means.labels_):
        quality[label] = truth.quality[means.labels_ == label].mean(axis=0)
        cost[label] = truth.cost[means.labels_ == label].mean(axis=0)
    return _Clusters(space, means, quality, cost)


def _one_cost(fitted: _Clusters, truth: Truth) -> _Clusters:
    """The same clusters with every model's overall mean cost."""
    return replace(fitted, cost=np.broadcast_to(truth.cost.mean(axis=0), fitted.cost.shape))


def fit_clusters(texts: Sequence[str], truth: Truth, *, seed: int = 0) -> Fitted:
    """k-means (the way of Avengers-Pro); space, number of clusters and cost chosen on an inner split."""
    inner, outer = _inner_split(truth, seed)
    inner_texts, outer_texts, held_out = _pick(texts, inner), _pick(texts, outer), truth.take(outer)
    best: tuple[float, str, int, bool] | None = None
    spaces = Spaces(inner_texts, seed)
    for name in spaces.dense_names:
        space = spaces.get(name)
        points, outer_points = space.transform(inner_texts), space.transform(outer_texts)
        for k in CLUSTERS:
            fitted = _cluster(space, points, truth.take(inner), k, seed)
            for own_cost, variant in ((True, fitted), (False, _one_cost(fitted, truth))):
                value = _inner_aiq(variant.at(outer_points), held_out)
                best = max(best or (-1.0, "", 0, False), (value, name, k, own_cost))
    assert best is not None
    space = Spaces(texts, seed).get(best[1])
    fitted = _cluster(space, space.transform(texts), truth, best[2], seed)
    return fitted if best[3] else _one_cost(fitted, truth)


@dataclass(frozen=True)
class _Linear:
    """One logistic regression per model on TF-IDF."""

    space: Representation
    heads: tuple[LogisticRegression | float, ...]
    cost: Floats

    def predict(self, prompts: Prompts) -> Predicted:
        points = self.space.transform(prompts.texts)
        columns = [
            np.full(len(prompts.texts), head) if isinstance(head, float) else head.predict_proba(points)[:, 1]
            for head in self.heads
        ]
        return Predicted(np.column_stack(columns), np.broadcast_to(self.cost, (len(prompts.texts), len(self.cost))))


def _linear(space: Representation, texts: Sequence[str], truth: Truth, penalty: float) -> _Linear:
    points = space.transform(texts)
    heads = tuple(_logistic(points, truth.quality[:, m], penalty) for m in range(truth.quality.shape[1]))
    return _Linear(space, heads, truth.cost.mean(axis=0))


def _logistic(points: Any, quality: Floats, penalty: float) -> LogisticRegression | float:
    """Logistic regression of graded labels: a label q counts q times as good and 1 − q times as bad.

    A constant where all answers are equally good, which no regression can be fitted on.
    """
    rows = np.concatenate((np.flatnonzero(quality > 0), np.flatnonzero(quality < 1)))
    labels = np.repeat([1, 0], [np.count_nonzero(quality > 0), np.count_nonzero(quality < 1)])
    if len(np.unique(labels)) < 2:
        return float(quality.mean())
    weights = np.where(labels == 1, quality[rows], 1.0 - quality[rows])
    head = LogisticRegression(C=penalty, solver="liblinear", tol=1e-3, random_state=0)
    return head.fit(points[rows], labels, sample_weight=weights)


def fit_linear(texts: Sequence[str], truth: Truth, *, seed: int = 0) -> Fitted:
    """TF-IDF (words and pairs of words) + logistic regression per model; the penalty chosen on an inner split."""
    inner, outer = _inner_split(truth, seed)
    space = Spaces(_pick(texts, inner), seed).get("tfidf")
    held_out = truth.take(outer)
    outer_texts = _pick(texts, outer)
    scored = []
    for penalty in PENALTIES:
        fitted = _linear(space, _pick(texts, inner), truth.take(inner), penalty)
        scored.append((_inner_aiq(fitted.predict(Prompts(outer_texts, held_out.tasks)), held_out), penalty))
    return _linear(Spaces(texts, seed).get("tfidf"), texts, truth, max(scored)[1])


def _inner_split(truth: Truth, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows to fit and rows to choose on, by group."""
    names = np.unique(truth.groups)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(names, size=max(1, round(len(names) * INNER_SHARE)), replace=False)
    outer = np.isin(truth.groups, chosen)
    return np.flatnonzero(~outer), np.flatnonzero(outer)


def _pick(texts: Sequence[str], rows: npt.NDArray[np.intp]) -> list[str]:
    return [texts[i] for i in rows]


def _inner_aiq(predicted: Predicted, truth: Truth) -> float:
    field = Field(truth)
    cost, quality = field.points(sweep_choices(predicted)).means(field.ones(), field.sizes)
    return frontier_metrics(cost[0], quality[0], field.references(field.ones())[0])["aiq"]


BASELINES: dict[str, Fit] = {
    "knn": fit_neighbours,
    "kmeans": fit_clusters,
    "tfidf_logistic": fit_linear,
    "task_table": fit_task_table,
}
