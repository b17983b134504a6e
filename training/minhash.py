"""Which rows of a set of hashed tokens hold nearly the same ones, but for a frame that many of them share.

MinHash (Broder 1997) with banding: a pair that shares a band is joined only where the two signatures agree in most
places. What is joined on the strength of a long frame alone (the system prompt of an application, which stands in all
of its requests) is taken apart by the tokens that are left without it. All runs on whole arrays, chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

U64 = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

HASHES, ROWS = 24, 3  # 8 bands of 3: a pair of Jaccard similarity .8 shares a band with probability .997
AGREEMENT = 0.75
FRAME_SHARE = 0.9
"""Share of the rows that were joined in which a token of their frame stands."""
OWN = 3
"""Rows with no more tokens than these beside a frame stay together: they fill one slot of it with another word."""
_LARGE, _LARGE_SHARE, _SAMPLE, _CHUNK = 8, 0.01, 256, 20_000


class Tokens(NamedTuple):
    """Hashed tokens of some rows: those of row i are ``values[offsets[i]:offsets[i + 1]]``."""

    values: U64
    offsets: Ints


Read = Callable[[Ints], Tokens]
"""Reads the tokens of the rows int64[k], in that order."""


def components(hashes: U64, read: Read, min_frame: int) -> Ints:
    """A number for each row, int64[n], which rows share that hold nearly the same beside the frames of many.

    Args:
        hashes: A hash of each row, so that its place among the others makes no difference.
        read: Reads rows.
        min_frame: Tokens that make a frame; fewer are a likeness like any other.
    """
    label = np.empty(len(hashes), dtype=np.int64)
    large = max(_LARGE, int(len(hashes) * _LARGE_SHARE))
    waiting, fresh = [(np.arange(len(hashes)), np.zeros(0, np.uint64))], 0
    while waiting:
        rows, frame = waiting.pop()
        part = _joined(_signatures(rows, read, frame))
        label[rows] = fresh + part
        sizes = np.bincount(part)
        fresh += len(sizes)
        for number in np.flatnonzero(sizes >= large):
            members = rows[part == number]
            more = _shared(members[np.argsort(hashes[members], kind="stable")[:_SAMPLE]], read, frame)
            if len(more) >= min_frame:
                waiting.append((members, np.union1d(frame, more)))
    return label


def row_hashes(tokens: Tokens) -> U64:
    """A hash of each row's tokens, in whatever order they stand."""
    running = np.concatenate((np.zeros(1, np.uint64), np.cumsum(mix(tokens.values), dtype=np.uint64)))
    return np.asarray(running[tokens.offsets[1:]] - running[tokens.offsets[:-1]])


def mix(values: U64) -> U64:
    """Hashes of hashes."""
    values = values ^ (values >> np.uint64(29))
    values = values * np.uint64(0xBF58476D1CE4E5B9)
    return values ^ (values >> np.uint64(32))


def _shared(rows: Ints, read: Read, known: U64) -> U64:
    """The tokens that nearly all of ``rows`` hold, less those of the frame already known."""
    tokens = read(rows)
    own = [np.unique(part) for part in np.split(tokens.values, tokens.offsets[1:-1])]
    values, counts = np.unique(np.concatenate(own), return_counts=True)
    return np.setdiff1d(values[counts >= FRAME_SHARE * len(rows)], known)


def _signatures(rows: Ints, read: Read, frame: U64) -> U64:
    """MinHash signatures uint64[k, HASHES] of the rows without the frame; rows that have next to nothing are alike."""
    salts = np.random.default_rng(20_260_401).integers(1, 2**63, HASHES, dtype=np.uint64) | np.uint64(1)
    parts = [np.empty((0, HASHES), np.uint64)]
    for start in range(0, len(rows), _CHUNK):
        tokens = read(rows[start : start + _CHUNK])
        parts.append(_chunk(tokens if not len(frame) else _without(tokens, frame), salts))
    return np.concatenate(parts)


def _without(tokens: Tokens, frame: U64) -> Tokens:
    keep = ~np.isin(tokens.values, frame)
    count = np.add.reduceat(np.append(keep, False).astype(np.int64), tokens.offsets[:-1])
    count[np.diff(tokens.offsets) == 0] = 0
    keep &= np.repeat(count > OWN, np.diff(tokens.offsets))
    return Tokens(tokens.values[keep], np.concatenate(([0], np.cumsum(np.where(count > OWN, count, 0)))))


def _chunk(tokens: Tokens, salts: U64) -> U64:
    some = np.diff(tokens.offsets) > 0
    out = np.zeros((len(some), len(salts)), dtype=np.uint64)
    if some.any():
        for place, salt in enumerate(salts):
            out[some, place] = np.minimum.reduceat(mix(tokens.values * salt), tokens.offsets[:-1][some])
    return out


def _joined(signature: U64) -> Ints:
    """Component of each row, int64[n], where rows that share a band and agree are joined."""
    rows, others = [], []
    for start in range(0, HASHES, ROWS):
        band = mix(signature[:, start] * np.uint64(3) + mix(signature[:, start + 1] + signature[:, start + 2]))
        order = np.argsort(band, kind="stable")
        same = np.flatnonzero(band[order][1:] == band[order][:-1])
        left, right = order[same], order[same + 1]
        agree = (signature[left] == signature[right]).mean(axis=1) >= AGREEMENT
        rows.append(left[agree])
        others.append(right[agree])
    left, right = np.concatenate(rows), np.concatenate(others)
    graph = sp.coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(len(signature), len(signature)))
    return np.asarray(sp.csgraph.connected_components(graph, directed=False)[1], dtype=np.int64)
