"""Small fitted parts for the tests of the graph: random text weights, a booster on the rows of made-up prompts."""

from dataclasses import replace

import lightgbm as lgb
import numpy as np

from router_runtime.features import HASH_SIZE, STRUCTURAL, extract
from router_runtime.messages import Request
from training.graph_parts import GraphParts, TextModel, quantise, row_names
from training.parity import candidate_rows

ODD_TEXTS = ["", " ", "汉字很多。" * 40, "שלום עולם", "\ud800", "a b c " * 50, "😀" * 9, "\0", "x" * 9000, "1+1=?"]
_VOCABULARY = [
    f"{first}{last}" for first in ["alpha", "beta", "12", "why", "ünï", "код"] for last in ("", "s", "ing", "?", "\n")
]


def prompts(n, seed=0):
    """n requests' features: odd texts first, then random ones."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(_VOCABULARY, size=rng.integers(1, 120))) for _ in range(n - len(ODD_TEXTS))]
    return [extract(Request(text, turns=int(rng.integers(1, 5)))) for text in ODD_TEXTS + texts]


def linear_parts(n_models=3, n_domains=2, *, low_rank=None, more=1, extra=2, latency=True, dims=0, seed=0):
    """Parts without a booster; of ``dims`` > 0 the graph reads vectors of an encoder, too."""
    rng = np.random.default_rng(seed)
    k = n_models + n_domains + 2 + more
    weights, scale = quantise(rng.normal(size=(HASH_SIZE, low_rank or k)) * 0.5)
    text = TextModel(
        weights=weights,
        scale=scale,
        projection=None if low_rank is None else rng.normal(size=(low_rank, k)).astype(np.float32),
        dense=(rng.normal(size=(len(STRUCTURAL) + dims, k)) * 0.05).astype(np.float32),
        bias=rng.normal(size=k).astype(np.float32),
    )
    per_model = rng.uniform(0.5, 1.5, size=(3, n_models + 1, 2)).astype(np.float32)
    return GraphParts(
        models=tuple(f"model-{index}" for index in range(n_models)),
        domains=tuple(f"domain-{index}" for index in range(n_domains)),
        text=text,
        quality_table=rng.uniform(0.2, 0.9, size=(n_models, 1 + n_domains)).astype(np.float32),
        extra=rng.normal(size=(n_models + 1, extra)).astype(np.float32),
        unknown=(3.0, -1.5),
        booster=None,
        own_weight=0.3,
        calibration=per_model[0],
        tokens=np.hstack((per_model[1][:, :1], np.linspace(2, 5, n_domains) * per_model[1][:, 1:])).astype(np.float32),
        latency=per_model[2] * 100 if latency else None,
    )


def train_booster(parts, features, *, objective="cross_entropy", trees=60, **params):
    """A booster on made-up graded labels of the candidate rows of ``features``."""
    rows = candidate_rows(parts, features)
    rows = np.ascontiguousarray(rows.reshape(-1, rows.shape[-1]))
    names = row_names(parts)
    logit = 0.5 * rows[:, names.index("own")] + 2 * rows[:, names.index("strength")] - 1 + np.sin(3 * rows[:, 0])
    labels = 1 / (1 + np.exp(-logit))
    if objective == "binary":
        labels = (labels > 0.5).astype(float)
    settings = {
        "objective": objective,
        "num_leaves": 15,
        "min_data_in_leaf": 5,
        "verbose": -1,
        "num_threads": 1,
        "seed": 1,
    }
    data = lgb.Dataset(rows, labels, params={"verbose": -1})
    return lgb.train(settings | params, data, num_boost_round=trees)


def fitted_parts(features, **kwargs):
    """Parts with a booster."""
    parts = linear_parts(**kwargs)
    return replace(parts, booster=train_booster(parts, features))
