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
    hashes = pd.util.hash_array(np.asarray(distinct, dtype=object))
    names = pd.Series(hashes).groupby(labels).transform("min").to_numpy()
    return [f"g{name:016x}" for name in names[code]]


def template_key(text: str) -> str:
    """``text`` in lower case, digits merged to 0, the rest one space; a text without either as it is."""
    head = text[:HEAD_CHARS].encode("utf-8", "replace").decode()
    key = _DIGITS.sub("0", _NOT_WORD.sub(" ", head.lower())).strip()
    return key or head


def signatures(keys: Sequence[str]) -> U64:
    """MinHash signatures uint64[n, HASHES] of the word triples of normalised texts."""
    salts = np.random.default_rng(20_260_401).integers(1, 2**63, HASHES, dtype=np.uint64) | np.uint64(1)
    parts = [_chunk_signatures(keys[start : start + _CHUNK], salts) for start in range(0, len(keys), _CHUNK)]
    return np.concatenate(parts)


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
