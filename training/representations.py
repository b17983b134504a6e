"""Texts as vectors for the baselines: TF-IDF, its projection, and the projection with our structural numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import StandardScaler, normalize

from router_runtime.features import extract
from router_runtime.messages import read_request

DIMENSIONS = 128
MAX_TERMS = 50_000


@dataclass(frozen=True)
class Representation:
    """Unit vectors of texts.

    Args:
        tfidf: The fitted vectoriser.
        project: Projection of its output, or None to keep it sparse.
        scale: Scaler of the structural numbers put beside the projection, or None for text alone.
    """

    tfidf: TfidfVectorizer
    project: TruncatedSVD | None = None
    scale: StandardScaler | None = None

    def transform(self, texts: Sequence[str]) -> Any:
        """Rows of length 1, [n, terms] sparse or [n, dimensions] float64."""
        points = self.tfidf.transform(texts)
        if self.project is None:
            return points
        dense = normalize(self.project.transform(points))
        if self.scale is None:
            return dense
        # Both halves weigh the same in a cosine.
        return normalize(np.hstack((dense, normalize(self.scale.transform(structural(texts))))))


def structural(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Structural numbers [n, S] of bare prompts."""
    return np.stack([extract(read_request(text)).structural for text in texts])


class Spaces:
    """The representations that one set of texts can be given, fitted when first asked for.

    Args:
        texts: Training texts.
        seed: Seed of the projection.
    """

    names = ("tfidf", "svd", "svd+structural")
    dense_names = ("svd", "svd+structural")

    def __init__(self, texts: Sequence[str], seed: int = 0) -> None:
        self._texts, self._seed = texts, seed

    @cached_property
    def _tfidf(self) -> TfidfVectorizer:
        rare = 2 if len(self._texts) >= 500 else 1
        vectoriser = TfidfVectorizer(
            ngram_range=(1, 2),
            sublinear_tf=True,
            min_df=rare,
            max_features=MAX_TERMS,
            token_pattern=r"\b\w+\b",  # noqa: S106 -- no password; one-letter words too: formulas are made of them
        )
        return vectoriser.fit(self._texts)

    @cached_property
    def _project(self) -> TruncatedSVD:
        points = self._tfidf.transform(self._texts)
        size = max(2, min(DIMENSIONS, min(points.shape) - 1))
        return TruncatedSVD(n_components=size, n_iter=3, random_state=self._seed).fit(points)

    @cached_property
    def _scale(self) -> StandardScaler:
        return StandardScaler().fit(structural(self._texts))

    def get(self, name: str) -> Representation:
        """The representation of that name, one of :attr:`names`."""
        if name == "tfidf":
            return Representation(self._tfidf)
        return Representation(self._tfidf, self._project, self._scale if name == "svd+structural" else None)
