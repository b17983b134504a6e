"""Near-duplicate groups of prompts: the same up to case, digits and punctuation, or most word triples shared.

A frame that many prompts share, such as the system prompt of an application, makes no group of them: see
:mod:`training.minhash`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from router_runtime.features import GRAM_START
from training.minhash import U64, Ints, Tokens, components, mix, row_hashes

HEAD_CHARS, TAIL_CHARS = 4000, 2000
"""Of a long text that are read: what is asked often stands at its end."""
FRAME_WORDS = 24
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
    hashes = pd.util.hash_array(np.asarray(distinct, dtype=object))
    labels = components(hashes, lambda rows: _triples([str(key) for key in distinct[rows]]), FRAME_WORDS)
    names = _named(labels, hashes)
    return [names[index] for index in key_code[place]]


def id_groups(ids: npt.NDArray[np.uint16], offsets: Ints) -> list[str]:
    """Likewise for each row of hashed words and pairs of words (``FeatureMatrix.ids``, ``offsets``).

    Digits are words here like any other, so short siblings of one template stand apart, which texts' groups join.
    """

    def read(rows: Ints) -> Tokens:
        lengths = offsets[rows + 1] - offsets[rows]
        edges = np.concatenate(([0], np.cumsum(lengths)))
        found = ids[np.repeat(offsets[rows] - edges[:-1], lengths) + np.arange(edges[-1])]
        words = found < GRAM_START
        kept = np.concatenate(([0], np.cumsum(words)))[edges]
        return Tokens(mix(found[words].astype(np.uint64) + np.uint64(1)), kept)

    n = len(offsets) - 1
    starts = range(0, n, _CHUNK)
    hashed = [row_hashes(read(np.arange(start, min(start + _CHUNK, n)))) for start in starts]
    hashes = np.concatenate([np.zeros(0, np.uint64), *hashed])
    return _named(components(hashes, read, 2 * FRAME_WORDS), hashes)


def _named(labels: Ints, hashes: U64) -> list[str]:
    """``g`` and the least hash of each row's component."""
    least = pd.Series(hashes).groupby(labels).transform("min").to_numpy()
    return [f"g{name:016x}" for name in least]


def template_key(text: str) -> str:
    """``text`` in lower case, digits merged to 0, the rest one space; a text without either as it is."""
    if len(text) > HEAD_CHARS + TAIL_CHARS:
        text = f"{text[:HEAD_CHARS]} {text[-TAIL_CHARS:]}"
    read = text.encode("utf-8", "replace").decode()
    key = _DIGITS.sub("0", _NOT_WORD.sub(" ", read.lower())).strip()
    return key or read


def _triples(keys: Sequence[str]) -> Tokens:
    """Hashes of the word triples of normalised texts."""
    words = [key.split() for key in keys]
    counts = np.array([max(len(found), 1) for found in words])
    flat = np.array([word for found in words for word in (found or [""])], dtype=object)
    owner = np.repeat(np.arange(len(keys)), counts)
    return Tokens(_shingles(pd.util.hash_array(flat), owner), np.concatenate(([0], np.cumsum(counts))))


def _shingles(words: U64, owner: Ints) -> U64:
    """Hashes of three words in a row; at a text's end of fewer, so that short texts have shingles too."""
    out = words.copy()
    for step in range(1, _SHINGLE):
        inside = np.zeros(len(words), dtype=bool)
        inside[:-step] = owner[step:] == owner[:-step]
        following = np.where(inside, np.roll(words, -step), 0).astype(np.uint64)
        out = mix(out * np.uint64(0x9E3779B97F4A7C15) + following)
    return out
