"""The words of a text, and how they are kept beside it: a 32-bit number and a count for each."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

KEYWORDS_VERSION = 1
"""Of the rules below; a store whose rows were made by others makes them again."""
COUNTED = np.dtype([("word", "<u4"), ("count", "u1")])
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # scripts without blanks between words: each character is one
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")
_ACCENTS = re.compile("[\u0300-\u036f]")
_MOST = int(np.iinfo(np.uint8).max)


def words_of(text: str) -> list[str]:
    """Words in order: runs of letters and digits, lowercased, without accents."""
    lowered = text.lower()
    if not lowered.isascii():
        lowered = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", lowered)))
    return _WORD.findall(lowered)


def said(text: str, tags: Sequence[str]) -> str:
    """What an entry is found by."""
    return f"{text}\n{' '.join(tags)}" if tags else text


def word_number(word: str) -> int:
    """Its 32-bit number: of a million words, a searched one shares its number with another once in 4,000 times."""
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def counted(text: str) -> bytes:
    """The distinct words of ``text`` with their counts (up to 255), as bytes of :data:`COUNTED`."""
    counts = Counter(words_of(text))
    found: npt.NDArray[np.void] = np.empty(len(counts), dtype=COUNTED)
    found["word"] = [word_number(word) for word in counts]
    found["count"] = [min(count, _MOST) for count in counts.values()]
    return found.tobytes()
