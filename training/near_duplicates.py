"""Near-duplicate groups of prompts: the same up to case, digits and punctuation, or most word triples shared.

MinHash (Broder 1997) over word triples with banding; a pair that shares a band is joined only where the two
signatures agree in most places. Everything but the normalisation of a text runs on whole arrays, chunk by chunk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from router_runtime.features import GRAM_START

U64 = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

HASHES, ROWS = 24, 3  # 8 bands of 3: a pair of Jaccard similarity .8 shares a band with probability .997
AGREEMENT = 0.75
HEAD_CHARS = 4000
_CHUNK = 20_000
_SHINGLE = 3
_NOT_WORD = re.compile(r"[\W_]+")
_DIGITS = re.compile(r"\d+")


def near_duplicate_groups(texts: Sequence[str]) -> list[str]:
    """A group name for each text; near-duplicates share it, and it does not depend on the order of the texts' groups.

    Texts that differ only in case, digits, punctuation and space always share a group, so that the siblings of one
    template ("add 3 and 4", "add 7 and 9") fall together. The name is ``g`` and the hash of one member.
    """
    if not len(texts):
        return []
    place, different = pd.factorize(np.asarray(texts, dtype=object))
    key_code, distinct = pd.factorize(np.array([template_key(str(text)) for text in different], dtype=object))
    code = key_code[place]
    labels = _joined(signatures([str(key) for key in distinct]))
    names = _named(labels, pd.util.hash_array(np.asarray(distinct, dtype=object)))
    return [names[index] for index in code]


def group_names(signature: U64) -> list[str]:
    """A group name for each row of :func:`id_signatures`, as :func:`near_duplicate_groups` gives one to a text."""
    own = signature[:, 0].copy()
    for column in signature.T[1:]:
        own = _mix(own * np.uint64(3) + column)
    return _named(_joined(signature), own)


def _named(labels: Ints, hashes: U64) -> list[str]:
    """``g`` and the least hash of each row's component."""
    least = pd.Series(hashes).groupby(labels).transform("min").to_numpy()
    return [f"g{name:016x}" for name in least]


def template_key(text: str) -> str:
    """``text`` in lower case, digits merged to 0, the rest one space; a text without either as it is."""
    head = text[:HEAD_CHARS].encode("utf-8", "replace").decode()
    key = _DIGITS.sub("0", _NOT_WORD.sub(" ", head.lower())).strip()
    return key or head


def signatures(keys: Sequence[str]) -> U64:
    """MinHash signatures uint64[n, HASHES] of the word triples of normalised texts."""
    salts = _salts()
    parts = [_chunk_signatures(keys[start : start + _CHUNK], salts) for start in range(0, len(keys), _CHUNK)]
    return np.concatenate(parts)


def id_signatures(ids: npt.NDArray[np.uint16], offsets: Ints) -> U64:
    """MinHash signatures uint64[n, HASHES] of hashed words and pairs of words (``FeatureMatrix.ids``, ``offsets``).

    Digits are words here like any other, so short siblings of one template stand apart, which texts' groups join.
    """
    salts = _salts()
    rows = len(offsets) - 1
    edges = range(0, rows, _CHUNK)
    parts = [_id_chunk(ids, offsets[start : min(start + _CHUNK, rows) + 1], salts) for start in edges]
    return np.concatenate([np.empty((0, HASHES), np.uint64), *parts])


def _id_chunk(ids: npt.NDArray[np.uint16], offsets: Ints, salts: U64) -> U64:
    part = ids[offsets[0] : offsets[-1]]
    words = part < GRAM_START
    kept = np.concatenate(([0], np.cumsum(words)))[offsets - offsets[0]]
    some = kept[1:] > kept[:-1]
    hashed = _mix(part[words].astype(np.uint64) + np.uint64(1))
    out = np.zeros((len(offsets) - 1, len(salts)), dtype=np.uint64)  # a request without words is like others without
    for place, salt in enumerate(salts):
        if some.any():
            out[some, place] = np.minimum.reduceat(_mix(hashed * salt), kept[:-1][some])
    return out


def _salts() -> U64:
    return np.random.default_rng(20_260_401).integers(1, 2**63, HASHES, dtype=np.uint64) | np.uint64(1)


def _chunk_signatures(keys: Sequence[str], salts: U64) -> U64:
    words = [key.split() for key in keys]
    counts = np.array([max(len(found), 1) for found in words])
    flat = np.array([word for found in words for word in (found or [""])], dtype=object)
    owner = np.repeat(np.arange(len(keys)), counts)
    shingles = _shingles(pd.util.hash_array(flat), owner)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    out = np.empty((len(keys), len(salts)), dtype=np.uint64)
    for place, salt in enumerate(salts):
        out[:, place] = np.minimum.reduceat(_mix(shingles * salt), starts)
    return out


def _shingles(words: U64, owner: Ints) -> U64:
    """Hashes of three words in a row; at a text's end of fewer, so that short texts have shingles too."""
    out = words.copy()
    for step in range(1, _SHINGLE):
        inside = np.zeros(len(words), dtype=bool)
        inside[:-step] = owner[step:] == owner[:-step]
        following = np.where(inside, np.roll(words, -step), 0).astype(np.uint64)
        out = _mix(out * np.uint64(0x9E3779B97F4A7C15) + following)
    return out


def _mix(values: U64) -> U64:
    values = values ^ (values >> np.uint64(29))
    values = values * np.uint64(0xBF58476D1CE4E5B9)
    return values ^ (values >> np.uint64(32))


def _joined(signature: U64) -> Ints:
    """Component of each row, int64[n], where rows that share a band and agree are joined."""
    rows, others = [], []
    for start in range(0, HASHES, ROWS):
        band = _mix(signature[:, start] * np.uint64(3) + _mix(signature[:, start + 1] + signature[:, start + 2]))
        order = np.argsort(band, kind="stable")
        same = np.flatnonzero(band[order][1:] == band[order][:-1])
        left, right = order[same], order[same + 1]
        agree = (signature[left] == signature[right]).mean(axis=1) >= AGREEMENT
        rows.append(left[agree])
        others.append(right[agree])
    left, right = np.concatenate(rows), np.concatenate(others)
    graph = sp.coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(len(signature), len(signature)))
    return np.asarray(sp.csgraph.connected_components(graph, directed=False)[1], dtype=np.int64)
