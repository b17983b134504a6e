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
from router_runtime.words import BITS_32, FRONT, K2, K5, LOWERED, WORD_ROWS, Words, pad, read_words, scale, u64

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
_GRAM_SHIFT, _GRAM_START = np.array(32 - 14, dtype=np.uint32), np.array(GRAM_START, dtype=np.uint32)


class Features(NamedTuple):
    """What the graph reads.

    Args:
        ids: int64 [n], strictly increasing hash ids, 0 ≤ id < :data:`HASH_SIZE`; n may be 0.
        structural: float32 [S], finite, in the order of :data:`STRUCTURAL`: ``log_*`` are log(1 + count), ``share_*``
            are counts per byte or per word, 0..1; ``mean_word`` is in bytes.
    """

    ids: npt.NDArray[np.int64]
    structural: npt.NDArray[np.float32]


def extract(request: Request) -> Features:
    """Features of one request; the same for the same request on every machine, whatever the text holds."""
    raw = _clip(request.text)
    padded = pad(raw)
    lowered = padded.translate(LOWERED)
    words = read_words(padded, lowered)
    ids = _unique(_all_ids(request.intent, lowered, words, len(raw)))
    distinct = int(ids.searchsorted(WORD_ROWS))
    return Features(ids, structural_numbers(request, raw, padded, words, distinct))


def _all_ids(intent: str | None, lowered: bytes, words: Words, length: int) -> npt.NDArray[np.uint16]:
    """Ids of all kinds, in no order and with repeats."""
    kinds: list[npt.NDArray[Any]] = [words.ids, _bigram_ids(words.hashes), *_gram_ids(lowered, length)]
    if intent is not None:
        kinds.append(np.array([_intent_id(intent)]))
    return np.concatenate(kinds, dtype=np.uint16, casting="unsafe")


def _unique(ids: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    """Each id once, in order. Radix sort of 16 bits: half the time of a mask, and it leaves the caches alone."""
    ids.sort(kind="stable")
    is_first = np.empty(len(ids), dtype=np.bool_)
    is_first[:1] = True
    np.not_equal(ids[1:], ids[:-1], out=is_first[1:])
    return ids[is_first].astype(np.int64)


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


def _gram_ids(lowered: bytes, length: int) -> list[npt.NDArray[np.uint32]]:
    """Ids of the windows of 4 lowercased bytes, blanks and symbols included.

    Of a long text only of the head and the tail: the whole of it would give most of the ids and tell little.
    """
    if length <= GRAM_HEAD + GRAM_TAIL:
        return [_windows(lowered, FRONT, length)] if length > 3 else []
    return [_windows(lowered, FRONT, GRAM_HEAD), _windows(lowered, FRONT + length - GRAM_TAIL, GRAM_TAIL)]


def _windows(lowered: bytes, start: int, length: int) -> npt.NDArray[np.uint32]:
    """Ids of the 4-byte windows of ``lowered[start : start + length]``."""
    windows: npt.NDArray[np.uint32] = np.ndarray((length - 3,), "<u4", buffer=lowered, offset=start, strides=(1,))
    ids = windows * _GRAM_K
    ids ^= ids >> _GRAM_FOLD
    ids *= _GRAM_K
    ids >>= _GRAM_SHIFT
    ids += _GRAM_START
    return ids


def _intent_id(intent: str) -> int:
    return INTENT_START + zlib.crc32(intent.strip().lower().encode("utf-8", "surrogatepass")) % INTENT_ROWS
