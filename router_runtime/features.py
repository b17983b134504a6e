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
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from router_runtime.lexicon import CLASSES, LEXICON
from router_runtime.messages import Request

FEATURES_VERSION = 1

HEAD_BYTES = 6144
TAIL_BYTES = 2048

WORD_ROWS = 16384
BIGRAM_ROWS = 32512
GRAM_ROWS = 16384
INTENT_ROWS = 256
BIGRAM_START = WORD_ROWS
GRAM_START = BIGRAM_START + BIGRAM_ROWS
INTENT_START = GRAM_START + GRAM_ROWS
HASH_SIZE = INTENT_START + INTENT_ROWS

_FRONT = b"\0" * 8
_BACK = b"\0" * 9
_MAX_BYTES = HEAD_BYTES + 1 + TAIL_BYTES
GRAM_HEAD = 2048
GRAM_TAIL = 1024


def _u64(value: int) -> npt.NDArray[np.uint64]:
    """A 0-d array: as an operand it costs 0.3 µs less than a numpy scalar or a Python int."""
    return np.array(value, dtype=np.uint64)


# Odd 64-bit constants of splitmix64 and wyhash; any odd numbers with well-mixed bits would do, but never change them
# without FEATURES_VERSION.
_K1 = _u64(0x9E3779B97F4A7C15)
_K2 = _u64(0xBF58476D1CE4E5B9)
_K3 = _u64(0x94D049BB133111EB)
_K4 = _u64(0xA0761D6478BD642F)
_K5 = _u64(0xE7037ED1A0B428DB)
_24, _32, _40 = _u64(24), _u64(32), _u64(40)
_WORD_ROWS, _BIGRAM_ROWS, _BIGRAM_START = _u64(WORD_ROWS), _u64(BIGRAM_ROWS), np.array(BIGRAM_START)
_GRAM_K, _GRAM_FOLD = np.array(0x9E3779B1, dtype=np.uint32), np.array(15, dtype=np.uint32)
_GRAM_SHIFT, _GRAM_START = np.array(32 - 14, dtype=np.uint32), np.array(GRAM_START, dtype=np.uint32)
_LOAD_BYTES = np.array(8)
_DROP_BITS = np.array([64 - 8 * min(n, 8) for n in range(9)], dtype=np.uint64)

_DIGITS = b"0123456789"
_UPPER = bytes(range(65, 91))
_LOWER = bytes(range(97, 123))
_BLANK = bytes(range(33)) + b"\x7f"
_NON_ASCII = bytes(range(128, 256))
_WORD_BYTES = frozenset(_DIGITS + _UPPER + _LOWER + _NON_ASCII)


def _lowered_table() -> bytes:
    """256 bytes: lowercased ASCII, blanks → space, digits → ``0`` (the length of a number tells more than it does)."""
    table = bytearray(range(256))
    for byte in _UPPER:
        table[byte] += 32
    for byte in _DIGITS:
        table[byte] = 48
    for byte in _BLANK:
        table[byte] = 32
    return bytes(table)


_LOWERED = _lowered_table()
_IS_WORD = bytes(int(byte in _WORD_BYTES) for byte in range(256))

