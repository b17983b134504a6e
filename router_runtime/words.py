"""Words of a text: where they are, and a 64-bit hash of each, without a loop over them.

Words are runs of ASCII letters, digits and all bytes above 127 of a text between :data:`FRONT` and :data:`BACK` zero
bytes (:func:`pad`), so that each word has 8-byte loads at both of its ends. Places count from the text's first byte.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

WORD_ROWS = 16384
FRONT, BACK = 8, 9


def u64(value: int) -> npt.NDArray[np.uint64]:
    """A 0-d array: as an operand it costs 0.3 µs less than a numpy scalar or a Python int."""
    return np.array(value, dtype=np.uint64)


# Odd 64-bit constants of splitmix64 and wyhash; any odd numbers with well-mixed bits would do, but never change them
# without FEATURES_VERSION.
K1 = u64(0x9E3779B97F4A7C15)
K2 = u64(0xBF58476D1CE4E5B9)
K3 = u64(0x94D049BB133111EB)
K4 = u64(0xA0761D6478BD642F)
K5 = u64(0xE7037ED1A0B428DB)
BITS_24, BITS_32, BITS_40 = u64(24), u64(32), u64(40)
_WORD_BITS = u64(64 - (WORD_ROWS - 1).bit_length())  # WORD_ROWS is a power of two: the scaled top bits are a shift
# How many bits of an 8-byte load belong to the neighbours of a word, by the word's length (8 and more: none).
_DROP_BITS = np.array([64 - 8 * n for n in range(9)], dtype=np.uint64)

DIGITS = b"0123456789"
UPPER = bytes(range(65, 91))
LOWER = bytes(range(97, 123))
BLANK = bytes(range(33)) + b"\x7f"
NON_ASCII = bytes(range(128, 256))
_WORD_BYTES = frozenset(DIGITS + UPPER + LOWER + NON_ASCII)


def _lowered_table() -> bytes:
    """256 bytes: lowercased ASCII, blanks → space, digits → ``0`` (the length of a number tells more than it does)."""
    table = bytearray(range(256))
    for byte in UPPER:
        table[byte] += 32
    for byte in DIGITS:
        table[byte] = 48
    for byte in BLANK:
        table[byte] = 32
    return bytes(table)


LOWERED = _lowered_table()
_IS_WORD = bytes(int(byte in _WORD_BYTES) for byte in range(256))


class Words(NamedTuple):
    """The words of one text: places, lengths in bytes, 64-bit hashes and ids, each [words]."""

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    ids: npt.NDArray[np.int64]


def pad(text: bytes) -> bytes:
    """``text`` between zero bytes, room for the loads at its ends."""
    return b"".join((b"\0" * FRONT, text, b"\0" * BACK))


def read_words(padded: bytes, lowered: bytes) -> Words:
    """Finds the words and hashes each one's first 8 bytes, last 8 bytes and length (multiply–xorshift)."""
    inside = np.frombuffer(padded.translate(_IS_WORD), np.bool_, -1, FRONT - 1)
    edges = (inside[1:] != inside[:-1]).nonzero()[0]
    starts, ends = edges[::2], edges[1::2]
    lengths = ends - starts
    loads: npt.NDArray[np.uint64] = np.ndarray((len(lowered) - 7,), "<u8", lowered, 0, (1,))  # load i ends at place i
    drop = _DROP_BITS.take(lengths, mode="clip")
    hashes = loads[FRONT:][starts]
    hashes <<= drop
    hashes *= K1
    last = loads[ends]
    last >>= drop
    last *= K2
    hashes += last
    hashes += lengths.view(np.uint64) * K3
    hashes ^= hashes >> BITS_32
    hashes *= K4
    hashes ^= hashes >> BITS_32
    hashes *= K3
    return Words(starts, ends, lengths, hashes, (hashes >> _WORD_BITS).view(np.int64))


def scale(hashes: npt.NDArray[np.uint64], rows: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The top 24 bits of each hash, scaled to 0 ≤ id < rows (Lemire's multiply–shift)."""
    ids = hashes >> BITS_40
    ids *= rows
    ids >>= BITS_24
    return ids.view(np.int64)
