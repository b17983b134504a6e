"""Text → vector of length 1. The usual one needs no network: the bundle's own text features, projected at random."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from router_runtime.encoder import Vector, normalised
from router_runtime.features import BIGRAM_START, FEATURES_VERSION, GRAM_START, HASH_SIZE, extract
from router_runtime.messages import Request

_COMMON = (
    "a an and are as at be but by can do for from has have how i if in into is it its me my no not of on or our so "
)
_COMMON += "than that the their then there these they this to was we were what when which who why will with you your"


@runtime_checkable
class ClosingEncoder(Protocol):
    """An encoder that holds connections."""

    def close(self) -> None:
        """Closes them."""
        ...


class HashEncoder:
    """Hashed words, pairs and 4-grams of ``features.py``, weighted by kind, through a seeded random projection.

    Keeps distances between sparse counts up to about 1/sqrt(dims) (Johnson and Lindenstrauss; signs as in Achlioptas
    2003). It finds what says the same in similar words; it knows no synonyms.

    Args:
        dims: Of a vector.
        seed: Of the projection.
    """

    def __init__(self, dims: int = 192, seed: int = 7) -> None:
        self._dims, self._seed = dims, seed

    @property
    def fingerprint(self) -> str:
        """See :class:`router_runtime.encoder.Encoder`."""
        return f"hash-{FEATURES_VERSION}-{self._dims}-{self._seed}"

    @property
    def dims(self) -> int:
        """See :class:`router_runtime.encoder.Encoder`."""
        return self._dims

    def encode(self, texts: Sequence[str]) -> Vector:
        """See :class:`router_runtime.encoder.Encoder`."""
        out = np.zeros((len(texts), self._dims), dtype=np.float32)
        for row, text in zip(out, texts, strict=True):
            ids = extract(Request(text=text)).ids
            if len(ids):
                row[:] = self._weights[ids] @ self._signs[ids].astype(np.float32)
        return normalised(out)

    @cached_property
    def _signs(self) -> npt.NDArray[np.int8]:
        """±1, int8 [HASH_SIZE, dims]."""
        bits = np.random.default_rng(self._seed).integers(0, 2, (HASH_SIZE, self._dims), dtype=np.int8)
        return bits * np.int8(2) - np.int8(1)

    @cached_property
    def _weights(self) -> npt.NDArray[np.float32]:
        """float32 [HASH_SIZE]: words tell most, pairs less, 4-grams forgive typos; the commonest words tell nothing."""
        weights = np.full(HASH_SIZE, 0.15, dtype=np.float32)
        weights[:BIGRAM_START] = 1.0
        weights[BIGRAM_START:GRAM_START] = 0.5
        common = extract(Request(text=_COMMON)).ids
        weights[common[common < BIGRAM_START]] = 0.05
        return weights


def packed(vectors: Vector) -> list[bytes]:
    """Each row as float16 bytes: half the room, and no rank of ten changes."""
    return [row.tobytes() for row in vectors.astype("<f2")]


def unpacked(vectors: Sequence[bytes], dims: int) -> Vector:
    """float32 [n, dims] of what :func:`packed` gave."""
    flat = np.frombuffer(b"".join(vectors), dtype="<f2")
    return flat.reshape(len(vectors), dims).astype(np.float32)
