"""Splits that do not leak: near-duplicates share a group, and a group never stands on both sides."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from router_runtime.errors import TooFewRows

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def grouped_folds(groups: npt.NDArray[np.generic], folds: int, seed: int) -> Ints:
    """Fold 0..folds-1 of each row, int64[n]: groups stay whole, and folds are of nearly equal size.

    Groups are shuffled by ``seed`` and then dealt out, the largest first, to the fold with the fewest rows.

    Raises:
        ValueError: Where ``folds`` is below 2.
        TooFewRows: Where there are fewer groups than folds.
    """
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if folds < 2:
        raise ValueError(f"folds is {folds}, it must be at least 2")
    if folds > len(sizes):
        found = f"{len(sizes)} group{'s' * (len(sizes) != 1)}"
        raise TooFewRows(
            f"{len(groups):,} prompts fall into {found} of near-duplicates, too few for {folds} folds: "
            f"{folds - len(sizes)} more different prompts are needed"
        )
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    heap = [(0, fold) for fold in range(folds)]
    fold_of = np.empty(len(sizes), dtype=np.int64)
    for group in order:
        filled, fold = heap[0]
        fold_of[group] = fold
        heapq.heapreplace(heap, (filled + int(sizes[group]), fold))
    return np.asarray(fold_of[inverse], dtype=np.int64)


def time_split(times: npt.NDArray[np.float64], test_share: float) -> tuple[Mask, Mask]:
    """Rows to learn from and the latest ``test_share`` (0..1) of the rows to test on, each bool[n].

    Rows of one instant stay on one side. Times are UTC seconds since the epoch.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share is {test_share}, it must be between 0 and 1")
    cut = np.quantile(times, 1 - test_share, method="higher")
    test = np.asarray(times >= cut)
    return ~test, test


def leave_one_out(labels: npt.NDArray[np.generic], min_rows: int = 1) -> Iterator[tuple[str, Mask]]:
    """Each label (a domain, a task) with at least ``min_rows`` rows, and the rows bool[n] that carry it."""
    names, sizes = np.unique(labels.astype(str), return_counts=True)
    for name in names[sizes >= min_rows]:
        yield str(name), np.asarray(labels.astype(str) == name)
