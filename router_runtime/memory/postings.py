"""Ranking by words: which rows hold a word, in the process, so that every word of a query is weighed.

SQLite's FTS5 reads a tenth of the postings that a query of common words needs within 20 ms, and asking for rare words
alone finds .72 of what all words find (``tests/benchmarks/RESULTS.md``); tantivy shows a write only after a commit of
16 ms and more. Here a word's postings are one growing array, read without a copy.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from router_runtime.memory.growing import grown
from router_runtime.memory.keywords import COUNTED, word_number, words_of

K1, B = 1.2, 0.75
_LEAST_RARITY = 1e-6
_COUNT_BITS = np.uint32(8)
_COUNT_MASK = np.uint32(0xFF)


class WordTable:
    """Rows by their words, ranked by BM25. Not thread-safe. Up to 16 million rows."""

    def __init__(self) -> None:
        self._rows = 0
        self._postings: dict[int, array[int]] = {}  # word → row << 8 | count, by row
        self._lengths = np.zeros(0, dtype=np.float32)

    def add(self, counted: Sequence[bytes]) -> None:
        """Appends rows, each as :func:`~router_runtime.memory.keywords.counted` gives it."""
        every = np.frombuffer(b"".join(counted), dtype=COUNTED)
        sizes = np.array([len(one) // COUNTED.itemsize for one in counted], dtype=np.int64)
        first, self._rows = self._rows, self._rows + len(counted)
        rows = np.repeat(np.arange(first, self._rows, dtype=np.uint32), sizes)
        self._lengths = grown(self._lengths, self._rows)
        self._lengths[first : self._rows] = np.bincount(rows - first, every["count"], len(counted))
        for word, postings in _by_word(every["word"], (rows << _COUNT_BITS) | every["count"]):
            self._postings.setdefault(word, array("I")).frombytes(postings)

    def best(self, query: str, allowed: npt.NDArray[np.bool_], k: int) -> npt.NDArray[np.intp]:
        """The k best of the allowed rows that hold any word of ``query``, best first; of two as good the newer first.

        BM25 (Robertson and Zaragoza 2009) with k1 = 1.2 and b = .75; words of half of all rows only just count.

        Args:
            query: Any text.
            allowed: bool [rows].
            k: At least 1.
        """
        scores = np.zeros(self._rows, dtype=np.float32)
        norms = self._norms()
        for number in {word_number(word) for word in words_of(query)}:
            held = self._postings.get(number)
            if held is not None:
                postings = np.frombuffer(held, dtype=np.uint32)
                rows = (postings >> _COUNT_BITS).astype(np.intp)
                counts = (postings & _COUNT_MASK).astype(np.float32)
                counts *= self._weight(len(held)) / (counts + norms.take(rows))
                scores[rows] += counts
        scores[~allowed] = 0.0
        return _first(scores, k)

    def _weight(self, holders: int) -> np.float32:
        """Of a word that so many rows hold."""
        rarity = math.log((self._rows - holders + 0.5) / (holders + 0.5))
        return np.float32((K1 + 1) * max(rarity, _LEAST_RARITY))

    def _norms(self) -> npt.NDArray[np.float32]:
        """What a long row's counts are held against, float32 [rows]."""
        lengths = self._lengths[: self._rows]
        return K1 * (1 - B + B * lengths / max(float(lengths.mean()), 1.0)) if self._rows else lengths


def _by_word(words: npt.NDArray[np.uint32], postings: npt.NDArray[np.uint32]) -> Iterator[tuple[int, memoryview]]:
    """Each word with its postings, in order."""
    order = np.argsort(words, kind="stable")
    words, flat = words[order], memoryview(postings[order].tobytes())
    edges = [0, *(np.flatnonzero(words[1:] != words[:-1]) + 1).tolist(), len(words)]
    for start, end in itertools.pairwise(edges) if len(words) else ():
        yield int(words[start]), flat[4 * start : 4 * end]


def _first(scores: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.intp]:
    """Places of the k highest above 0, best first; of two alike the later first."""
    held = scores.nonzero()[0]
    far = -scores[held]
    if len(held) > k:
        kept = far <= np.partition(far, k - 1)[k - 1]
        held, far = held[kept], far[kept]
    return held[np.lexsort((-held, far))[:k]]
