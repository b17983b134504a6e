"""How alike a short text is to each of a few named ones: stems weighted by rarity, and triples of letters for typos.

For intents and agents, of which there are tens: plain Python, cached by the callers. What is learned about prompts
lives in the bundle; this only reads names and descriptions that people wrote.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice

_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_STOP = frozenset(
    re.findall(r"\w+", "a an and any are as at be by for from in into is it its of on or that the to with")
)
_ENDINGS = ("ations", "ation", "ating", "ators", "ator", "ions", "ings", "ion", "ing", "ies", "ers", "er", "ed", "es")
_LETTERS_AFTER = 3
_MAX_WORDS = 2000


def stems(text: str) -> list[str]:
    """Lowercased words of ``text`` without stop words, cut to their stems (the commonest English endings)."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    words = (match.group().lower() for match in islice(_WORD.finditer(spaced), _MAX_WORDS))
    return [_stem(word) for word in words if word not in _STOP]


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LETTERS_AFTER:
            return word[: -len(ending)]
    return word[:-1] if len(word) > _LETTERS_AFTER and word[-1] in "se" else word


class Likeness:
    """Compares texts with named ones.

    Args:
        texts: By name: a name and what is said about it.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._named = {name: Counter(stems(name)) for name in texts}
        self._said = {name: Counter(stems(f"{name} {text}")) for name, text in texts.items()}
        self._triples = {name: _triples(name) for name in texts}
        found = Counter(stem for counts in self._said.values() for stem in counts)
        self._rarity = {stem: math.log((1 + len(texts)) / count) for stem, count in found.items()}
        self._usual = math.log(1 + len(texts)) or 1.0

    def of_name(self, word: str) -> dict[str, float]:
        """How alike a declared name is to each name, 0..1: by name, by what is said about it, by spelling."""
        asked, triples = Counter(stems(word)), _triples(word)
        return {
            name: max(
                self._cosine(asked, self._named[name]),
                self._share(asked, self._said[name]),
                _dice(triples, self._triples[name]),
            )
            for name in self._named
        }

    def of_text(self, text: str) -> dict[str, float]:
        """How alike a long text is to what is said about each name, 0..1."""
        asked = Counter(dict.fromkeys(stems(text), 1))
        return {name: self._cosine(asked, said) for name, said in self._said.items()}

    def _weight(self, stem: str) -> float:
        return self._rarity.get(stem, self._usual)

    def _cosine(self, one: Counter[str], other: Counter[str]) -> float:
        both = self._sum(one.keys() & other.keys())
        lengths = self._sum(one) * self._sum(other)
        return both / math.sqrt(lengths) if lengths else 0.0

    def _share(self, asked: Counter[str], said: Counter[str]) -> float:
        """The part of ``asked`` that is said; a little less than a name that is the same."""
        whole = self._sum(asked)
        return 0.9 * self._sum(asked.keys() & said.keys()) / whole if whole else 0.0

    def _sum(self, found: Iterable[str]) -> float:
        return sum(self._weight(stem) ** 2 for stem in found)


def _triples(word: str) -> Counter[str]:
    text = f"  {' '.join(_WORD.findall(word.lower()))} "
    return Counter(text[i : i + 3] for i in range(len(text) - 2))


def _dice(one: Counter[str], other: Counter[str]) -> float:
    """2 · common / all triples, 0..1."""
    return 2 * (one & other).total() / max(one.total() + other.total(), 1)
