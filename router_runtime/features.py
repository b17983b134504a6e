"""Request → numbers: the only code that turns text into features, for training and for serving alike.

Stateless, numpy only, no Python loop over tokens. Nothing here is learnt: all weights live in the bundle's graph. Any
change of the numbers below must raise :data:`FEATURES_VERSION`; a bundle of another version is refused.

The text (the first :data:`HEAD_BYTES` and last :data:`TAIL_BYTES` of it, as UTF-8) is lowercased by a table. Words are
runs of ASCII letters, digits and all bytes above 127; a word's key is its first 8 bytes, its last 8 bytes and its
length, read as overlapping 8-byte loads. Words, pairs of neighbouring words, 4-byte windows and the declared intent
are hashed into one space of :data:`HASH_SIZE` ids, each kind into its own part, and every id counts once.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from router_runtime.messages import Request
from router_runtime.structural import STRUCTURAL, structural_numbers
from router_runtime.words import BACK, BITS_32, FRONT, K2, K5, LOWERED, WORD_ROWS, pad, read_words, scale, u64

__all__ = [
    "BIGRAM_START",
    "FEATURES_VERSION",
    "GRAM_START",
    "HASH_SIZE",
    "INTENT_START",
    "STRUCTURAL",
    "WORD_ROWS",
    "Features",
    "extract",
]

FEATURES_VERSION = 1

HEAD_BYTES = 6144
TAIL_BYTES = 2048

BIGRAM_ROWS = 32512
GRAM_ROWS = 16384
INTENT_ROWS = 256
BIGRAM_START = WORD_ROWS
GRAM_START = BIGRAM_START + BIGRAM_ROWS
INTENT_START = GRAM_START + GRAM_ROWS
HASH_SIZE = INTENT_START + INTENT_ROWS  # 65536 at most: ids are sorted as 16-bit numbers

GRAM_HEAD = 2048
GRAM_TAIL = 1024
_MAX_BYTES = HEAD_BYTES + 1 + TAIL_BYTES
_BIGRAM_ROWS, _BIGRAM_START = u64(BIGRAM_ROWS), np.array(BIGRAM_START)
_GRAM_K, _GRAM_FOLD = np.array(0x9E3779B1, dtype=np.uint32), np.array(15, dtype=np.uint32)
_WORD_END = np.array(WORD_ROWS)
_LAST = np.array([HASH_SIZE - 1])  # closes the last run of equal ids; as an id it is an intent's
_GRAM_SHIFT, _GRAM_START = np.array(32 - 14, dtype=np.uint32), np.array(GRAM_START, dtype=np.uint32)


class Features(NamedTuple):
    """What the graph reads.

    Args:
        ids: int64 [n], strictly increasing hash ids, 0 ≤ id < :data:`HASH_SIZE`; n may be 0.
        structural: float32 [S], finite, in the order of :data:`STRUCTURAL`: ``log_*`` are log(1 + count), ``share_*``
            are counts per byte or per word, 0..1; ``mean_word`` is in bytes.
        embedding: float32 [E], the text by an encoder (:mod:`router_runtime.encoder`), which is nothing that
            :func:`extract` makes; None where there is none.
    """

    ids: npt.NDArray[np.int64]
    structural: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32] | None = None


def extract(request: Request) -> Features:
    """Features of one request; the same for the same request on every machine, whatever the text holds."""
    padded = pad(_clip(request.text))
    lowered = padded.translate(LOWERED)
    words = read_words(padded, lowered)
    ids = _distinct([words.ids, _bigram_ids(words.hashes), _gram_ids(lowered)], request.intent)
    distinct = int(ids.searchsorted(_WORD_END))
    return Features(ids, structural_numbers(request, padded, words, distinct))


def _distinct(kinds: list[npt.NDArray[Any]], intent: str | None) -> npt.NDArray[np.int64]:
    """The ids of all kinds and of the intent, each once, in order; an intent's are the largest of all.

    By a radix sort of 16 bits: half the time of a mask, and it leaves the caches alone.
    """
    ids = np.concatenate((*kinds, _LAST), dtype=np.uint16, casting="unsafe")
    ids.sort(kind="stable")
    before = ids[:-1]
    distinct = before.compress(ids[1:] != before).astype(np.int64)
    return distinct if intent is None else np.append(distinct, _intent_id(intent))


def _clip(text: str) -> bytes:
    """UTF-8 of ``text``, or of its head and tail where it is long: the cost has an upper bound.

    Lone surrogates pass as the three bytes that they would take (valid text never gives those). A cut in the middle
    of a character only changes one word.
    """
    if len(text) > _MAX_BYTES:
        text = f"{text[:HEAD_BYTES]}\n{text[-TAIL_BYTES:]}"
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) > _MAX_BYTES:
        raw = b"".join((raw[:HEAD_BYTES], b"\n", raw[-TAIL_BYTES:]))
    return raw


def _bigram_ids(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Ids of neighbouring words, in order."""
    pairs = hashes[:-1] * K5
    pairs += hashes[1:]
    pairs ^= pairs >> BITS_32
    pairs *= K2
    ids = scale(pairs, _BIGRAM_ROWS)
    ids += _BIGRAM_START
    return ids


def _gram_ids(lowered: bytes) -> npt.NDArray[np.uint32]:
    """Ids of the windows of 4 lowercased bytes, blanks and symbols included.

    Of a long text only of the head and the tail: the whole of it would give most of the ids and tell little.
    """
    length = len(lowered) - FRONT - BACK
    windows: npt.NDArray[np.uint32] = np.ndarray((max(length - 3, 0),), "<u4", lowered, FRONT, (1,))
    if length > GRAM_HEAD + GRAM_TAIL:
        windows = np.concatenate((windows[: GRAM_HEAD - 3], windows[3 - GRAM_TAIL :]))
    ids = windows * _GRAM_K
    ids ^= ids >> _GRAM_FOLD
    ids *= _GRAM_K
    ids >>= _GRAM_SHIFT
    ids += _GRAM_START
    return ids


def _intent_id(intent: str) -> int:
    return INTENT_START + zlib.crc32(intent.strip().lower().encode("utf-8", "surrogatepass")) % INTENT_ROWS