# Classes of bytes: counts of each come from one histogram of the text times one matrix. A script is told by the lead
# bytes of its UTF-8 (Unicode 16, table 3-6): continuation bytes (0x80–0xBF) are never leads.
_BYTE_CLASSES: dict[str, bytes] = {
    "digits": _DIGITS,
    "upper": _UPPER,
    "lower": _LOWER,
    "blanks": _BLANK,
    "newlines": b"\n",
    "punctuation": b".,;:!?'\"()-",
    "symbols": b"#$%&*+/<=>@[\\]^_`{|}~",
    "non_ascii": _NON_ASCII,
    "latin_extended": bytes(range(0xC3, 0xCA)),
    "greek": b"\xce\xcf",
    "cyrillic": bytes(range(0xD0, 0xD5)),
    "hebrew": b"\xd6\xd7",
    "arabic": bytes(range(0xD8, 0xDC)),
    "indic_thai": b"\xe0",
    "typography": b"\xe2",
    "kana": b"\xe3",
    "cjk": bytes(range(0xE4, 0xEA)),
    "hangul": bytes(range(0xEA, 0xEE)),
    "emoji": b"\xf0",
    "questions": b"?",
    "exclamations": b"!",
    "full_stops": b".",
    "commas": b",",
    "colons": b":",
    "semicolons": b";",
    "quotes": b"\"'",
    "backticks": b"`",
    "round": b"()",
    "square": b"[]",
    "curly": b"{}",
    "angle": b"<>",
    "dollars": b"$",
    "backslashes": b"\\",
    "equals": b"=",
    "carets": b"^",
    "arithmetic": b"+-*/",
    "percents": b"%",
    "underscores": b"_",
    "hashes": b"#",
    "bars": b"|",
    "ats": b"@",
}
# Each substring is looked for only where the histogram holds enough of its byte: most prompts skip most of them.
_SUBSTRINGS: dict[str, tuple[bytes, int, int]] = {
    "code_fences": (b"```", ord("`"), 3),
    "display_formulas": (b"$$", ord("$"), 2),
    "urls": (b"://", ord("/"), 2),
    "json_keys": (b'":', ord('"'), 2),
    "ellipses": (b"...", ord("."), 3),
    "gaps": (b"__", ord("_"), 2),
}
_LINE_STARTS: dict[str, bytes] = {
    "empty_lines": b"\n",
    "bullets": b"-*+\xe2",
    "headings": b"#",
    "indented": b" \t",
    "numbered": _DIGITS,
    "table_rows": b"|",
    "quoted": b">",
    "capital_lines": _UPPER,
    "closing_lines": b")]}",
}
_WORD_STARTS: dict[str, bytes] = {"numbers": _DIGITS, "capitalised": _UPPER, "non_ascii_words": _NON_ASCII}
_WORD_LENGTHS: dict[str, range] = {
    "words_1": range(1, 2),
    "words_2_3": range(2, 4),
    "words_4_6": range(4, 7),
    "words_7_9": range(7, 10),
    "words_10": range(10, 17),
}
_REQUEST = (
    *("system_chars", "turns", "assistant_turns", "tool_results", "tools", "images", "audio", "files"),
    *("json_output", "has_intent"),
)
_COUNTS = (
    *_BYTE_CLASSES,
    *CLASSES,
    *_LINE_STARTS,
    *_WORD_STARTS,
    *_WORD_LENGTHS,
    *("max_word", "max_digits", "options"),
    *("chars", "words", "distinct_words"),
    *_SUBSTRINGS,
    *_REQUEST,
)
STRUCTURAL: tuple[str, ...] = (
    *(f"log_{name}" for name in _COUNTS),
    *(f"share_{name}" for name in (*_BYTE_CLASSES, *CLASSES)),
    "mean_word",
    "share_distinct",
)
_N_BYTES, _N_LEXICAL = len(_BYTE_CLASSES), len(CLASSES)
_N_COUNTS, _N_SHARES = len(_COUNTS), len(_BYTE_CLASSES) + len(CLASSES)


def _membership(classes: Mapping[str, Collection[int]], size: int) -> npt.NDArray[np.float32]:
    """0/1 matrix [size, classes]: which byte (or length) belongs to which class."""
    matrix = np.zeros((size, len(classes)), dtype=np.float32)
    for column, members in enumerate(classes.values()):
        matrix[list(members), column] = 1.0
    return matrix


_BYTE_MATRIX = _membership(_BYTE_CLASSES, 256)
_LINE_MATRIX = _membership(_LINE_STARTS, 256)
_WORD_MATRIX = _membership(_WORD_STARTS, 256)
_LENGTH_MATRIX = _membership(_WORD_LENGTHS, 17)
_LENGTH_CAP = np.array(16)
_IS_DIGIT = _membership({"digits": _DIGITS}, 256)[:, 0].astype(np.int64)
_IS_OPTION = _membership({"letters": b"ABCDEFGHIJ"}, 256)[:, 0] > 0
_ENDS_OPTION = _membership({"ends": b".):"}, 256)[:, 0] > 0
_GATES = tuple(_SUBSTRINGS.values())


class Features(NamedTuple):
    """What the graph reads.

    Args:
        ids: int64 [n], strictly increasing hash ids, 0 ≤ id < :data:`HASH_SIZE`; n may be 0.
        structural: float32 [S], finite, in the order of :data:`STRUCTURAL`: ``log_*`` are log(1 + count), ``share_*``
            are counts per byte or per word, 0..1; ``mean_word`` is in bytes.
    """

    ids: npt.NDArray[np.int64]
    structural: npt.NDArray[np.float32]


