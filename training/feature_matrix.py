"""Features of many prompts, packed: what one prompt costs in memory decides how many fit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from router_runtime.encoder import TextEncoder
from router_runtime.features import HASH_SIZE, Features, extract
from router_runtime.messages import Request
from training.progress import QUIET, Progress

Rows = npt.NDArray[np.intp] | npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FeatureMatrix:
    """Features of n prompts; about 1.7 kB each.

    Args:
        ids: uint16 [total], the hash ids of all prompts, one after the other (``HASH_SIZE`` is at most 65,536).
        offsets: int64 [n + 1], where each prompt's ids start.
        structural: float32 [n, S].
        embedding: float32 [n, E], the texts by an encoder; None where there is none.
    """

    ids: npt.NDArray[np.uint16]
    offsets: npt.NDArray[np.int64]
    structural: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.structural)

    def __getitem__(self, row: int) -> Features:
        """The features of one prompt, as the graph reads them."""
        ids = self.ids[self.offsets[row] : self.offsets[row + 1]].astype(np.int64)
        return Features(ids, self.structural[row], None if self.embedding is None else self.embedding[row])

    def __iter__(self) -> Iterator[Features]:
        return (self[row] for row in range(len(self)))

    def take(self, rows: Rows) -> FeatureMatrix:
        """The prompts ``rows``, in that order."""
        where = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        parts = [self.ids[self.offsets[row] : self.offsets[row + 1]] for row in where]
        offsets = np.concatenate(([0], np.cumsum([len(part) for part in parts], dtype=np.int64)))
        ids = np.concatenate(parts) if parts else self.ids[:0]
        embedding = None if self.embedding is None else self.embedding[where]
        return FeatureMatrix(ids, offsets, self.structural[where], embedding)

    def packed(self) -> FeatureMatrix:
        """Itself: each prompt has its own row already."""
        return self

    def bag(self) -> sp.csr_matrix:
        """Which ids each prompt holds, as a 0/1 float32 matrix [n, HASH_SIZE]."""
        ones = np.ones(len(self.ids), dtype=np.float32)
        return sp.csr_matrix((ones, self.ids.astype(np.int32), self.offsets), shape=(len(self), HASH_SIZE))


@dataclass(frozen=True)
class RepeatedFeatures:
    """Features of n prompts of which many are the same: a week's log asks the same things again.

    Args:
        distinct: Of the D different prompts.
        code: int64 [n], the different prompt that each one is.
    """

    distinct: FeatureMatrix
    code: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.code)

    def __getitem__(self, row: int) -> Features:
        """The features of one prompt, as the graph reads them."""
        return self.distinct[int(self.code[row])]

    def take(self, rows: Rows) -> RepeatedFeatures:
        """The prompts ``rows``, in that order."""
        return RepeatedFeatures(self.distinct, self.code[rows])

    def packed(self) -> FeatureMatrix:
        """With a row of its own for each prompt."""
        return self.distinct.take(self.code)


AnyFeatures = FeatureMatrix | RepeatedFeatures


def featurise(
    prompts: Sequence[str | Request], progress: Progress = QUIET, encoder: TextEncoder | None = None
) -> FeatureMatrix:
    """Features of all ``prompts`` through the very functions that serve."""
    ids: list[npt.NDArray[np.uint16]] = []
    structural: list[npt.NDArray[np.float32]] = []
    for prompt in progress.track(prompts, "reading features"):
        found = extract(Request(text=prompt) if isinstance(prompt, str) else prompt)
        ids.append(found.ids.astype(np.uint16))
        structural.append(found.structural)
    read = pack(ids, structural)
    if encoder is None:
        return read
    texts = [prompt if isinstance(prompt, str) else prompt.text for prompt in prompts]
    return replace(read, embedding=embed(texts, encoder, progress))


def embed(texts: Sequence[str], encoder: TextEncoder, progress: Progress = QUIET) -> npt.NDArray[np.float32]:
    """float32 [n, E], text by text as decisions do it, on all cores.

    Raises:
        PredictionError: The encoder fails on one.
    """
    out = np.zeros((len(texts), encoder.dims), dtype=np.float32)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = pool.map(encoder.vector, progress.track(texts, "reading texts by the encoder"))
        for place, vector in enumerate(rows):
            out[place] = vector
    return out


def pack(ids: Sequence[npt.NDArray[np.uint16]], structural: Iterable[npt.NDArray[np.float32]]) -> FeatureMatrix:
    """One matrix of the ids and structural numbers of each prompt."""
    offsets = np.concatenate(([0], np.cumsum([len(one) for one in ids], dtype=np.int64))).astype(np.int64)
    return FeatureMatrix(np.concatenate(ids) if ids else np.zeros(0, np.uint16), offsets, np.stack(list(structural)))
