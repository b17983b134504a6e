"""Figures are PNGs of a sensible size, small enough to keep, and the same for the same numbers."""

from __future__ import annotations

import struct
from itertools import combinations, pairwise

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


@pytest.mark.parametrize("least", [1e-6, 2e-5])
def test_mixes_are_drawn_where_they_are_on_a_log_axis(least):
    costs, qualities = np.array([0.0, 1e-4, 1e-2]), np.array([0.5, 0.6, 0.7])
    xs, ys = plots.hull_line(costs, qualities, least)
    assert xs[0] == least
    assert {1e-4, 1e-2} <= set(xs.tolist())
    assert np.allclose(ys, np.interp(xs, costs, qualities))
    assert len(xs) > 100, "straight lines between few points would be no lines in cost"


def shown(monkeypatch, routers, singles):
    """The figure's axes, and its dots in pixels."""
    kept = []
    monkeypatch.setattr(plots, "_png", kept.append)
    plots.frontier("t", routers, singles)
    (figure,) = kept
    figure.draw_without_rendering()
    axes = figure.axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    return axes, [axes.transData.transform((line.get_xdata()[0], line.get_ydata()[0])) for line in dots]


@pytest.mark.parametrize(
    ("prices", "router"),
    [((1e-5, 1e-3, 1e-2), 1e-5), ((0.0, 5e-4, 1e-2), 1e-9), ((0.0, 1e-9, 1e-2), 0.0), ((0.0, 0.0, 0.0), 0.0)],
)
def test_every_model_is_in_the_picture_and_labels_do_not_overlap(monkeypatch, prices, router):
    costs = np.array([router, *prices[1:]])
    axes, dots = shown(monkeypatch, {"ours": (costs, QUALITIES)}, {f"m{i}": (p, 0.5) for i, p in enumerate(prices)})
    assert all(axes.bbox.contains(*dot) for dot in dots)
    assert [text.get_text() for text in axes.texts] == [f"m{i}" if p else f"m{i} (free)" for i, p in enumerate(prices)]
    low, high = axes.get_xlim()
    ticks = axes.get_xticklabels()
    boxes = [t.get_window_extent() for t in ticks if t.get_text() and low <= t.get_position()[0] <= high]
    assert not any(one.overlaps(other) for one, other in pairwise(boxes))


def test_names_cover_neither_each_other_nor_other_models(monkeypatch):
    places = ((2.7e-5, 0.42), (7.2e-5, 0.443), (5.8e-5, 0.418), (1.6e-4, 0.426), (7e-3, 0.72), (6e-4, 0.497))
    crowd = {f"model-{i}-of-six": place for i, place in enumerate(places)}
    axes, dots = shown(monkeypatch, {"ours": (COSTS, QUALITIES)}, crowd)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert not any(box.contains(*dot) for box in boxes for dot in dots)
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)