class _Words(NamedTuple):
    """The words of one text: positions in the padded bytes, lengths in bytes and ids, each [words]."""

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    ids: npt.NDArray[np.int64]


def extract(request: Request) -> Features:
    """Features of one request; the same for the same request on every machine, whatever the text holds."""
    raw = _clip(request.text)
    padded = b"".join((_FRONT, raw, _BACK))
    lowered = padded.translate(_LOWERED)
    words = _read_words(padded, lowered)
    seen = np.zeros(HASH_SIZE, dtype=np.bool_)
    seen[words.ids] = True
    distinct = int(np.count_nonzero(seen[:WORD_ROWS]))
    if len(words.ids) > 1:
        seen[_bigram_ids(words.hashes)] = True
    _mark_grams(seen, lowered, len(raw))
    if request.intent is not None:
        seen[_intent_id(request.intent)] = True
    return Features(seen.nonzero()[0], _structural(request, raw, padded, words, distinct))


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


def _read_words(padded: bytes, lowered: bytes) -> _Words:
    """Finds the words and hashes each one's first 8 bytes, last 8 bytes and length (multiply–xorshift)."""
    inside = np.frombuffer(padded.translate(_IS_WORD), dtype=np.bool_)
    edges = (inside[1:] != inside[:-1]).nonzero()[0]
    edges += 1
    starts, ends = edges[::2], edges[1::2]
    lengths = ends - starts
    loads: npt.NDArray[np.uint64] = np.ndarray((len(lowered) - 7,), dtype="<u8", buffer=lowered, strides=(1,))
    drop = _DROP_BITS[np.minimum(lengths, _LOAD_BYTES)]  # how many bits of a load belong to the neighbours
    hashes = loads[starts]
    hashes <<= drop
    hashes *= _K1
    last = loads[ends - _LOAD_BYTES]
    last >>= drop
    last *= _K2
    hashes += last
    hashes += lengths.view(np.uint64) * _K3
    hashes ^= hashes >> _32
    hashes *= _K4
    hashes ^= hashes >> _32
    hashes *= _K3
    return _Words(starts, ends, lengths, hashes, _scale(hashes, _WORD_ROWS))


