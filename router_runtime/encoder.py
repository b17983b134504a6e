"""Text → vector by a model that somebody else trained: for the memory, and for routers that learnt on such vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from router_runtime.errors import ConfigError, PredictionError

Vector = npt.NDArray[np.float32]

MAX_CHARS = 16_000
"""Of a request's text that an encoder is given; it cuts to its own number of tokens, but must read what it cuts."""
TAIL_PART = 4
"""One in so many of the characters (and of the tokens) that are read of a long text are its last ones."""
_KEPT = 64


class Encoder(Protocol):
    """Makes vectors; two encoders of one fingerprint make the same ones."""

    @property
    def fingerprint(self) -> str:
        """Stands beside each vector; another one means: encode again."""
        ...

    @property
    def dims(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> Vector:
        """float32 [n, dims], each row of length 1, or all zeros where a text says nothing."""
        ...


def _ends(text: str) -> str:
    """``text``, or of a long one the first and the last characters: a question often follows what it is about."""
    tail = MAX_CHARS // TAIL_PART
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - tail - 1]}\n{text[-tail:]}"


def normalised(vectors: Vector) -> Vector:
    """Rows of length 1; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


class TextEncoder:
    """An encoder as training and decisions use it: one text at a time, so that both see the same numbers.

    The latest texts are kept: a call may be decided more than once. Any number of threads may use one.

    Args:
        encoder: Makes the vectors.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.fingerprint, self.dims = encoder.fingerprint, encoder.dims
        self._encoder = encoder
        self._latest: Callable[[str], Vector] = lru_cache(_KEPT)(self._encode)

    def vector(self, text: str) -> Vector:
        """float32 [dims], read-only.

        Raises:
            PredictionError: The model fails on it.
        """
        return self._latest(_ends(text))

    def _encode(self, text: str) -> Vector:
        try:
            vector = self._encoder.encode([text])[0]
        except ConfigError as error:
            raise PredictionError(str(error)) from error
        vector.setflags(write=False)
        return np.asarray(vector)
