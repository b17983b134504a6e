"""The structural numbers of a request: sizes, scripts, code, formulas, lists, questions, and what else it carries.

Most are counts of bytes (one histogram of the text times one 0/1 matrix) or of words (by first byte, length and list of
the lexicon); a few substrings are counted only where the histogram says that they can occur.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

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


def _places(*sizes: int) -> Iterator[slice]:
    """Consecutive slices of the given sizes."""
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size


_N_TALLIED = _N_LEXICAL + len(_LINE_STARTS) + len(_WORD_STARTS) + len(_WORD_LENGTHS)
_BYTES, _TALLIED, _REST, _BYTE_SHARES, _LEXICAL_SHARES = _places(
    _N_BYTES, _N_TALLIED, _N_COUNTS - _N_BYTES - _N_TALLIED, _N_BYTES, _N_LEXICAL
)
_LEXICAL = slice(_N_BYTES, _N_BYTES + _N_LEXICAL)
_DIGITS, _UPPER, _LOWER, _NON_ASCII = (list(_BYTE_CLASSES).index(n) for n in ("digits", "upper", "lower", "non_ascii"))


def _membership(classes: Mapping[str, Collection[int]], size: int) -> npt.NDArray[np.float32]:
    """0/1 matrix [size, classes]: which byte (or length) belongs to which class."""
    matrix = np.zeros((size, len(classes)), dtype=np.float32)
    for column, members in enumerate(classes.values()):
        matrix[list(members), column] = 1.0
    return matrix


_BYTE_MATRIX = _membership(_BYTE_CLASSES, 256)
_CAP = 16  # longer words count as this long
_OPTION, _DIGIT = 1, 2  # kinds of first bytes; 0 is any other
_KINDS = {_OPTION: b"ABCDEFGHIJ", _DIGIT: DIGITS, 3: b"KLMNOPQRSTUVWXYZ", 4: NON_ASCII}


def _numbered(classes: Iterable[tuple[int, Collection[int]]], size: int, first: int) -> npt.NDArray[np.int64]:
    """int64 [size]: ``first`` + the number of the class that each member belongs to, 0 for none."""
    table = np.full(size, first, dtype=np.int64)
    for number, members in classes:
        table[list(members)] = first + number
    return table


# One histogram, the tally, counts words by the kind of their first byte and their length, words by list of the lexicon,
# and lines by their first byte; one matrix takes it to its structural numbers.
_N_SHAPES = (len(_KINDS) + 1) * (_CAP + 1)
_N_TALLY = _N_SHAPES + (1 + _N_LEXICAL) + (1 + len(_LINE_STARTS))
_KIND_BINS = _numbered(_KINDS.items(), 256, 0) * (_CAP + 1)
_LENGTH_BINS = np.arange(_CAP + 1)
_LINE_BINS = _numbered(enumerate(_LINE_STARTS.values(), start=1), 256, _N_SHAPES + 1 + _N_LEXICAL)


def _word_class_bins() -> npt.NDArray[np.int64]:
    """Bin of each word id [WORD_ROWS] by its list of ``CLASSES``; the few collisions of ids only add noise."""
    texts = [pad(" ".join(LEXICON[name]).encode()) for name in CLASSES]
    ids = [read_words(padded, padded.translate(LOWERED)).ids.tolist() for padded in texts]
    return _numbered(enumerate(ids, start=1), WORD_ROWS, _N_SHAPES)


def _tally_matrix() -> npt.NDArray[np.float32]:
    """0/1 matrix from the tally to ``CLASSES``, ``_LINE_STARTS``, ``_WORD_STARTS`` and ``_WORD_LENGTHS``."""
    matrix = np.zeros((_N_TALLY, _N_TALLIED), dtype=np.float32)
    lexical, lines, starts, lengths = _places(_N_LEXICAL, len(_LINE_STARTS), len(_WORD_STARTS), len(_WORD_LENGTHS))
    shapes, lists, firsts = _places(_N_SHAPES, 1 + _N_LEXICAL, 1 + len(_LINE_STARTS))
    kinds = _KIND_BINS // (_CAP + 1)
    of_byte = _membership(_WORD_STARTS, 256)
    by_kind = np.array([of_byte[kinds == kind].max(axis=0) for kind in range(len(_KINDS) + 1)])
    matrix[shapes, starts] = np.repeat(by_kind, _CAP + 1, axis=0)
    matrix[shapes, lengths] = np.tile(_membership(_WORD_LENGTHS, _CAP + 1), (len(by_kind), 1))
    matrix[lists, lexical] = np.eye(1 + _N_LEXICAL)[:, 1:]
    matrix[firsts, lines] = np.eye(1 + len(_LINE_STARTS))[:, 1:]
    return matrix


_WORD_CLASS_BINS = _word_class_bins()
_TALLY_MATRIX = _tally_matrix()
_NEWLINE = np.array(10, dtype=np.uint8)
_LONE_OPTION = _OPTION * (_CAP + 1) + 1
_NUMBERS = slice(_DIGIT * (_CAP + 1), (_DIGIT + 1) * (_CAP + 1))
_ENDS_OPTION = _membership({"ends": b".):"}, 256)[:, 0] > 0
# `re` looks for the first byte alone: half the time of bytes.count, with the same counts.
_GATES = tuple((re.compile(re.escape(pattern)).findall, least) for pattern, _, least in _SUBSTRINGS.values())
_GATE_BYTES = np.array([byte for _, byte, _ in _SUBSTRINGS.values()])


def structural_numbers(request: Request, padded: bytes, words: Words, distinct: int) -> npt.NDArray[np.float32]:
    """The numbers of :data:`STRUCTURAL` [S]."""
    data = np.frombuffer(padded, np.uint8, -1, FRONT)
    histogram = np.bincount(data[:-BACK], minlength=256)
    n_bytes, n_words = max(len(data) - BACK, 1), max(len(words.ids), 1)
    out = np.empty(len(STRUCTURAL), dtype=np.float32)
    histogram.astype(np.float32).dot(_BYTE_MATRIX, out[_BYTES])
    in_words = float(out[_DIGITS] + out[_UPPER] + out[_LOWER] + out[_NON_ASCII])  # the bytes of all words
    longest = _tallied(data, words, bool(histogram[10]), out[_TALLIED])
    out[_REST] = (
        *longest,
        *(len(request.text), len(words.ids), distinct),
        *_substrings(padded, histogram),
        *_flags(request),
    )
    np.divide(out[_BYTES], n_bytes, out[_BYTE_SHARES])
    np.divide(out[_LEXICAL], n_words, out[_LEXICAL_SHARES])
    counts = out[:_N_COUNTS]
    np.log1p(counts, counts)
    out[-2], out[-1] = in_words / n_words, distinct / n_words
    return out


def _flags(request: Request) -> tuple[int, ...]:
    """Counts of the request itself, in the order of ``_REQUEST``."""
    return (
        *(request.system_chars, request.turns, request.assistant_turns, request.tool_results, request.tools),
        *(request.images, request.audio, request.files, request.json_output, request.intent is not None),
    )


def _substrings(text: bytes, histogram: npt.NDArray[np.int64]) -> list[int]:
    """Counts in the order of ``_SUBSTRINGS``."""
    found = histogram[_GATE_BYTES].tolist()
    return [len(find(text)) if n >= least else 0 for n, (find, least) in zip(found, _GATES, strict=True)]


def _tallied(
    data: npt.NDArray[np.uint8], words: Words, has_lines: bool, out: npt.NDArray[np.float32]
) -> tuple[int, int, int]:
    """Writes the columns of ``_TALLY_MATRIX`` to ``out``; returns the counts of ``_LONGEST``."""
    shapes = _KIND_BINS.take(data[words.starts])
    shapes += _LENGTH_BINS.take(words.lengths, mode="clip")
    bins = [shapes, _WORD_CLASS_BINS[words.ids]]
    if has_lines:
        bins.append(_LINE_BINS[data[1:][(data[:-1] == _NEWLINE).nonzero()[0]]])
    tally = np.bincount(np.concatenate(bins), minlength=_N_TALLY)
    tally.astype(np.float32).dot(_TALLY_MATRIX, out)
    if not len(shapes):
        return 0, 0, 0
    digits = tally[_NUMBERS].nonzero()[0]
    options = 0
    if tally[_LONE_OPTION]:
        options = int(np.count_nonzero(_ENDS_OPTION[data[words.ends[shapes == _LONE_OPTION]]]))
    return int(np.maximum.reduce(words.lengths)), int(digits[-1]) if len(digits) else 0, options
