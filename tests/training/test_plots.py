"""Figures are PNGs of a sensible size, small enough to keep, and the same for the same numbers."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from training import plots

COSTS, QUALITIES = np.array([1e-5, 1e-3, 1e-2]), np.array([0.5, 0.6, 0.7])
NAN = float("nan")


def figures():
    curve = (np.linspace(0.05, 0.95, 10), np.linspace(0.1, 0.9, 10), np.full(10, 50.0))
    values = np.random.default_rng(0).random((14, 10))
    values[0, 0] = np.nan
    return {
        "frontier": plots.frontier("t", {"ours": (COSTS, QUALITIES), "zero": (COSTS, QUALITIES)}, {"m": (1e-3, 0.6)}),
        "reliability": plots.reliability("t", {"m": curve}),
        "heat_map": plots.heat_map("t", [f"task {i}" for i in range(14)], [f"model {i}" for i in range(10)], values),
        "differences": plots.differences("t", ["aiq", "cost"], [(0.1, 0.0, 0.2), (NAN, NAN, NAN)]),
    }


@pytest.fixture(scope="module")
def drawn():
    return figures()


@pytest.mark.parametrize("name", ["frontier", "reliability", "heat_map", "differences"])
def test_is_a_small_png(drawn, name):
    data = drawn[name]
    width, height = struct.unpack(">II", data[16:24])
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert 300 <= width <= 1600
    assert 100 <= height <= 1200
    assert len(data) < 300_000


def test_same_numbers_give_the_same_bytes(drawn):
    assert figures() == drawn
