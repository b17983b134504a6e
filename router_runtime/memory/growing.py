"""Arrays that grow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_GROWTH = 1.5
_LEAST = 1024


def grown(values: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """``values`` with room for ``rows`` at least, new ones zero; itself where there is room."""
    if rows <= len(values):
        return values
    made = np.zeros((max(rows, int(len(values) * _GROWTH), _LEAST), *values.shape[1:]), dtype=values.dtype)
    made[: len(values)] = values
    return made
