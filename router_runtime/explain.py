"""Why a model was chosen: what moved its predicted quality, found by leaving things out (occlusion).

For each word of the text the request is read again without that word, and for each structural number it is set to its
median in training; the change of the chosen model's predicted quality is what that word or number was worth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Unpack

import numpy as np

from router_runtime.bundle import Bundle
from router_runtime.features import STRUCTURAL, Features, extract
from router_runtime.messages import Messages, Request
from router_runtime.options import Options, RouteOptions
from router_runtime.records import Decision
from router_runtime.router import Router
from router_runtime.snapshot import View

MAX_WORDS = 120
"""Different words that are tried: the first ones of the text."""
MIN_CHANGE = 1e-4

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Influence:
    """One thing that moved the prediction.

    Args:
        kind: A word of the text, or a structural number of the request.
        name: The word, or the number's name.
        value: The number, or how often the word occurs.
        change: Predicted quality of the chosen model with it − without it.
    """

    kind: Literal["word", "number"]
    name: str
    value: float
    change: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and its reasons.

    Args:
        decision: The choice, with each candidate and each filtered model.
        influences: Largest change first; empty where no bundle predicts.
    """

    decision: Decision
    influences: tuple[Influence, ...]


def explain(router: Router, messages: Messages, *, top: int = 10, **options: Unpack[RouteOptions]) -> Explanation:
    """Decides and says why; takes some milliseconds, or one run of the bundle's encoder for each word.

    Args:
        router: The router.
        messages: As for :meth:`Router.route`.
        top: How many influences to keep.
        options: As for :meth:`Router.route`.

    Raises:
        PointsmanError: As :meth:`Router.route`.
    """
    decision, weighed = router.decide(messages, Options(**options))
    bundle = weighed.snapshot.bundle
    if bundle is None or weighed.features is None:
        return Explanation(decision, ())
    quality = _Quality(bundle, decision.chosen, weighed.predicted.view)
    features = bundle.encoded(weighed.features, weighed.request.text)
    full = quality(features)
    changed = [
        replace(influence, change=full - quality(other))
        for influence, other in _occlusions(weighed.request, features, bundle)
    ]
    moved = [influence for influence in changed if abs(influence.change) >= MIN_CHANGE]
    moved.sort(key=lambda influence: -abs(influence.change))
    return Explanation(decision, tuple(moved[:top]))


class _Quality:
    """Predicted quality of the chosen model for other features."""

    def __init__(self, bundle: Bundle, chosen: str, view: View) -> None:
        place = view.names.index(chosen)
        self._scorer = bundle.scorer
        self._index, self._descriptor = view.indices[[place]], view.descriptor[[place]]

    def __call__(self, features: Features) -> float:
        return float(self._scorer.predict(features, self._index, self._descriptor).quality[0])


def _occlusions(request: Request, features: Features, bundle: Bundle) -> Iterator[tuple[Influence, Features]]:
    """Each thing that may be left out, and the features without it."""
    yield from _without_words(request, features, bundle)
    medians = np.array(bundle.manifest.structural_medians, dtype=np.float32)
    for place in np.flatnonzero(features.structural != medians).tolist():
        numbers = features.structural.copy()
        numbers[place] = medians[place]
        value = float(features.structural[place])
        yield Influence("number", STRUCTURAL[place], value, 0.0), features._replace(structural=numbers)


def _without_words(request: Request, features: Features, bundle: Bundle) -> Iterator[tuple[Influence, Features]]:
    places: dict[str, list[tuple[int, int]]] = {}
    for match in _WORD.finditer(request.text[:65_536]):
        word = match.group().lower()
        if word in places or len(places) < MAX_WORDS:
            places.setdefault(word, []).append(match.span())
    for word, spans in places.items():
        rest = replace(request, text=_cut(request.text, spans))
        without = extract(rest)._replace(structural=features.structural)
        yield Influence("word", word[:60], float(len(spans)), 0.0), bundle.encoded(without, rest.text)


def _cut(text: str, spans: list[tuple[int, int]]) -> str:
    """``text`` without the spans, which are in order."""
    parts, place = [], 0
    for start, end in spans:
        parts.append(text[place:start])
        place = end
    return "".join([*parts, text[place:]])
