"""The requests of a log as features: those that were logged, else those of the logged text, each different one once.

Groups of near-duplicates are made of features too, so that a log says the same to the learner with text or without.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from router_runtime.encoder import TextEncoder
from router_runtime.features import STRUCTURAL
from router_runtime.keeping import COUNTS
from router_runtime.messages import Request
from training.feature_matrix import FeatureMatrix, RepeatedFeatures, embed, featurise
from training.near_duplicates import id_groups

Ints = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_K = np.uint64(0x9E3779B97F4A7C15)


def read_features(decisions: pa.Table, encoder: TextEncoder | None = None) -> RepeatedFeatures:
    """Features of n logged decisions; of two that are equal one is kept.

    Args:
        decisions: ``prompt``, ``intent``, ``counts`` (as JSON; text, may be null), ``feature_ids`` (list of uint16,
            null where no features were logged) and ``structural`` (list of float32).
        encoder: Reads the texts, too, redacted ones as they are; every prompt must be there.
    """
    read = _read(decisions)
    return read if encoder is None else _embedded(read, decisions, encoder)


def _embedded(read: RepeatedFeatures, decisions: pa.Table, encoder: TextEncoder) -> RepeatedFeatures:
    """With the vectors of the different requests' texts, each as its first decision has it."""
    _, first = np.unique(read.code, return_index=True)
    vectors = embed(decisions["prompt"].take(first).to_pylist(), encoder)
    return replace(read, distinct=replace(read.distinct, embedding=vectors))


def _read(decisions: pa.Table) -> RepeatedFeatures:
    stored = np.flatnonzero(decisions["feature_ids"].is_valid().to_numpy())
    if len(stored) == decisions.num_rows:
        return _distinct(_stored(decisions), np.arange(decisions.num_rows))
    text, code = _from_text(decisions)
    if not len(stored):
        return _distinct(text, code)
    code[stored] = len(text) + np.arange(len(stored))
    return _distinct(_joined(text, _stored(decisions.take(stored))), code)


def feature_groups(features: RepeatedFeatures) -> npt.NDArray[np.object_]:
    """The group of near-duplicates of each prompt, str[n]: most words and pairs of words shared."""
    distinct = features.distinct
    names = id_groups(distinct.ids, distinct.offsets)
    return np.asarray(names, dtype=object)[features.code]


def _from_text(decisions: pa.Table) -> tuple[FeatureMatrix, Ints]:
    """Features of the different requests by text, intent and counts, and each decision's one int64[n]."""
    codes, values = zip(*(_codes(decisions[name]) for name in ("prompt", "intent", "counts")), strict=True)
    (texts, intents, counts) = values
    code, different = pd.factorize((codes[0] * len(intents) + codes[1]) * len(counts) + codes[2])
    pairs, numbers = np.divmod(different, len(counts))
    told = [_counts(one) for one in counts]
    requests = [
        Request(texts[pair // len(intents)] or "", intent=intents[pair % len(intents)], **told[place])
        for pair, place in zip(pairs.tolist(), numbers.tolist(), strict=True)
    ]
    return featurise(requests), code.astype(np.int64)


def _counts(told: str | None) -> dict[str, Any]:
    """The numbers that were logged, those of a later version left out."""
    found = json.loads(told) if told else {}
    return {name: value for name, value in found.items() if name in COUNTS and value is not None}


def _codes(column: pa.ChunkedArray) -> tuple[Ints, list[str | None]]:
    """Index of each value int64[n], and the values; the last one is None."""
    encoded = column.dictionary_encode().unify_dictionaries()
    values = encoded.chunk(0).dictionary.to_pylist() if encoded.num_chunks else []
    parts = [chunk.indices.fill_null(len(values)).to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64), [*values, None]


def _stored(decisions: pa.Table) -> FeatureMatrix:
    """The features that were logged."""
    lists, numbers = decisions["feature_ids"].chunks, decisions["structural"].chunks
    ids = np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in lists])
    lengths = np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in lists])
    structural = np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in numbers])
    offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    return FeatureMatrix(
        ids.astype(np.uint16, copy=False),
        offsets,
        structural.astype(np.float32, copy=False).reshape(-1, len(STRUCTURAL)),
    )


def _joined(first: FeatureMatrix, second: FeatureMatrix) -> FeatureMatrix:
    return FeatureMatrix(
        np.concatenate((first.ids, second.ids)),
        np.concatenate((first.offsets, first.offsets[-1] + second.offsets[1:])),
        np.concatenate((first.structural, second.structural)),
    )


def _distinct(features: FeatureMatrix, code: Ints) -> RepeatedFeatures:
    """Equal rows of ``features`` joined; the kept ones stand in order of their first decision."""
    same, first = _factorised(_row_hashes(features)[code])
    return RepeatedFeatures(features.take(code[first]), same)


def _factorised(keys: U64) -> tuple[Ints, Ints]:
    """Number of each key in order of first appearance int64[n], and where each number first appears int64[D]."""
    same, different = pd.factorize(keys)
    first = np.full(len(different), len(keys), dtype=np.int64)
    np.minimum.at(first, same, np.arange(len(keys)))
    return same.astype(np.int64), first


def _row_hashes(features: FeatureMatrix) -> U64:
    """A 64-bit hash of each row's ids and structural numbers."""
    mixed = pd.util.hash_array(np.arange(2**16, dtype=np.uint64))
    hashes = np.empty(len(features), dtype=np.uint64)
    step = 50_000  # so that the hashes of ids take 8 bytes each of a part only
    for start in range(0, len(features), step):
        edges = features.offsets[start : start + step + 1]
        running = np.concatenate(([np.uint64(0)], np.cumsum(mixed[features.ids[edges[0] : edges[-1]]])))
        hashes[start : start + step] = running[edges[1:] - edges[0]] - running[edges[:-1] - edges[0]]
    for column in features.structural.T:
        hashes = (hashes ^ (hashes >> np.uint64(29))) * _K + column.copy().view(np.uint32)
    return hashes