def _scale(hashes: npt.NDArray[np.uint64], rows: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The top 24 bits of each hash, scaled to 0 ≤ id < rows (Lemire's multiply–shift)."""
    ids = hashes >> _40
    ids *= rows
    ids >>= _24
    return ids.view(np.int64)


def _bigram_ids(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Ids of neighbouring words, in order."""
    pairs = hashes[:-1] * _K5
    pairs += hashes[1:]
    pairs ^= pairs >> _32
    pairs *= _K2
    ids = _scale(pairs, _BIGRAM_ROWS)
    ids += _BIGRAM_START
    return ids


def _mark_grams(seen: npt.NDArray[np.bool_], lowered: bytes, length: int) -> None:
    """Marks the windows of 4 lowercased bytes, blanks and symbols included.

    Of a long text only the head and the tail: the whole of it would mark most of the rows and tell little.
    """
    if length <= GRAM_HEAD + GRAM_TAIL:
        if length > 3:
            seen[_gram_ids(lowered, 8, length)] = True
        return
    seen[_gram_ids(lowered, 8, GRAM_HEAD)] = True
    seen[_gram_ids(lowered, 8 + length - GRAM_TAIL, GRAM_TAIL)] = True


def _gram_ids(lowered: bytes, start: int, length: int) -> npt.NDArray[np.int64]:
    """Ids of the 4-byte windows of ``lowered[start : start + length]``."""
    windows: npt.NDArray[np.uint32] = np.ndarray((length - 3,), "<u4", buffer=lowered, offset=start, strides=(1,))
    ids = windows * _GRAM_K
    ids ^= ids >> _GRAM_FOLD
    ids *= _GRAM_K
    ids >>= _GRAM_SHIFT
    ids += _GRAM_START
    return ids.astype(np.int64)  # a scatter by int64 is twice as fast as one by uint32, the cast included


def _intent_id(intent: str) -> int:
    return INTENT_START + zlib.crc32(intent.strip().lower().encode("utf-8", "surrogatepass")) % INTENT_ROWS


def _word_class_table() -> npt.NDArray[np.uint8]:
    """Class of each word id [WORD_ROWS]: 0, or 1 + the place in ``CLASSES``; the few collisions only add noise."""
    table = np.zeros(WORD_ROWS, dtype=np.uint8)
    for number, name in enumerate(CLASSES, start=1):
        padded = b"".join((_FRONT, " ".join(LEXICON[name]).encode(), _BACK))
        table[_read_words(padded, padded.translate(_LOWERED)).ids] = number
    return table


_WORD_CLASS = _word_class_table()


def _structural(request: Request, raw: bytes, padded: bytes, words: _Words, distinct: int) -> npt.NDArray[np.float32]:
    """The numbers of :data:`STRUCTURAL` [S]."""
    data = np.frombuffer(padded, dtype=np.uint8)
    histogram = np.bincount(data[8:-9], minlength=256)
    by_byte = histogram.astype(np.float32) @ _BYTE_MATRIX
    lexical = np.bincount(_WORD_CLASS[words.ids], minlength=_N_LEXICAL + 1)[1:]
    n_bytes, n_words = max(len(raw), 1), max(len(words.ids), 1)
    out = np.empty(len(STRUCTURAL), dtype=np.float32)
    split = _N_BYTES + _N_LEXICAL
    out[:_N_BYTES] = by_byte
    out[_N_BYTES:split] = lexical
    shape = _line_starts(data, int(histogram[10])), *_word_shape(data, words)
    place = split
    for part in shape:
        out[place : place + len(part)] = part
        place += len(part)
    out[place:_N_COUNTS] = [len(request.text), len(words.ids), distinct, *_substrings(raw, histogram), *_flags(request)]
    np.log1p(out[:_N_COUNTS], out=out[:_N_COUNTS])
    out[_N_COUNTS : _N_COUNTS + _N_BYTES] = by_byte / n_bytes
    out[_N_COUNTS + _N_BYTES : _N_COUNTS + _N_SHARES] = lexical / n_words
    out[-2] = float(np.add.reduce(words.lengths)) / n_words
    out[-1] = distinct / n_words
    return out


def _flags(request: Request) -> tuple[int, ...]:
    """Counts of the request itself, in the order of ``_REQUEST``."""
    return (
        *(request.system_chars, request.turns, request.assistant_turns, request.tool_results, request.tools),
        *(request.images, request.audio, request.files, request.json_output, request.intent is not None),
    )


def _substrings(raw: bytes, histogram: npt.NDArray[np.int64]) -> list[int]:
    """Counts in the order of ``_SUBSTRINGS``."""
    return [raw.count(pattern) if histogram[byte] >= least else 0 for pattern, byte, least in _GATES]


def _line_starts(data: npt.NDArray[np.uint8], newlines: int) -> npt.NDArray[np.float32]:
    """Counts of lines by their first byte, in the order of ``_LINE_STARTS``."""
    if not newlines:
        return np.zeros(len(_LINE_STARTS), dtype=np.float32)
    places = (data == 10).nonzero()[0]
    places += 1
    counts: npt.NDArray[np.float32] = np.bincount(data[places], minlength=256).astype(np.float32) @ _LINE_MATRIX
    return counts


def _word_shape(data: npt.NDArray[np.uint8], words: _Words) -> tuple[Sequence[float] | npt.NDArray[np.float32], ...]:
    """Counts by first byte and by length; the longest word and number, and options such as ``A.`` or ``(B)``."""
    lengths = words.lengths
    if not len(lengths):
        return (0.0,) * len(_WORD_STARTS), (0.0,) * len(_WORD_LENGTHS), (0.0, 0.0, 0.0)
    first = data[words.starts]
    starts = np.bincount(first, minlength=256).astype(np.float32) @ _WORD_MATRIX
    by_length = np.bincount(np.minimum(lengths, _LENGTH_CAP), minlength=17).astype(np.float32) @ _LENGTH_MATRIX
    options = _IS_OPTION[first]
    options &= _ENDS_OPTION[data[words.ends]]
    longest, digits = int(np.maximum.reduce(lengths)), int(np.maximum.reduce(lengths * _IS_DIGIT[first]))
    return starts, by_length, (longest, digits, int(np.count_nonzero(options & (lengths == 1))))
