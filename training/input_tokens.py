"""Prompt tokens: what the runtime would have estimated of logged features, and how far each provider's count is off.

Tokenisers differ up to twofold on the same text, and providers wrap tools and messages in words of their own. Within a
model the count follows the estimate closely (bfcl: correlation .96 to 1.00), so one factor for each model mends it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from router_runtime.features import STRUCTURAL
from router_runtime.filters import (
    TOKENS_PER_ASCII_CHAR,
    TOKENS_PER_MESSAGE,
    TOKENS_PER_OTHER_CHAR,
    TOKENS_PER_PART,
    TOKENS_PER_TOOL,
)

Floats = npt.NDArray[np.float64]

SHRINKAGE_CALLS = 20.0
LEAST_SCALE, MOST_SCALE = 0.25, 4.0
"""Beyond these it is not the tokeniser: the text that is known is not what was sent."""


def estimated_tokens(structural: npt.NDArray[np.float32]) -> Floats:
    """What :func:`router_runtime.filters.estimate_tokens` says of requests with these structural numbers.

    The share of other than ASCII characters is that of the whole text, up to the length that features are read of.

    Args:
        structural: float32 [n, S].

    Returns:
        float64 [n].
    """
    rows = structural.astype(np.float64)
    share = rows[:, STRUCTURAL.index("share_non_ascii")]
    chars, other_bytes, turns, tools, images, audio, files = (
        np.expm1(rows[:, STRUCTURAL.index(f"log_{name}")])
        for name in ("chars", "non_ascii", "turns", "tools", "images", "audio", "files")
    )
    ascii_chars = np.divide(other_bytes * (1.0 - share), share, out=chars.copy(), where=share > 0)
    other = np.clip(chars - ascii_chars, 0.0, other_bytes / 2)  # each takes two bytes at least
    tokens: Floats = (
        TOKENS_PER_ASCII_CHAR * chars
        + (TOKENS_PER_OTHER_CHAR - TOKENS_PER_ASCII_CHAR) * other
        + TOKENS_PER_MESSAGE * turns
        + TOKENS_PER_TOOL * tools
        + TOKENS_PER_PART * (images + audio + files)
    )
    return tokens


def input_scales(estimated: Floats, counted: npt.NDArray[np.floating]) -> Floats:
    """Counted tokens for each estimated one by model, right in sum; models of few calls are shrunk to all of them.

    Args:
        estimated: [n], of each request.
        counted: [n, M], NaN = unknown.

    Returns:
        float64 [M], 0.25 .. 4; 1 where nothing was counted.
    """
    known = np.isfinite(counted) & (estimated > 0)[:, None]
    if not known.any():
        return np.ones(counted.shape[1])
    total = np.where(known, counted, 0.0).sum(axis=0, dtype=np.float64)
    expected = np.where(known, estimated[:, None], 0.0).sum(axis=0)
    usual, prior = total.sum() / expected.sum(), SHRINKAGE_CALLS * expected.sum() / known.sum()
    return np.asarray(((total + prior * usual) / (expected + prior)).clip(LEAST_SCALE, MOST_SCALE))
