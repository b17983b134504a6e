"""The structural numbers of a request: sizes, scripts, code, formulas, lists, questions, and what else it carries.

Most are counts of bytes (one histogram of the text times one 0/1 matrix) or of words (by first byte, length and list of
the lexicon); a few substrings are counted only where the histogram says that they can occur.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from router_runtime.lexicon import CLASSES, LEXICON
from router_runtime.messages import Request
from router_runtime.words import (
    BACK,
    BLANK,
    DIGITS,
    FRONT,
    LOWER,
    LOWERED,
    NON_ASCII,
    UPPER,
    WORD_ROWS,
    Words,
    pad,
    read_words,
)

# Classes of bytes: counts of each come from one histogram of the text times one matrix. A script is told by the lead
# bytes of its UTF-8 (Unicode 16, table 3-6): continuation bytes (0x80–0xBF) are never leads.
_BYTE_CLASSES: dict[str, bytes] = {
    "digits": DIGITS,
    "upper": UPPER,
    "lower": LOWER,
    "blanks": BLANK,
    "newlines": b"\n",
    "punctuation": b".,;:!?'\"()-",
    "symbols": b"#$%&*+/<=>@[\\]^_`{|}~",
    "non_ascii": NON_ASCII,
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
    "numbered": DIGITS,
    "table_rows": b"|",
    "quoted": b">",
    "capital_lines": UPPER,
    "closing_lines": b")]}",
}
_WORD_STARTS: dict[str, bytes] = {"numbers": DIGITS, "capitalised": UPPER, "non_ascii_words": NON_ASCII}
_WORD_LENGTHS: dict[str, range] = {
    "words_1": range(1, 2),
    "words_2_3": range(2, 4),
    "words_4_6": range(4, 7),
    "words_7_9": range(7, 10),
    "words_10": range(10, 17),
}
# The longest word; the digits of the longest number, 16 at most; single letters that are options: ``A.`` or ``(B)``.
_LONGEST = ("max_word", "max_digits", "options")
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
    *_LONGEST,
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
_N_BYTES, _N_LEXICAL, _N_COUNTS = len(_BYTE_CLASSES), len(CLASSES), len(_COUNTS)
_N_SHAPE = len(_WORD_STARTS) + len(_WORD_LENGTHS) + len(_LONGEST)


def _places(*sizes: int) -> Iterator[slice]:
    """Consecutive slices of the given sizes."""
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size


_REST_SIZE = _N_COUNTS - _N_BYTES - _N_LEXICAL - len(_LINE_STARTS) - _N_SHAPE
_BYTES, _LEXICAL, _LINES, _SHAPE, _REST, _BYTE_SHARES, _LEXICAL_SHARES = _places(
    _N_BYTES, _N_LEXICAL, len(_LINE_STARTS), _N_SHAPE, _REST_SIZE, _N_BYTES, _N_LEXICAL
)


def _membership(classes: Mapping[str, Collection[int]], size: int) -> npt.NDArray[np.float32]:
    """0/1 matrix [size, classes]: which byte (or length) belongs to which class."""
    matrix = np.zeros((size, len(classes)), dtype=np.float32)
    for column, members in enumerate(classes.values()):
        matrix[list(members), column] = 1.0
    return matrix


_BYTE_MATRIX = _membership(_BYTE_CLASSES, 256)
_LINE_MATRIX = _membership(_LINE_STARTS, 256)
_CAP = 16  # longer words count as this long
_OPTION, _DIGIT = 1, 2  # kinds of first bytes; 0 is any other
_KINDS = {_OPTION: b"ABCDEFGHIJ", _DIGIT: DIGITS, 3: b"KLMNOPQRSTUVWXYZ", 4: NON_ASCII}


def _kind_offsets() -> npt.NDArray[np.int64]:
    """int64 [256], where the lengths of words that begin with each byte start in the histogram of words."""
    offsets = np.zeros(256, dtype=np.int64)
    for kind, members in _KINDS.items():
        offsets[list(members)] = kind * (_CAP + 1)
    return offsets


def _word_matrix() -> npt.NDArray[np.float32]:
    """0/1 matrix from the histogram of words, by kind and length, to ``_WORD_STARTS`` and ``_WORD_LENGTHS``."""
    first = np.array([next((k for k, members in _KINDS.items() if b in members), 0) for b in range(256)])
    starts = _membership(_WORD_STARTS, 256)
    by_kind = np.array([starts[first == kind].max(axis=0) for kind in range(len(_KINDS) + 1)])
    lengths = _membership(_WORD_LENGTHS, _CAP + 1)
    return np.hstack((np.repeat(by_kind, _CAP + 1, axis=0), np.tile(lengths, (len(by_kind), 1))))


_KIND_OFFSETS = _kind_offsets()
_WORD_MATRIX = _word_matrix()
_LENGTH_CAP = np.array(_CAP)
_N_WORD_BINS = len(_WORD_MATRIX)
_LONE_OPTION = _OPTION * (_CAP + 1) + 1
_NUMBERS = slice(_DIGIT * (_CAP + 1), (_DIGIT + 1) * (_CAP + 1))
_ENDS_OPTION = _membership({"ends": b".):"}, 256)[:, 0] > 0
_GATES = tuple(_SUBSTRINGS.values())


def _word_class_table() -> npt.NDArray[np.uint8]:
    """Class of each word id [WORD_ROWS]: 0, or 1 + the place in ``CLASSES``; the few collisions only add noise."""
    table = np.zeros(WORD_ROWS, dtype=np.uint8)
    for number, name in enumerate(CLASSES, start=1):
        padded = pad(" ".join(LEXICON[name]).encode())
        table[read_words(padded, padded.translate(LOWERED)).ids] = number
    return table


_WORD_CLASS = _word_class_table()


def structural_numbers(
    request: Request, raw: bytes, padded: bytes, words: Words, distinct: int
) -> npt.NDArray[np.float32]:
    """The numbers of :data:`STRUCTURAL` [S]."""
    data = np.frombuffer(padded, dtype=np.uint8)
    histogram = np.bincount(data[FRONT:-BACK], minlength=256)
    by_byte = histogram.astype(np.float32) @ _BYTE_MATRIX
    lexical = np.bincount(_WORD_CLASS[words.ids], minlength=_N_LEXICAL + 1)[1:]
    n_bytes, n_words = max(len(raw), 1), max(len(words.ids), 1)
    out = np.empty(len(STRUCTURAL), dtype=np.float32)
    out[_BYTES], out[_LEXICAL] = by_byte, lexical
    out[_LINES] = _line_starts(data, int(histogram[10]))
    out[_SHAPE] = _word_shape(data, words)
    out[_REST] = [len(request.text), len(words.ids), distinct, *_substrings(raw, histogram), *_flags(request)]
    np.log1p(out[:_N_COUNTS], out=out[:_N_COUNTS])
    out[_BYTE_SHARES], out[_LEXICAL_SHARES] = by_byte / n_bytes, lexical / n_words
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


def _word_shape(data: npt.NDArray[np.uint8], words: Words) -> npt.NDArray[np.float32]:
    """Counts in the order of ``_WORD_STARTS``, ``_WORD_LENGTHS`` and ``_LONGEST``."""
    out = np.zeros(_N_SHAPE, dtype=np.float32)
    if not len(words.lengths):
        return out
    bins = _KIND_OFFSETS[data[words.starts]]
    bins += np.minimum(words.lengths, _LENGTH_CAP)
    histogram = np.bincount(bins, minlength=_N_WORD_BINS)
    out[:-3] = histogram.astype(np.float32) @ _WORD_MATRIX
    out[-3] = np.maximum.reduce(words.lengths)
    numbers = histogram[_NUMBERS].nonzero()[0]
    if len(numbers):
        out[-2] = numbers[-1]
    if histogram[_LONE_OPTION]:
        out[-1] = np.count_nonzero(_ENDS_OPTION[data[words.ends[bins == _LONE_OPTION]]])
    return out
